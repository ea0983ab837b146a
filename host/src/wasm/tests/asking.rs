//! A component that asks for more than it may have is refused when it is loaded, with the limit and its key.

use super::*;
use crate::wasm::{ComponentLimits, Limit, Needs, TooMuch, Unreadable};

/// What the host finds that a guest asks for.
fn needs(guest: &Guest) -> Needs {
    let key = Key::from_bytes([7; 32]);
    let compiled = compile(&guest.core_module(), &key, &FileLimits::default()).expect("it is a handler");
    Compiled::open(compiled, &key).expect("it was just sealed").about().needs
}

fn engine_of(each: ComponentLimits) -> Engine {
    Engine::new(&EngineConfig { pools: vec![(1, each)], ..EngineConfig::new(1) }).expect("the engine is made")
}

fn refused(each: ComponentLimits, guest: &Guest) -> LoadError {
    make(&engine_of(each), &guest.core_module(), Grants::ALL).expect_err("it is refused")
}

/// A guest with a table, that uses WASI: the module itself, the adapter, and what holds the two together.
fn usual() -> Guest {
    Guest::new("(i32.const 1024)").with("(table 10 20 funcref)").import(
        "wasi_snapshot_preview1",
        "clock_time_get",
        "(func $clock (param i32 i64 i32) (result i32))",
    )
}

#[test]
fn what_a_handler_asks_for_is_what_the_sandbox_makes_of_it() {
    let needs = needs(&usual());
    assert_eq!((needs.core_instances, needs.memories), (4, 1), "{needs:?}");
    assert!(needs.memory >= 2 * 65536 && needs.tables >= 1, "{needs:?}");
    // The pool has exactly so much, so that a wrong count would be refused by the sandbox, or not at all.
    let exact = ComponentLimits {
        core_instances: needs.core_instances as u32,
        memories: needs.memories as u32,
        tables: needs.tables as u32,
    };
    let module = make(&engine_of(exact), &usual().core_module(), Grants::ALL).expect("there is room");
    let (settings, cancel) = (settings(LIMITS), Arc::new(Cancel::new()));
    let instance = on_worker(Instance::start(&module, &settings, &cancel)).expect("it starts");
    assert_eq!(instance.memory() as u64, needs.memory);
}

#[test]
fn one_too_many_of_anything_is_refused_by_its_name() {
    let needs = needs(&usual());
    let exact = ComponentLimits {
        core_instances: needs.core_instances as u32,
        memories: needs.memories as u32,
        tables: needs.tables as u32,
    };
    for (each, limit, asks) in [
        (
            ComponentLimits { core_instances: exact.core_instances - 1, ..exact },
            Limit::CoreInstances,
            needs.core_instances,
        ),
        (ComponentLimits { memories: 0, ..exact }, Limit::Memories, needs.memories),
        (ComponentLimits { tables: exact.tables - 1, ..exact }, Limit::Tables, needs.tables),
    ] {
        let error = refused(each, &usual());
        assert_eq!(error, LoadError::TooMuch(TooMuch { limit, asks, allowed: asks - 1 }));
        assert!(error.to_string().contains("raise `limits."), "{error}");
    }
    let error = refused(exact, &Guest::new("(i32.const 1024)").with("(table 200000 funcref)"));
    assert!(matches!(error, LoadError::TooMuch(TooMuch { limit: Limit::TableElements, .. })), "{error}");
    on_worker(assert_served_well(&settings(LIMITS), &Arc::new(Cancel::new())));
}

#[test]
fn memory_to_start_with_is_held_against_the_limit_before_it_starts() {
    let needs = needs(&Guest::new("(i32.const 1024)").pages(100));
    assert!(needs.check(&ComponentLimits::default(), 64 << 20).is_ok());
    let error = needs.check(&ComponentLimits::default(), 4 << 20).expect_err("it is too much");
    assert!(error.asks >= 100 * 65536 && error.allowed == 4 << 20, "{error}");
    assert!(error.to_string().ends_with("raise `limits.memory`"), "{error}");
}

#[test]
fn size_and_functions_of_a_file_are_held_against_their_limits() {
    let bytes = usual().core_module();
    let compiled = |limits| compile(&bytes, &Key::from_bytes([7; 32]), &limits).map(drop);
    let exact = FileLimits { size: bytes.len(), functions: 4 };
    assert_eq!(compiled(exact), Ok(()));
    let error = compiled(FileLimits { size: bytes.len() - 1, ..exact }).expect_err("it is too large");
    let (size, limit) = (bytes.len() as u64, bytes.len() - 1);
    assert_eq!(error, LoadError::Unreadable(Unreadable::TooLarge { size, limit }));
    assert!(error.to_string().contains("raise `host.module_size`"), "{error}");
    let error = compiled(FileLimits { functions: 3, ..exact }).expect_err("it has too many");
    assert_eq!(error, LoadError::Unreadable(Unreadable::TooManyFunctions { limit: 3 }));
    assert!(error.to_string().contains("raise `host.module_functions`"), "{error}");
}
