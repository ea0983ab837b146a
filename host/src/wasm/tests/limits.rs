//! Each limit fires.

use super::guest::{Column, datum};
use super::*;

const SPIN: &str = "(loop $again (br $again)) unreachable";

/// Grows memory by a page until that fails, and then gives up as an allocator does.
const GROW: &str = "(loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable";

#[test]
fn a_guest_that_spins_runs_out_of_fuel() {
    let result = outcome_under(&Guest::new(SPIN), LIMITS, Fuel(1_000_000), LONG);
    assert_outcome(result, Outcome::OutOfFuel, "fuel");
}

#[test]
fn a_guest_that_spins_meets_its_deadline() {
    let result = outcome_under(&Guest::new(SPIN), LIMITS, ENDLESS, SHORT);
    assert_outcome(result, Outcome::Deadline, "20ms");
}

#[test]
fn cancelling_ends_a_guest_that_spins() {
    let (module, settings, cancel) = (load(&Guest::new(SPIN)), settings(LIMITS), Arc::new(Cancel::new()));
    let from_elsewhere = Arc::clone(&cancel);
    let thread = std::thread::spawn(move || {
        #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
        std::thread::sleep(SHORT);
        from_elsewhere.cancel();
    });
    let budget = Budget { fuel: ENDLESS, deadline: LONG, cancel: &cancel };
    let call = on_worker(call_once(&module, &settings, &batch(&["a"]), budget));
    thread.join().expect("cancelling does not panic");
    assert!(call.polled < LONG / 2);
    assert_outcome(call.result.map(|(_, answer)| answer), Outcome::Revoked, "assignment");
}

#[test]
fn growing_past_the_limit_and_trapping_on_it_is_a_memory_limit() {
    assert_outcome(outcome_of(&Guest::new(GROW), LIMITS), Outcome::MemoryLimit, "limit");
    let at_once =
        "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable)) (i32.const 1024)";
    assert_outcome(outcome_of(&Guest::new(at_once), LIMITS), Outcome::MemoryLimit, "limit");
}

#[test]
fn a_guest_may_cope_with_a_denied_growth() {
    let copes = "(drop (memory.grow (i32.const 1000))) (i32.const 1024)";
    assert!(outcome_of(&Guest::new(copes), LIMITS).is_ok());
}

#[test]
fn tables_count_as_memory() {
    let guest = Guest::new(
        "(if (i32.eq (table.grow (ref.null func) (i32.const 90000)) (i32.const -1)) (then unreachable))
         (i32.const 1024)",
    )
    .with("(table 10 funcref)");
    assert!(outcome_of(&guest, LIMITS).is_ok());
    let limits = InstanceLimits { memory: 512 << 10, ..LIMITS };
    assert_outcome(outcome_of(&guest, limits), Outcome::MemoryLimit, "limit");
}

#[test]
fn recursion_without_end_is_a_trap() {
    let guest =
        Guest::new("(call $deep)").with("(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))");
    assert_outcome(outcome_of(&guest, LIMITS), Outcome::Trap, "stack");
}

#[test]
fn a_trap_says_which_and_where() {
    let guest = Guest::new("(call $faulty) (i32.const 1024)")
        .with("(func $faulty (drop (i32.load (i32.const 0x7fff0000))))");
    let failure = outcome_of(&guest, LIMITS).expect_err("it traps");
    assert_eq!(failure.outcome, Outcome::Trap);
    assert!(failure.message.contains("out of bounds memory access"), "{failure}");
    assert!(failure.message.contains("faulty"), "{failure}");
}

#[test]
fn names_in_traps_are_cut_and_escaped() {
    let guest = Guest::new("(call $bad) (i32.const 1024)")
        .with(&format!("(func $bad (@name \"\\1b[31m{}\") unreachable)", "x".repeat(5000)));
    let failure = outcome_of(&guest, LIMITS).expect_err("it traps");
    assert!(failure.message.len() <= LIMITS.output.failure_message, "{failure}");
    assert!(failure.message.chars().all(|character| !character.is_control()), "{failure}");
    assert!(failure.message.contains("[31mxxx"), "{failure}");
}

#[test]
fn a_trap_shows_few_frames() {
    // Each function calls the next; the last one traps.
    let chain: String = (0..50).map(|at| format!("(func $frame{at} (call $frame{}))", at + 1)).collect();
    let guest =
        Guest::new("(call $frame0) (i32.const 1024)").with(&chain).with("(func $frame50 unreachable)");
    let failure = outcome_of(&guest, LIMITS).expect_err("it traps");
    let (_, frames) = failure.message.split_once("; in ").expect("frames are shown");
    let frames: Vec<_> = frames.split(" < ").collect();
    assert_eq!(frames, ["frame50", "frame49", "frame48", "frame47", "frame46", "frame45"]);
}

