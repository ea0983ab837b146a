//! Memory that instances share is used up: no fault of the record that finds it so.

use super::guest::{Column, datum};
use super::*;
use crate::outcome::{Again, Shared};
use crate::wasm::{MemoryBudget, Need, Reserved};

const MIB: usize = 1 << 20;

/// Grows memory by a page until that fails, and then gives up as an allocator does.
const GROW: &str = "(loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable";

/// Settings with budgets of so many bytes, and the budgets.
fn sharing(pipeline: usize, host: usize) -> (Arc<InstanceSettings>, [Arc<MemoryBudget>; 2]) {
    let budgets = [Arc::new(MemoryBudget::of_pipeline(pipeline)), Arc::new(MemoryBudget::new(host))];
    let memory = Arc::new(budgets.clone());
    (Arc::new(InstanceSettings { memory, ..InstanceSettings::clone(&settings(LIMITS)) }), budgets)
}

fn no_room<T>(result: Result<T, Failure>, shared: Shared, key: &str) {
    let failure = result.err().expect("there is no room");
    assert_eq!((failure.outcome, failure.again), (Outcome::HostError, Again::WithRoom(shared)), "{failure}");
    assert!(failure.message.contains(key), "{failure}");
}

#[test]
fn a_call_that_finds_no_room_to_grow_says_so_and_whose_room_it_is() {
    let module = load(&Guest::new(GROW));
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    for (pipeline, host, shared, key) in [
        (MIB, 2 * MIB, Shared::Pipeline, "limits.total_memory"),
        (2 * MIB, MIB, Shared::Host, "host.guest_memory"),
    ] {
        let (settings, budgets) = sharing(pipeline, host);
        let call = on_worker(call_once(&module, &settings, &batch(&["a"]), budget));
        assert!(call.memory > 900 << 10 && call.memory <= MIB, "{}", call.memory);
        no_room(call.result, shared, key);
        for budget in budgets {
            assert_eq!((budget.used(), budget.live()), (0, 0), "the instance is gone, and its memory free");
        }
        on_worker(assert_served_well(&settings, &cancel));
    }
}

#[test]
fn whatever_it_does_after_it_found_no_room_says_nothing_of_its_records() {
    let cancel = Arc::new(Cancel::new());
    let (settings, _) = sharing(MIB, 2 * MIB);
    let grown = "(drop (memory.grow (i32.const 30)))";
    let patient = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let frugal = Budget { fuel: Fuel(1_000_000), ..patient };
    let short = Budget { fuel: Fuel(u64::MAX / 2), deadline: Duration::from_millis(10), cancel: &cancel };
    for (what, body, budget, alone) in [
        ("traps", "unreachable", patient, Outcome::Trap),
        (
            "spins until its fuel is used up",
            "(loop $again (br $again)) unreachable",
            frugal,
            Outcome::OutOfFuel,
        ),
        ("spins until its deadline", "(loop $again (br $again)) unreachable", short, Outcome::Deadline),
        ("answers with what is no answer", "(i32.const -4)", patient, Outcome::InvalidOutput),
    ] {
        let result = |body: &str| {
            let (module, batch) = (load(&Guest::new(body)), batch(&["a"]));
            on_worker(call_once(&module, &settings, &batch, budget)).result.map(|(_, answer)| answer)
        };
        assert_outcome(result(body), alone, "");
        let failure = result(&format!("{grown} {body}")).expect_err(what);
        assert_eq!(failure.again, Again::WithRoom(Shared::Pipeline), "{what}: {failure}");
    }
}

/// An answer is copied out before the guest frees what it lay in, and a guest may take its time for that.
#[test]
fn an_answer_counts_from_the_moment_at_which_it_is_copied_out() {
    let mut pointer = 0_u32.to_le_bytes().to_vec();
    pointer.extend_from_slice(&600_000_u32.to_le_bytes());
    let column = datum(2048 + Column::Values as u32, &pointer);
    let spins = Guest::new("(i32.const 2048)").pages(10).with(&column).after("(loop $again (br $again))");
    let module = load(&spins);
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: Fuel(u64::MAX / 2), deadline: Duration::from_millis(200), cancel: &cancel };
    let result = |memory, pipeline| {
        let (mut settings, budgets) = sharing(pipeline, 100 * MIB);
        let limits =
            InstanceLimits { memory, output: OutputLimits { bytes: 4 * MIB, ..LIMITS.output }, ..LIMITS };
        Arc::make_mut(&mut settings).limits = limits;
        let result = on_worker(call_once(&module, &settings, &batch(&["a"]), budget)).result;
        assert_eq!(budgets[0].used(), 0, "nothing is left of it");
        result.map(|(_, answer)| answer)
    };
    // 10 pages and the answer are 1.2 MiB.
    assert_outcome(result(2 * MIB, 2 * MIB), Outcome::Deadline, "");
    assert_outcome(result(MIB, 2 * MIB), Outcome::MemoryLimit, "its answer of 6000");
    no_room(result(2 * MIB, MIB), Shared::Pipeline, "limits.total_memory");
}

