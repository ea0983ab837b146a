//! What a guest may use besides: metrics and secrets, counted, timed and limited.

use super::*;
use crate::secrets::Secrets;
use crate::telemetry::GuestMetrics;
use crate::telemetry::guest::{Declared, Kind};

fn metrics() -> Arc<GuestMetrics> {
    let hits = Declared {
        name: "hits".to_owned(),
        family: "guest_hits_total".to_owned(),
        kind: Kind::Counter,
        help: String::new(),
        labels: vec!["key".to_owned()],
        most_series: 2,
    };
    Arc::new(GuestMetrics::new(vec![hits]))
}

fn with(capabilities: Capabilities) -> Arc<InstanceSettings> {
    Arc::new(InstanceSettings { capabilities, ..InstanceSettings::clone(&settings(LIMITS)) })
}

fn shown(metrics: &GuestMetrics) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    metrics.read(|_, labels, value, _| all.push((labels[0].clone(), value)));
    all
}

/// One call of one record.
fn call(guest: &Guest, settings: &Arc<InstanceSettings>) -> Result<Answer, Failure> {
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    on_worker(call_once(&load(guest), settings, &batch(&["a"]), budget)).result.map(|(_, answer)| answer)
}

/// Imports `metrics`; `$hits` asks for the series of one label value of two bytes at an address, and traps if there is
/// none.
fn recording(body: &str) -> Guest {
    let (module, made) = ("sandmill:handler/metrics@0.1.0", "(func $series (param i32 i32 i32 i32 i32))");
    let guest = Guest::new(body).import(module, "series", made);
    guest.import(module, "record", "(func $record (param i32 f64))").with(
        "(data (i32.const 3000) \"hits\")
         (func $hits (param $label i32) (result i32)
           (i32.store (i32.const 3100) (local.get $label))
           (i32.store (i32.const 3104) (i32.const 2))
           (call $series (i32.const 3000) (i32.const 4) (i32.const 3100) (i32.const 1) (i32.const 3200))
           (if (i32.load8_u (i32.const 3200)) (then unreachable))
           (i32.load (i32.const 3204)))",
    )
}

#[test]
fn what_a_call_records_counts_once_its_answer_is_accepted() {
    let settings = with(Capabilities { metrics: metrics(), ..Capabilities::default() });
    let twice = "(call $record (call $hits (i32.const 3300)) (f64.const 2))
                 (call $record (call $hits (i32.const 3300)) (f64.const 0.5))";
    let labels = "(data (i32.const 3300) \"ab\")";
    call(&recording(&format!("{twice} (i32.const 1024)")).with(labels), &settings).expect("it is accepted");
    assert_eq!(shown(&settings.capabilities.metrics), [("ab".to_owned(), 2.5)]);
    let failure = call(&recording(&format!("{twice} unreachable")).with(labels), &settings);
    assert_outcome(failure, Outcome::Trap, "unreachable");
    assert_eq!(shown(&settings.capabilities.metrics), [("ab".to_owned(), 2.5)], "a trap counts nothing");
    let uses = settings.capabilities.uses.read();
    assert_eq!(uses[2].0, 8, "each use is counted, whatever came of the call");
    assert!(uses[2].1 > 0.0 && uses[0].0 == 0);
}

#[test]
fn label_values_without_end_are_two_series_and_the_rest() {
    let settings = with(Capabilities { metrics: metrics(), ..Capabilities::default() });
    // Seventy values, each of two letters.
    let flood = "(local $n i32)
         (loop $more
           (i32.store16 (i32.const 3300) (i32.add (i32.const 0x3030) (local.get $n)))
           (call $record (call $hits (i32.const 3300)) (f64.const 1))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $n) (i32.const 70))))
         (i32.const 1024)";
    call(&recording(flood), &settings).expect("it is accepted");
    let series = shown(&settings.capabilities.metrics);
    assert_eq!(series.len(), 3, "{series:?}");
    assert_eq!(series[2], ("other".to_owned(), 68.0));
}

#[test]
fn a_series_that_nobody_made_ends_the_call() {
    for number in ["0", "3", "-1"] {
        let settings = with(Capabilities { metrics: metrics(), ..Capabilities::default() });
        let guest = recording(&format!("(call $record (i32.const {number}) (f64.const 1)) (i32.const 1024)"));
        assert_outcome(call(&guest, &settings), Outcome::HostError, "the number of no series");
        assert_eq!(shown(&settings.capabilities.metrics), []);
    }
}

#[test]
fn records_without_end_are_calls_without_end() {
    let settings = with(Capabilities { metrics: metrics(), ..Capabilities::default() });
    let endless = "(local $series i32) (local.set $series (call $hits (i32.const 3300)))
                   (loop $more (call $record (local.get $series) (f64.const 1)) (br $more)) (i32.const 1024)";
    assert_outcome(call(&recording(endless), &settings), Outcome::HostError, "calls of host functions");
    assert_eq!(shown(&settings.capabilities.metrics)[0].1, 0.0);
}

/// Traps unless the secret `token` is there; if it is, it stands at the address that this leaves in 3500.
fn reading(body: &str) -> Guest {
    let guest = Guest::new(body).import(
        "sandmill:handler/secrets@0.1.0",
        "get",
        "(func $secret (param i32 i32 i32))",
    );
    guest.with(
        "(data (i32.const 3400) \"token\")
         (func $token
           (call $secret (i32.const 3400) (i32.const 5) (i32.const 3500))
           (if (i32.eqz (i32.load8_u (i32.const 3500))) (then unreachable)))",
    )
}

#[test]
fn a_secret_is_read_by_its_name_and_counted() {
    let secrets = Arc::new(Secrets::new([("token", "hunter2-hunter2")]));
    let settings = with(Capabilities { secrets, ..Capabilities::default() });
    // It has the right length and begins with "hunt".
    let check = "(call $token)
         (if (i32.ne (i32.load (i32.const 3508)) (i32.const 15)) (then unreachable))
         (if (i32.ne (i32.load (i32.load (i32.const 3504))) (i32.const 0x746e7568)) (then unreachable))
         (i32.const 1024)";
    call(&reading(check), &settings).expect("the secret is there");
    assert_eq!(settings.capabilities.uses.read()[3].0, 1);
    let settings = with(Capabilities::default());
    assert_outcome(call(&reading(check), &settings), Outcome::Trap, "unreachable");
}