#[test]
fn too_many_host_calls_are_a_host_error() {
    let guest = Guest::new(
        "(loop $again
            (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
            (global.set $next (i32.const 65536))
            (br $again))
         unreachable",
    )
    .import("sandmill:handler/config@0.1.0", "get", "(func $get (param i32 i32 i32))");
    assert_outcome(outcome_of(&guest, LIMITS), Outcome::HostError, "1000 calls");
}

#[test]
fn calls_of_wasi_count_too() {
    let clock = |body: &str| {
        Guest::new(body).pages(4).import(
            "wasi_snapshot_preview1",
            "clock_time_get",
            "(func $clock (param i32 i64 i32) (result i32))",
        )
    };
    let now = "(drop (call $clock (i32.const 1) (i64.const 0) (i32.const 4096)))";
    // Without end: a tick says it. A few too many: the end of the call does.
    let endless = clock(&format!("(loop $again {now} (br $again)) unreachable"));
    assert_outcome(outcome_of(&endless, LIMITS), Outcome::HostError, "1000 calls");
    let times = |times: u32| {
        clock(&format!(
            "(local $left i32)
             (local.set $left (i32.const {times}))
             (loop $again {now} (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (i32.const 1024)"
        ))
    };
    assert!(outcome_of(&times(1000), LIMITS).is_ok());
    assert_outcome(outcome_of(&times(1001), LIMITS), Outcome::HostError, "1000 calls");
}

#[test]
fn host_calls_are_allowed_for_each_record() {
    let guest = Guest::new(
        "(local $left i32)
         (local.set $left (i32.const 1500))
         (loop $again
            (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         (i32.const 1024)",
    )
    .import("sandmill:handler/config@0.1.0", "get", "(func $get (param i32 i32 i32))");
    let (module, settings, cancel) = (load(&guest), settings(LIMITS), Arc::new(Cancel::new()));
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let one = on_worker(call_once(&module, &settings, &batch(&["a"]), budget));
    assert_outcome(one.result.map(|(_, answer)| answer), Outcome::HostError, "1000 calls");
    let two = on_worker(call_once(&module, &settings, &batch(&["a", "b"]), budget));
    assert_eq!(two.host_calls, 1500);
    assert!(two.result.is_ok());
}

#[test]
fn ticks_are_no_host_calls() {
    // Runs for many ticks with a single host call.
    let guest = Guest::new(
        "(local $left i32)
         (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
         (local.set $left (i32.const 20000000))
         (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         (i32.const 1024)",
    )
    .import("sandmill:handler/config@0.1.0", "get", "(func $get (param i32 i32 i32))");
    let (module, settings, cancel) = (load(&guest), settings(LIMITS), Arc::new(Cancel::new()));
    let budget = Budget { fuel: ENDLESS, deadline: LONG, cancel: &cancel };
    let call = on_worker(call_once(&module, &settings, &batch(&["a"]), budget));
    assert!(call.polled > Duration::from_millis(3), "{:?}", call.polled);
    assert_eq!(call.host_calls, 1);
    assert!(call.result.is_ok());
}

#[test]
fn growing_is_no_host_call() {
    let limits = InstanceLimits { host_calls: 5, ..LIMITS };
    let grows =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 1024)";
    assert!(outcome_of(&Guest::new(grows), limits).is_ok());
}

#[test]
fn host_calls_take_fuel_for_their_bytes() {
    let fuel = |length: u32| {
        let guest = Guest::new(&format!(
            "(call $write (i32.const 2) (i32.const 4096) (i32.const {length})) (i32.const 1024)"
        ))
        .import("sandmill:handler/log@0.1.0", "write", "(func $write (param i32 i32 i32))");
        let cancel = Arc::new(Cancel::new());
        let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
        on_worker(call_once(&load(&guest), &settings(LIMITS), &batch(&["a"]), budget)).fuel.0
    };
    assert_eq!(fuel(1000) - fuel(100), 900);
}

#[test]
fn wrong_answers_are_invalid_output() {
    let inputs = |index: u32| index.to_le_bytes();
    let end = 1_u32.to_le_bytes();
    for (guest, message) in [
        // Fewer ends than outputs.
        (Guest::answer(&[(Column::Inputs, &inputs(0), 1)]), "value-ends"),
        // A record that does not exist.
        (Guest::answer(&[(Column::Inputs, &inputs(7), 1), (Column::ValueEnds, &[0; 4], 1)]), "record 7"),
        // An end past the bytes.
        (Guest::answer(&[(Column::Inputs, &inputs(0), 1), (Column::ValueEnds, &end, 1)]), "end at byte 1"),
        // Unknown flags.
        (
            Guest::answer(&[
                (Column::Inputs, &inputs(0), 1),
                (Column::ValueEnds, &[0; 4], 1),
                (Column::Flags, &[128], 1),
            ]),
            "flag",
        ),
        // A column of 2^32 - 1 entries.
        (Guest::answer(&[(Column::Inputs, &inputs(0), u32::MAX)]), "out of bounds"),
        // A column that lies outside of memory.
        (Guest::new("(i32.const 2048)").with(&datum(2048, &[0xf0, 0xff, 0xff, 0xff, 1])), "out of bounds"),
        // An answer that lies outside of memory.
        (Guest::new("(i32.const -8)"), ""),
        // An answer that is not aligned.
        (Guest::new("(i32.const 1025)"), "align"),
    ] {
        assert_outcome(outcome_of(&guest, LIMITS), Outcome::InvalidOutput, message);
    }
}

#[test]
fn an_answer_that_names_the_same_bytes_again_and_again_is_not_lifted() {
    // Each column alone is as large as the memory: 2 MiB.
    let mut guest = Guest::new("(i32.const 2048)").pages(33);
    for column in [Column::Keys, Column::Values, Column::Flags, Column::KeyEnds] {
        let mut pointer = 0_u32.to_le_bytes().to_vec();
        pointer.extend_from_slice(&(500_000_u32).to_le_bytes());
        guest = guest.with(&datum(2048 + column as u32, &pointer));
    }
    assert_outcome(outcome_of(&guest, LIMITS), Outcome::InvalidOutput, "too much data");
}

#[test]
fn an_answer_counts_as_memory_of_its_instance() {
    // A column of 1.2 MB out of a memory of 2 MiB.
    let mut pointer = 0_u32.to_le_bytes().to_vec();
    pointer.extend_from_slice(&1_200_000_u32.to_le_bytes());
    let column = datum(2048 + Column::Values as u32, &pointer);
    let guest = Guest::new("(i32.const 2048)").pages(33).with(&column);
    let output = OutputLimits { bytes: 4 << 20, ..LIMITS.output };
    let within = |memory| outcome_of(&guest, InstanceLimits { memory, output, ..LIMITS });
    assert_outcome(within(3_300_000), Outcome::MemoryLimit, "its answer of 1200000 bytes and the 21");
    assert_outcome(within(3_400_000), Outcome::InvalidOutput, "entries");
}

#[test]
fn a_start_that_fails_says_why() {
    // A result: 1 for an error, then the string.
    let says_no = Guest::new("(i32.const 1024)")
        .start("(i32.const 4096)")
        .with(&datum(4096, &[1, 0, 0, 0, 0, 32, 0, 0, 6, 0, 0, 0]))
        .with("(data (i32.const 8192) \"no\\0akey\")");
    let eats_memory = Guest::new("(i32.const 1024)").start(GROW);
    let traps = Guest::new("(i32.const 1024)").start("unreachable");
    let spins = Guest::new("(i32.const 1024)").start(SPIN);
    let spins_at_instantiation =
        Guest::new("(i32.const 1024)").with("(func $spin (loop $again (br $again))) (start $spin)");
    let too_large = Guest::new("(i32.const 1024)").pages(100);
    for (guest, message) in [
        (says_no, "no\\nkey"),
        (eats_memory, "memory_limit"),
        (traps, "trap: "),
        (spins, "out_of_fuel"),
        (spins_at_instantiation, "out_of_fuel"),
        (too_large, "memory"),
    ] {
        let (module, settings, cancel) = (load(&guest), settings(LIMITS), Arc::new(Cancel::new()));
        let started = on_worker(Instance::start(&module, &settings, &cancel));
        assert_outcome(started.map(|_| Answer::default()), Outcome::InitializationFailed, message);
        on_worker(assert_served_well(&settings, &cancel));
    }
}

#[test]
fn a_start_that_never_ends_meets_its_deadline_or_is_cancelled() {
    let module = load(&Guest::new("(i32.const 1024)").start(SPIN));
    let settings = settings(InstanceLimits { start_fuel: ENDLESS, start_deadline: SHORT, ..LIMITS });
    let cancel = Arc::new(Cancel::new());
    let started = on_worker(Instance::start(&module, &settings, &cancel));
    assert_outcome(started.map(|_| Answer::default()), Outcome::InitializationFailed, "deadline");
    cancel.cancel();
    let started = on_worker(Instance::start(&module, &settings, &cancel));
    assert_outcome(started.map(|_| Answer::default()), Outcome::Revoked, "");
}