#[test]
fn with_everything_set_aside_its_own_limit_is_what_ends_it() {
    let module = load(&Guest::new(GROW));
    let (settings, budgets) = sharing(5 * MIB, 5 * MIB);
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    on_worker(async {
        let reserve = || Reserved::new(&module, &settings, Need::Everything);
        let memory = reserve().expect("there is room");
        assert_eq!(budgets[0].used(), LIMITS.memory);
        let greedy = Instance::start_in(memory, &module, &settings, &cancel).await.expect("it starts");
        assert_eq!(budgets[0].used(), LIMITS.memory);
        assert_eq!(reserve().err(), Some(Shared::Pipeline));
        // Another one takes all that is left.
        let other = Instance::start(&module, &settings, &cancel).await.expect("there is room for one more");
        no_room(other.call(&origin(), &batch(&["a"]), budget).await.result, Shared::Pipeline, "used up");
        let call = greedy.call(&origin(), &batch(&["a"]), budget).await;
        assert_outcome(call.result.map(|(_, answer)| answer), Outcome::MemoryLimit, "limit");
    });
    assert_eq!((budgets[0].used(), budgets[1].used()), (0, 0));
}

#[test]
fn an_instance_that_cannot_start_for_want_of_room_says_so() {
    let module = load(&Guest::new("(i32.const 1024)").pages(40));
    let cancel = Arc::new(Cancel::new());
    let (settings, budgets) = sharing(3 * MIB, 100 * MIB);
    on_worker(async {
        let first = Instance::start(&module, &settings, &cancel).await.expect("there is room for one");
        no_room(Instance::start(&module, &settings, &cancel).await, Shared::Pipeline, "limits.total_memory");
        assert_eq!((budgets[0].live(), budgets[0].used()), (1, first.memory()));
        drop(first);
        assert!(Instance::start(&module, &settings, &cancel).await.is_ok());
    });
    // Nor for want of a place in the pool.
    let engine = Engine::new(&EngineConfig::new(1)).expect("the engine is made");
    let module =
        make(&engine, &Guest::new("(i32.const 1024)").core_module(), Grants::ALL).expect("a handler");
    on_worker(async {
        let first = Instance::start(&module, &settings, &cancel).await.expect("there is a place");
        no_room(Instance::start(&module, &settings, &cancel).await, Shared::Host, "");
        drop(first);
        assert!(Instance::start(&module, &settings, &cancel).await.is_ok());
    });
}

#[test]
fn a_guest_that_copes_may_answer_but_no_record_fails_for_want_of_room() {
    let copes = "(drop (memory.grow (i32.const 30)))";
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let (settings, _) = sharing(MIB, MIB);
    let call = |guest: &Guest, settings: &Arc<InstanceSettings>| {
        on_worker(call_once(&load(guest), settings, &batch(&["a"]), budget)).result.map(|(_, answer)| answer)
    };
    let succeeds = Guest::new(&format!("{copes} (i32.const 1024)"));
    assert!(call(&succeeds, &settings).is_ok());
    // A failure of input 0, of kind 1 (reject), with an empty code and message.
    let mut failure = [0; 32];
    failure[4] = 1;
    let mut fails = Guest::answer(&[(Column::Failures, &failure, 1)]);
    no_room(
        call(&fails.clone().handle(&format!("{copes} (i32.const 2048)")), &settings),
        Shared::Pipeline,
        "",
    );
    // With room it is the record that fails.
    fails = fails.with(&datum(5000, b"x"));
    let answer = call(&fails, &settings).expect("it answers");
    assert_eq!(answer.failures().len(), 1);
}
