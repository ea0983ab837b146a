//! A guest that waits on the host, through WASI.

use super::*;

/// Imports `poll_oneoff` and waits for `millis` with it.
fn sleeper(millis: u64) -> Guest {
    // A subscription: user data 0, kind 8 (0: clock), clock 16 (1: monotonic), timeout 24, precision 32, flags 40.
    Guest::new(&format!(
        "(i32.store (i32.const 4112) (i32.const 1))
         (i64.store (i32.const 4120) (i64.const {}))
         (drop (call $poll (i32.const 4096) (i32.const 4200) (i32.const 1) (i32.const 4300)))
         (i32.const 1024)",
        millis * 1_000_000
    ))
    .pages(4)
    .import(
        "wasi_snapshot_preview1",
        "poll_oneoff",
        "(func $poll (param i32 i32 i32 i32) (result i32))",
    )
}

#[test]
fn waiting_counts_as_waiting_and_holds_no_core() {
    let (module, settings, cancel) = (load(&sleeper(50)), settings(LIMITS), Arc::new(Cancel::new()));
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let calls = on_worker(async {
        let batch = batch(&["a"]);
        let calls = (0..10).map(|_| call_once(&module, &settings, &batch, budget));
        let since = std::time::Instant::now();
        let calls = futures_util::future::join_all(calls).await;
        assert!(since.elapsed() < Duration::from_millis(400), "ten calls wait side by side");
        calls
    });
    for call in calls {
        assert!(call.waited >= Duration::from_millis(49), "{call:?}");
        assert!(call.polled < Duration::from_millis(40), "{call:?}");
        assert!(call.result.is_ok(), "{call:?}");
    }
}

#[test]
fn a_guest_that_waits_too_long_meets_its_deadline() {
    let result = outcome_under(&sleeper(60_000), LIMITS, FUEL, SHORT);
    assert_outcome(result, Outcome::Deadline, "20ms");
}

#[test]
fn cancelling_ends_a_wait() {
    let (module, settings, cancel) = (load(&sleeper(60_000)), settings(LIMITS), Arc::new(Cancel::new()));
    let from_elsewhere = Arc::clone(&cancel);
    let thread = std::thread::spawn(move || {
        #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
        std::thread::sleep(SHORT);
        from_elsewhere.cancel();
    });
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let since = std::time::Instant::now();
    let call = on_worker(call_once(&module, &settings, &batch(&["a"]), budget));
    thread.join().expect("cancelling does not panic");
    assert!(since.elapsed() < LONG / 2);
    assert_outcome(call.result.map(|(_, answer)| answer), Outcome::Revoked, "assignment");
}

#[test]
fn a_neighbour_has_its_turn_while_others_spin() {
    let spinner = load(&Guest::new("(loop $again (br $again)) unreachable"));
    let quick = load(&Guest::new("(i32.const 1024)"));
    let (settings, cancel) = (settings(LIMITS), Arc::new(Cancel::new()));
    let budget = Budget { fuel: ENDLESS, deadline: Duration::from_millis(200), cancel: &cancel };
    on_worker(async {
        let batch = batch(&["a"]);
        let since = std::time::Instant::now();
        let spinners =
            futures_util::future::join_all((0..5).map(|_| call_once(&spinner, &settings, &batch, budget)));
        let quick = async {
            // The spinners have begun by the second poll.
            tokio::task::yield_now().await;
            let call = call_once(&quick, &settings, &batch, budget).await;
            (call, std::time::Instant::now())
        };
        let ((call, quick_done), calls) = futures_util::future::join(quick, spinners).await;
        assert!(call.result.is_ok());
        assert!(
            quick_done.elapsed() > Duration::from_millis(100),
            "the quick call did not wait for the spinners"
        );
        for call in calls {
            let failure = call.result.expect_err("it spins");
            assert_eq!(failure.outcome, Outcome::Deadline, "{failure}");
            // Five share the thread; with the time of the others each would be charged for nearly all.
            assert!(call.polled < since.elapsed() / 2, "charged for its own time only: {:?}", call.polled);
        }
    });
}

#[test]
fn exit_ends_the_instance_and_is_a_trap() {
    let guest = Guest::new("(call $exit (i32.const 3)) unreachable").pages(4).import(
        "wasi_snapshot_preview1",
        "proc_exit",
        "(func $exit (param i32))",
    );
    assert_outcome(outcome_of(&guest, LIMITS), Outcome::Trap, "exited with status 1");
}

#[test]
fn wasi_is_empty() {
    // Arguments, environment, folders: there are none. Error 8 is a bad descriptor.
    let guest = Guest::new(
        "(if (call $args (i32.const 4096) (i32.const 4100)) (then unreachable))
         (if (i32.load (i32.const 4096)) (then unreachable))
         (if (call $environ (i32.const 4096) (i32.const 4100)) (then unreachable))
         (if (i32.load (i32.const 4096)) (then unreachable))
         (if (i32.ne (call $prestat (i32.const 3) (i32.const 4096)) (i32.const 8)) (then unreachable))
         (i32.const 1024)",
    )
    .pages(4)
    .import("wasi_snapshot_preview1", "args_sizes_get", "(func $args (param i32 i32) (result i32))")
    .import("wasi_snapshot_preview1", "environ_sizes_get", "(func $environ (param i32 i32) (result i32))")
    .import("wasi_snapshot_preview1", "fd_prestat_get", "(func $prestat (param i32 i32) (result i32))");
    assert!(outcome_of(&guest, LIMITS).is_ok());
}

#[test]
fn clocks_and_random_work_within_bounds() {
    let random = |bytes: u32| {
        Guest::new(&format!(
            "(if (call $clock (i32.const 1) (i64.const 0) (i32.const 4096)) (then unreachable))
             (if (i64.eqz (i64.load (i32.const 4096))) (then unreachable))
             (if (call $random (i32.const 8192) (i32.const {bytes})) (then unreachable))
             (if (i64.eqz (i64.load (i32.const 8192))) (then unreachable))
             (i32.const 1024)"
        ))
        .pages(4)
        .import("wasi_snapshot_preview1", "clock_time_get", "(func $clock (param i32 i64 i32) (result i32))")
        .import(
            "wasi_snapshot_preview1",
            "random_get",
            "(func $random (param i32 i32) (result i32))",
        )
    };
    assert!(outcome_of(&random(65_536), LIMITS).is_ok());
    assert_outcome(outcome_of(&random(65_537), LIMITS), Outcome::HostError, "exceeds limit");
}
