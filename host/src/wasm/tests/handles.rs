//! A guest can hold only so many handles: of things that the host keeps for it, and of its own.

use super::*;

/// The contract, with a resource of the host's (what `subscribe-duration` returns) and one of the guest's own.
mod world {
    #![allow(missing_docs, unused, unreachable_pub, clippy::all, clippy::pedantic)]

    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package test:handles;

            interface things { resource thing; }

            world handles {
                include sandmill:handler/handler@0.1.0;
                import wasi:clocks/monotonic-clock@0.2.0;
                export things;
            }

            package wasi:io@0.2.0 {
                interface poll { resource pollable; }
            }

            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.0.{pollable};
                    type duration = u64;
                    subscribe-duration: func(when: duration) -> pollable;
                }
            }
        ",
        world: "test:handles/handles",
        include_component_type: true,
    });
}

/// Plenty of host calls, so that handles are what ends.
const LIMITS: InstanceLimits = InstanceLimits { host_calls: 1_000_000, ..super::LIMITS };

/// Makes so many handles with `make` and drops none.
fn hoarder(make: &str, count: u32) -> Guest {
    Guest::new(&format!(
        "(local $left i32)
         (local.set $left (i32.const {count}))
         (loop $again
            (drop {make})
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         (i32.const 1024)"
    ))
    .component_type(world::COMPONENT_TYPE)
    .import(
        "wasi:clocks/monotonic-clock@0.2.0",
        "subscribe-duration",
        "(func $subscribe (param i64) (result i32))",
    )
    .import(
        "[export]test:handles/things",
        "[resource-new]thing",
        "(func $new (param i32) (result i32))",
    )
}

#[test]
fn handles_of_what_the_host_keeps_are_bounded() {
    let subscribe = "(call $subscribe (i64.const 1))";
    assert!(outcome_of(&hoarder(subscribe, 400), LIMITS).is_ok());
    // The host keeps two entries for each: the timer and the handle.
    assert_outcome(outcome_of(&hoarder(subscribe, 1_025), LIMITS), Outcome::HostError, "table");
}

#[test]
fn handles_of_its_own_are_bounded() {
    let new = "(call $new (i32.const 1))";
    assert!(outcome_of(&hoarder(new, 1_000), LIMITS).is_ok());
    assert_outcome(outcome_of(&hoarder(new, 1_025), LIMITS), Outcome::HostError, "handle limit");
}
