//! What an instance leaves in its slot of the pool, the next one does not find.

use super::*;
use crate::wasm::EngineConfig;

/// Pages that the guest has from the start, and grows to: the first two stay resident when an instance ends.
const PAGES: u32 = 3;
const GROWN: u32 = 6;

/// Checks in `start` that memory, tables and globals are as the module says, and spoils all of them in `handle`.
fn spoiler() -> Guest {
    Guest::new(&format!(
        "(local $at i32)
         (global.set $mark (i32.const 7))
         (table.set $refs (i32.const 3) (ref.func $probe))
         (drop (memory.grow (i32.const {})))
         (local.set $at (i32.const 3072))
         (loop $fill
            (i64.store (local.get $at) (i64.const -1))
            (br_if $fill
                (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {}))))
         (i32.const 1024)",
        GROWN - PAGES,
        GROWN * 65536,
    ))
    .start(&format!(
        "(local $at i32)
         (if (global.get $mark) (then unreachable))
         (if (i32.eqz (ref.is_null (table.get $refs (i32.const 3)))) (then unreachable))
         (if (i32.ne (memory.size) (i32.const {PAGES})) (then unreachable))
         (if (i64.ne (i64.load (i32.const 4096)) (i64.const 0x6f726967696e616c)) (then unreachable))
         (i64.store (i32.const 4096) (i64.const 0))
         (drop (memory.grow (i32.const {})))
         (local.set $at (i32.const 3072))
         (loop $look
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
            (br_if $look
                (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {}))))
         (i32.const 1024)",
        GROWN - PAGES,
        GROWN * 65536,
    ))
    .with(
        "(global $mark (mut i32) (i32.const 0))
         (table $refs 8 funcref)
         (elem declare func $probe)
         (func $probe)
         (data (i32.const 4096) \"lanigiro\")",
    )
    .pages(PAGES)
}

#[test]
fn an_instance_finds_nothing_of_the_one_before_it() {
    // Another module has other data at the same places, and a smaller one no data at all.
    let others = [spoiler().with("(data (i32.const 150000) \"\\00\")"), Guest::new("(i32.const 1024)")];
    // A pool of one: every instance gets the slot of the one before it.
    let engine = Engine::new(&EngineConfig::new(1)).expect("the engine is made");
    let load =
        |guest: &Guest| make(&engine, &guest.core_module(), Grants::ALL).expect("the guest is a handler");
    let modules = [load(&spoiler()), load(&others[0]), load(&others[1])];
    // Without config, `start` has no arguments that would lie in memory.
    let settings =
        Arc::new(InstanceSettings { config: Vec::new(), ..InstanceSettings::clone(&settings(LIMITS)) });
    let cancel = Arc::new(Cancel::new());
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    for module in modules.iter().cycle().take(12).chain([&modules[0]; 3]) {
        let call = on_worker(call_once(module, &settings, &batch(&["a"]), budget));
        call.result.expect("it finds everything as its module says");
    }
}
