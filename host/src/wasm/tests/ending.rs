//! After a call that ended without an answer the instance is gone, whatever ended it.

use super::guest::{Column, datum};
use super::*;
use crate::wasm::EngineConfig;

/// A guest that counts its calls, answers the first, and does `harm` in the second.
fn poisoned(harm: &str) -> Guest {
    Guest::new(&format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.eq (global.get $calls) (i32.const 1)) (then (return (i32.const 1024))))
         (if (i32.gt_u (global.get $calls) (i32.const 2)) (then (return (i32.const -8))))
         {harm}"
    ))
    .with("(global $calls (mut i32) (i32.const 0))")
    .import("sandmill:handler/config@0.1.0", "get", "(func $get (param i32 i32 i32))")
}

#[test]
fn after_any_failure_the_instance_is_gone_and_the_next_call_finds_nothing_of_it() {
    let spin = "(loop $again (br $again)) unreachable";
    let not_an_index = [7, 0, 0, 0];
    let cases = [
        (poisoned("unreachable"), Outcome::Trap, FUEL, LONG),
        (poisoned(spin), Outcome::OutOfFuel, FUEL, LONG),
        (poisoned(spin), Outcome::Deadline, ENDLESS, SHORT),
        (
            poisoned(
                "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable)) (i32.const 1024)",
            ),
            Outcome::MemoryLimit,
            FUEL,
            LONG,
        ),
        // An answer that cannot be lifted: the sandbox itself would let the instance be called again.
        (poisoned("(i32.const -8)"), Outcome::InvalidOutput, FUEL, LONG),
        // One that can, and breaks a rule of the contract.
        (
            poisoned("(i32.const 2048)")
                .with(&datum(2048 + Column::Inputs as u32, &[0, 12, 0, 0, 1, 0, 0, 0]))
                .with(&datum(3072, &not_an_index))
                .with(&datum(2048 + Column::ValueEnds as u32, &[8, 12, 0, 0, 1, 0, 0, 0])),
            Outcome::InvalidOutput,
            FUEL,
            LONG,
        ),
        (
            poisoned(
                "(loop $again
                    (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
                    (global.set $next (i32.const 65536))
                    (br $again))
                 unreachable",
            ),
            Outcome::HostError,
            FUEL,
            LONG,
        ),
    ];
    // A pool of one: while anything of an instance lives, no other starts.
    let engine = Engine::new(&EngineConfig::new(1)).expect("the engine is made");
    let (settings, cancel) = (settings(LIMITS), Arc::new(Cancel::new()));
    for (guest, outcome, fuel, deadline) in &cases {
        let module = make(&engine, &guest.core_module(), Grants::ALL).expect("the guest is a handler");
        on_worker(async {
            for _ in 0..3 {
                let started = Instance::start(&module, &settings, &cancel).await;
                let mut instance = started.expect("nothing is left of the instance before");
                let budget = Budget { fuel: *fuel, deadline: *deadline, cancel: &cancel };
                let first = instance.call(&origin(), &batch(&["a"]), budget).await;
                instance = first.result.expect("it counts from the beginning").0;
                let second = instance.call(&origin(), &batch(&["a"]), budget).await;
                assert_outcome(second.result.map(|(_, answer)| answer), *outcome, "");
            }
        });
    }
}
