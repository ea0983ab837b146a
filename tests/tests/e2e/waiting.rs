//! A handler that waits does not hold a core: many wait at once, and no key waits for another.

use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;

const RECORDS: usize = 10_000;
const WAIT: Duration = Duration::from_millis(10);

#[test]
fn ten_thousand_keys_wait_many_at_once() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("wait"), 4)
        .config("ms", &WAIT.as_millis().to_string())
        .config("emit", "true")
        .set("max_instances", "128");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(RECORDS, RECORDS, |_| b"text".to_vec()));
    let mut host = job.start();
    host.wait_until("the first record was done", DONE, |_| kafka.offsets_in(&job.output) > 0);
    let started = Instant::now();
    let mut most = 0.0_f64;
    host.wait_until("all of the input was committed", DONE, |host| {
        most = most.max(host.metric("handler_active_count", &[]));
        job.is_done()
    });
    let took = started.elapsed();
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
    // One after the other, or one a core, would take 100 or 50 seconds.
    assert!(most >= 32.0, "at most {most} calls were seen at once");
    let alone = WAIT * u32::try_from(RECORDS).expect("a small number");
    assert!(took < alone / 8, "{RECORDS} waits of {WAIT:?} took {took:?}: too few at once");
}
