//! All of the corpus, group after group, and what it showed.
//!
//! `cargo xtask corpus` builds what it needs and runs it. With `--docs` the results go into `tests/results/corpus.json`,
//! and the table of that file into `docs/SECURITY.md`. With `--render` nothing runs: the page is written anew from that
//! file.

use anyhow::Result;
use lexopt::prelude::*;
use sandmill_tests::conditions::Conditions;
use sandmill_tests::contender::Contender;
use sandmill_tests::corpus::table::{HostRun, Results};
use sandmill_tests::corpus::{GROUPS, REFUSED, beside, refused};
use sandmill_tests::kafka::Kafka;

/// What decides over the results.
const CODE: [&str; 4] = ["../host", "../kafka-ffi", "../tests/src", "../examples-wasm"];

fn main() -> Result<()> {
    let (mut docs, mut render) = (false, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("docs") => docs = true,
            Long("render") => render = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if render {
        return Results::read()?.publish();
    }
    let conditions = Conditions::gather(&[Contender::Sandmill], &CODE)?;
    let kafka = Kafka::start(1);
    let hosts = GROUPS.iter().map(|group| HostRun::of(group, beside::run(&kafka, group))).collect();
    for case in REFUSED {
        println!("{}: {}", case.name(), case.does);
        refused::refuse(&kafka, case);
    }
    let results = Results::of(conditions, hosts);
    println!("\n{}", results.markdown());
    if docs {
        results.publish()?;
    }
    Ok(())
}
