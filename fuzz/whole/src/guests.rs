//! Handlers to begin with: from text, which are always there, and the compiled examples where `SANDMILL_GUESTS` names
//! their folder.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, fs};

/// The component type of the contract, as the SDK embeds it in core modules.
const CONTRACT: &[u8] = include_bytes!("../../../guest-sdk/src/contract.bin");

/// What the imports of a guest look like; some of all that there are.
const IMPORTS: &str = r#"
    (import "sandmill:handler/config@0.1.0" "get" (func $get (param i32 i32 i32)))
    (import "sandmill:handler/log@0.1.0" "write" (func $write (param i32 i32 i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $say (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;

/// Bodies of `handle`, and whether it has [`IMPORTS`]. Zeros at 1024 are an empty answer.
const HANDLES: [(bool, &str); 9] = [
    (false, "(i32.const 1024)"),
    (false, "(loop $again (br $again)) unreachable"),
    (
        false,
        "(drop (memory.grow (i32.const 7))) (memory.fill (i32.const 70000) (i32.const 7) (i32.const 9)) (i32.const 1024)",
    ),
    (false, "(i32.load offset=44 (local.get $batch))"),
    (
        false,
        "(i32.store (i32.const 2048) (i32.const 3072)) (i32.store (i32.const 2052) (i32.const 1)) (i32.const 2048)",
    ),
    (true, "(call $get (i32.const 4096) (i32.const 1) (i32.const 5000)) (i32.const 1024)"),
    (
        true,
        "(call $write (i32.const 2) (i32.const 4096) (i32.const 9)) (drop (call $random (i32.const 4096) (i32.const 64))) (i32.const 1024)",
    ),
    (
        true,
        "(drop (call $clock (i32.const 1) (i64.const 0) (i32.const 4096))) (drop (call $say (i32.const 2) (i32.const 4096) (i32.const 1) (i32.const 5000))) (call $exit (i32.const 1)) (i32.const 1024)",
    ),
    (false, "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"),
];

/// Handlers of the examples that misbehave, in the text format.
const HOSTILE: [&str; 4] = [
    include_str!("../../../examples-wasm/hostile/callback/callback.wat"),
    include_str!("../../../examples-wasm/hostile/start-section/start_section.wat"),
    include_str!("../../../examples-wasm/hostile/tables/tables.wat"),
    include_str!("../../../examples-wasm/hostile/unknown-import/unknown_import.wat"),
];

/// Those from text as they are.
pub fn texts() -> &'static [Vec<u8>] {
    &core()[..HANDLES.len() + HOSTILE.len()]
}

/// Core modules of handlers, with the type of the contract in them.
pub fn core() -> &'static [Vec<u8>] {
    static CORE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORE.get_or_init(|| {
        let of_text = HANDLES.iter().map(|&(imports, handle)| from_text(imports, 2, handle, ""));
        let hostile = HOSTILE.iter().map(|text| with_contract(parse(text)));
        of_text.chain(hostile).chain(compiled("wasm32-wasip1")).collect()
    })
}

/// The same as components.
pub fn components() -> &'static [Vec<u8>] {
    static COMPONENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    COMPONENTS.get_or_init(|| {
        let encode = |core: &Vec<u8>| {
            wit_component::ComponentEncoder::default()
                .module(core)
                .and_then(wit_component::ComponentEncoder::encode)
                .ok()
        };
        // Those that need the adapter for WASI are there as the tools made them.
        core().iter().take(HANDLES.len()).filter_map(encode).chain(compiled("wasm32-wasip2")).collect()
    })
}

/// A module with the imports that a guest may have, and one with the exports that it has to have.
pub fn shape() -> &'static (Vec<u8>, Vec<u8>) {
    static SHAPE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    SHAPE.get_or_init(|| {
        (parse(&format!("(module {IMPORTS})")), parse(&text(false, 2, "(i32.const 1024)", "")))
    })
}

/// A core module whose `handle` does this.
pub fn from_text(imports: bool, pages: u32, handle: &str, extra: &str) -> Vec<u8> {
    with_contract(parse(&text(imports, pages, handle, extra)))
}

/// Arguments are allocated from 64 KiB on, anew in each call.
fn text(imports: bool, pages: u32, handle: &str, extra: &str) -> String {
    let imports = if imports { IMPORTS } else { "" };
    format!(
        r#"(module
            {imports}
            (memory (export "memory") {pages})
            (global $next (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $place i32)
                (local.set $place (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $place) (local.get 3)))
                (local.get $place))
            (func (export "sandmill:handler/process@0.1.0#start") (param i32 i32) (result i32) (i32.const 1024))
            (func (export "sandmill:handler/process@0.1.0#handle") (param $batch i32) (result i32) {handle})
            (func (export "cabi_post_sandmill:handler/process@0.1.0#handle") (param i32)
                (global.set $next (i32.const 65536)))
            {extra})"#
    )
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Appends the section that says what the functions mean.
pub fn with_contract(mut module: Vec<u8>) -> Vec<u8> {
    use wasm_encoder::{CustomSection, Section as _};
    CustomSection { name: "component-type:fuzz".into(), data: CONTRACT.into() }.append_to(&mut module);
    module
}

/// The compiled examples of a target, in the order of their names.
fn compiled(target: &str) -> Vec<Vec<u8>> {
    /// What is larger takes too long to compile to be worth it.
    const LARGEST: usize = 400 << 10;
    let Some(folder) = env::var_os("SANDMILL_GUESTS").map(PathBuf::from) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(folder.join(target).join("release")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "wasm"));
    paths.sort();
    let files = paths.iter().filter_map(|path| fs::read(path).ok());
    files.filter(|bytes| bytes.len() <= LARGEST).collect()
}
