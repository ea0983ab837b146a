//! Micro benchmarks: what each step of a record's way costs by itself.
//!
//! ```text
//! cargo xtask guests                                   the handlers that `contract` and `instance` call
//! cargo bench -p sandmill-benches --bench micro        everything, about five minutes
//! cargo bench -p sandmill-benches --bench micro -- contract/noop
//! cargo bench -p sandmill-benches --bench micro -- --save-baseline before
//! cargo bench -p sandmill-benches --bench micro -- --baseline before
//! ```
//! Figures are **CPU time of the measuring thread, for one record** (or for what the name says otherwise), so
//! that other load on the machine disturbs them little; caches and clock speed are still shared. Compare
//! figures of one run, or of two runs on a quiet machine.
//!
//! | file | measures |
//! |---|---|
//! | `progress.rs` | admitting and completing records, the next commit |
//! | `codec.rs` | commit metadata: writing and reading typical gaps; prints their size |
//! | `dispatch.rs` | hashing keys, shards, and the whole machine between poll and commit |
//! | `batch.rs` | appending a record to a column batch |
//! | `contract.rs` | a call of a handler: in its sandbox, and natively |
//! | `instance.rs` | starting and dropping a sandbox |
//! | `telemetry.rs` | what metrics take of a record, and of a scrape |
//!
//! `measure.rs` holds the clock, `records.rs` what is sent.

mod batch;
mod codec;
mod contract;
mod dispatch;
mod guests;
mod instance;
mod measure;
mod native;
mod progress;
mod records;
mod telemetry;

// Files of others, tests and all.
#[allow(dead_code, unused_imports)]
#[path = "../../../examples-wasm/access-log/src/json.rs"]
mod json;
#[allow(dead_code)]
#[path = "../../../examples-wasm/access-log/src/line.rs"]
mod line;

use criterion::Criterion;
use sandmill::bench::zipf;

use measure::CpuTime;

fn main() {
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    run(&mut criterion);
    criterion.final_summary();
}

fn run(criterion: &mut Criterion<CpuTime>) {
    progress::run(criterion);
    codec::run(criterion);
    dispatch::run(criterion);
    batch::run(criterion);
    contract::run(criterion);
    instance::run(criterion);
    telemetry::run(criterion);
}
