//! What goes in and what comes out.

use super::guest::Column;
use super::*;
use crate::outcome::Again;

fn call(guest: &Guest, batch: &Batch) -> Call {
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    on_worker(call_once(&load(guest), &settings(LIMITS), batch, budget))
}

#[test]
fn an_answer_of_nothing_is_a_success_of_all_records() {
    let call = call(&Guest::new("(i32.const 1024)"), &batch(&["a", "b"]));
    let (instance, answer) = call.result.expect("the call succeeds");
    assert_eq!((answer.output_count(), answer.failures().len(), answer.bytes()), (0, 0, 0));
    assert_eq!(instance.memory(), call.memory);
    assert!(call.memory >= 2 * 65536 && call.memory < 4 * 65536, "{}", call.memory);
    assert!(call.fuel.0 > 0 && call.fuel < FUEL);
    assert!(call.polled > Duration::ZERO);
    assert_eq!(call.waited, Duration::ZERO);
}

#[test]
fn an_instance_is_called_again_and_again() {
    // Counts its calls, and fails the record once it has seen three.
    let guest = Guest::new(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.gt_u (global.get $calls) (i32.const 3)) (then unreachable))
         (i32.const 1024)",
    )
    .with("(global $calls (mut i32) (i32.const 0))");
    let (module, settings, cancel) = (load(&guest), settings(LIMITS), Arc::new(Cancel::new()));
    on_worker(async {
        let mut instance = Instance::start(&module, &settings, &cancel).await.expect("it starts");
        let mut used = Vec::new();
        for _ in 0..3 {
            let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
            let call = instance.call(&origin(), &batch(&["a"]), budget).await;
            used.push(call.fuel);
            instance = call.result.expect("the call succeeds").0;
        }
        assert!(used.windows(2).all(|pair| pair[0] == pair[1]), "fuel is deterministic: {used:?}");
        let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
        let failure = instance.call(&origin(), &batch(&["a"]), budget).await.result.expect_err("it traps");
        assert_eq!(failure.outcome, Outcome::Trap);
    });
}

#[test]
fn a_guest_reads_the_batch_as_it_is() {
    // Traps unless partition, number of values, and the last offset are what the batch says. In memory a batch
    // is: topic 0, partition 8, offsets 12, timestamps 20, keys 28, key-ends 36, values 44, value-ends 52.
    let guest = Guest::new(
        "(if (i32.ne (i32.load offset=8 (local.get $batch)) (i32.const 3)) (then unreachable))
         (if (i32.ne (i32.load offset=4 (local.get $batch)) (i32.const 6)) (then unreachable))
         (if (i32.ne (i32.load offset=56 (local.get $batch)) (i32.const 2)) (then unreachable))
         (if (i64.ne (i64.load offset=8 (i32.load offset=12 (local.get $batch))) (i64.const 101)) (then unreachable))
         (if (i32.ne (i32.load8_u offset=1 (i32.load offset=44 (local.get $batch))) (i32.const 98)) (then unreachable))
         (i32.const 1024)",
    );
    assert!(call(&guest, &batch(&["a", "b"])).result.is_ok());
    assert!(call(&guest, &batch(&["a", "c"])).result.is_err());
}

#[test]
fn outputs_take_what_they_leave_open_from_their_input() {
    let guest = Guest::answer(&[
        (Column::Inputs, &[1, 0, 0, 0], 1),
        (Column::Destinations, &[1], 1),
        (Column::Values, b"out", 3),
        (Column::ValueEnds, &[3, 0, 0, 0], 1),
    ]);
    let batch = batch(&["a", "b"]);
    let (_, answer) = call(&guest, &batch).result.expect("the call succeeds");
    let outputs: Vec<_> = answer.outputs(&batch).collect();
    let [output] = outputs.as_slice() else { panic!("one output: {outputs:?}") };
    assert_eq!((output.input, output.destination, output.partition), (1, 1, None));
    assert_eq!((output.key, output.value), (Some(&b"k1"[..]), Some(&b"out"[..])));
    assert_eq!(output.timestamp, 1_700_000_000_001);
    assert!(output.headers.is_empty());
}

#[test]
fn failed_records_come_back_cut_and_escaped() {
    // A failure: input 0, kind 4 (retry 0, reject 1; then an option of a u32), code 16, message 24.
    let mut failure = Vec::new();
    failure.extend_from_slice(&1_u32.to_le_bytes());
    failure.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
    failure.extend_from_slice(&250_u32.to_le_bytes());
    for (place, length) in [(8192_u32, 5_u32), (8200, 4)] {
        failure.extend_from_slice(&place.to_le_bytes());
        failure.extend_from_slice(&length.to_le_bytes());
    }
    let guest = Guest::answer(&[(Column::Failures, &failure, 1)])
        .with("(data (i32.const 8192) \"later\") (data (i32.const 8200) \"no\\1b!\")");
    let (_, answer) = call(&guest, &batch(&["a", "b"])).result.expect("the call succeeds");
    let [(1, failure)] = answer.failures() else { panic!("record 1 fails: {:?}", answer.failures()) };
    assert_eq!(failure.outcome, Outcome::Rejected);
    assert_eq!(failure.again, Again::After(Duration::from_millis(250)));
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("later", "no\\u{1b}!"));
}

#[test]
fn a_component_is_called_like_a_core_module() {
    let guest = Guest::new("(i32.const 1024)");
    let module = make(engine(), &guest.component(), Grants::default()).expect("the guest is a handler");
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let call = on_worker(call_once(&module, &settings(LIMITS), &batch(&["a"]), budget));
    assert!(call.result.is_ok());
}

#[test]
fn start_reads_the_config_and_config_can_be_asked_for_later() {
    // `start` gets one pair; `config.get("mode")` says "strict", `config.get("mod")` nothing.
    let guest = Guest::new(
        "(call $get (i32.const 4096) (i32.const 4) (i32.const 5000))
         (if (i32.ne (i32.load8_u (i32.const 5000)) (i32.const 1)) (then unreachable))
         (if (i32.ne (i32.load (i32.const 5008)) (i32.const 6)) (then unreachable))
         (call $get (i32.const 4096) (i32.const 3) (i32.const 5000))
         (if (i32.ne (i32.load8_u (i32.const 5000)) (i32.const 0)) (then unreachable))
         (i32.const 1024)",
    )
    .start("(if (i32.ne (local.get 1) (i32.const 1)) (then unreachable)) (i32.const 1024)")
    .import("sandmill:handler/config@0.1.0", "get", "(func $get (param i32 i32 i32))")
    .with("(data (i32.const 4096) \"mode\")");
    let call = call(&guest, &batch(&["a"]));
    assert_eq!(call.result.map(|_| ()), Ok(()));
    assert_eq!(call.host_calls, 2);
}
