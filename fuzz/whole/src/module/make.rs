//! Modules to try: made from nothing, made to be handlers, and real ones that were changed.
//!
//! Of random bytes none is a module, and of random modules none is a handler. So some are given the handler's exports,
//! with an allocator and a `start` that work, so that random code is reached by a call; and real handlers are changed so
//! that they stay valid, function by function.

use std::panic::{self, AssertUnwindSafe};

use arbitrary::Unstructured;
use fastrand::Rng;
use wasm_encoder::{CodeSection, RawSection};
use wasm_smith::{Component, Config, Module};
use wasmparser::{ExternalKind, Parser, Payload};

use super::LARGEST;
use crate::guests;

/// Bytes that the generator reads its choices from.
const CHOICES: usize = 6_000;
/// Changes on top of each other.
const CHANGES: usize = 4;

/// A file. What the tools cannot make, for want of bytes or by a fault of theirs, is tried in another way.
pub fn draw(random: &mut Rng, kept: &[Vec<u8>]) -> Vec<u8> {
    loop {
        let made = panic::catch_unwind(AssertUnwindSafe(|| match random.u8(..16) {
            0 => core(random),
            1 => component(random),
            2..=5 => handler(random),
            6..=9 => mutated(random),
            10 | 11 => pick(random, guests::components()).map(|file| damaged(random, file, kept)),
            12 | 13 => pick(random, guests::core()).map(|file| damaged(random, file, kept)),
            _ => pick(random, kept).map(|file| damaged(random, file, kept)),
        }));
        if let Ok(Some(file)) = made
            && file.len() <= LARGEST
        {
            return file;
        }
    }
}

fn pick<'f>(random: &mut Rng, files: &'f [Vec<u8>]) -> Option<&'f Vec<u8>> {
    (!files.is_empty()).then(|| &files[random.usize(..files.len())])
}

/// A file with wrong bytes in it, or cut.
fn damaged(random: &mut Rng, file: &[u8], kept: &[Vec<u8>]) -> Vec<u8> {
    let mut file = file.to_vec();
    crate::change(random, &mut file, kept);
    file
}

/// A module of anything, mostly of what the host takes.
fn core(random: &mut Rng) -> Option<Vec<u8>> {
    let config = config(random);
    smith(random, config).map(|module| module.to_bytes())
}

fn smith(random: &mut Rng, config: Config) -> Option<Module> {
    let choices = choices(random);
    Module::new(config, &mut Unstructured::new(&choices)).ok()
}

fn component(random: &mut Rng) -> Option<Vec<u8>> {
    let choices = choices(random);
    Some(Component::new(config(random), &mut Unstructured::new(&choices)).ok()?.to_bytes())
}

fn choices(random: &mut Rng) -> Vec<u8> {
    let length = random.usize(100..CHOICES);
    (0..length).map(|_| random.u8(..)).collect()
}

/// What the host takes; now and then with something that it does not.
fn config(random: &mut Rng) -> Config {
    // With references come those to objects of the host, which need its garbage collector.
    let reference_types_enabled = random.u8(..8) == 0;
    let mut off = || random.u8(..100) == 0;
    Config {
        reference_types_enabled,
        compact_imports_enabled: off(),
        exceptions_enabled: off(),
        gc_enabled: off(),
        memory64_enabled: off(),
        relaxed_simd_enabled: off(),
        tail_call_enabled: off(),
        threads_enabled: off(),
        wide_arithmetic_enabled: off(),
        allow_invalid_funcs: off(),
        generate_custom_sections: off(),
        max_memories: 1 + usize::from(off()),
        max_funcs: 20,
        max_tables: 2,
        max_memory32_bytes: 3 << 20,
        max_table_elements: 10_000,
        max_nesting_depth: 3,
        max_modules: 3,
        max_components: 3,
        ..Config::default()
    }
}

/// A random module with the imports and exports of a handler. Mostly its allocator and its `start` work.
fn handler(random: &mut Rng) -> Option<Vec<u8>> {
    let (imports, exports) = guests::shape().clone();
    let config = Config {
        available_imports: random.bool().then_some(imports),
        exports: Some(exports),
        max_imports: 6,
        min_funcs: 5,
        // The one that is exported is enough.
        max_memories: 0,
        ..config(random)
    };
    let module = smith(random, config)?.to_bytes();
    let mut bodies: Vec<(&str, Vec<u8>)> = Vec::new();
    if random.u8(..8) != 0 {
        bodies.push(("cabi_realloc", ALLOCATE.to_vec()));
        bodies.push(("sandmill:handler/process@0.1.0#start", RETURN_1024.to_vec()));
    }
    if random.u8(..4) == 0 {
        bodies.push(("cabi_post_sandmill:handler/process@0.1.0#handle", NOTHING.to_vec()));
    }
    Some(guests::with_contract(with_bodies(&module, &bodies)?))
}

/// Whole pages, each time new ones: `(i32.shl (memory.grow (i32.shr_u (i32.add (local.get 3) (i32.const 65535))
/// (i32.const 16))) (i32.const 16))`.
const ALLOCATE: &[u8] =
    &[0, 0x20, 3, 0x41, 0xff, 0xff, 3, 0x6a, 0x41, 16, 0x76, 0x40, 0, 0x41, 16, 0x74, 0x0b];
/// `(i32.const 1024)`.
const RETURN_1024: &[u8] = &[0, 0x41, 0x80, 8, 0x0b];
/// An empty function.
const NOTHING: &[u8] = &[0, 0x0b];

/// The module with other bodies in functions of these names.
fn with_bodies(module: &[u8], bodies: &[(&str, Vec<u8>)]) -> Option<Vec<u8>> {
    let (mut imported, mut exported, mut next) = (0_u32, Vec::new(), 0_u32);
    let mut written = wasm_encoder::Module::new();
    let mut code = CodeSection::new();
    let (mut left, mut begun) = (0, false);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.ok()?;
        match &payload {
            Payload::ImportSection(section) => {
                let functions = section.clone().into_imports().filter_map(Result::ok);
                imported += functions
                    .filter(|import| matches!(import.ty, wasmparser::TypeRef::Func(_)))
                    .count() as u32;
            }
            Payload::ExportSection(section) => {
                for export in section.clone().into_iter().filter_map(Result::ok) {
                    if export.kind == ExternalKind::Func {
                        exported.push((export.index, export.name));
                    }
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                (left, begun) = (*count, true);
                continue;
            }
            Payload::CodeSectionEntry(body) => {
                let index = imported + next;
                let name = exported.iter().find(|(exported, _)| *exported == index).map(|(_, name)| *name);
                match bodies.iter().find(|(wanted, _)| name == Some(wanted)) {
                    Some((_, other)) => code.raw(other),
                    None => code.raw(body.as_bytes()),
                };
                next += 1;
                left -= 1;
                if left == 0 {
                    written.section(&code);
                }
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            written.section(&RawSection { id, data: &module[range] });
        }
    }
    begun.then(|| written.finish())
}

/// A real handler, changed in a way that mostly leaves it valid.
fn mutated(random: &mut Rng) -> Option<Vec<u8>> {
    /// Work of the search for rewritings.
    const FUEL: u64 = 300;
    let mut module = pick(random, guests::core())?.clone();
    for _ in 0..=random.usize(..CHANGES) {
        let before = module.clone();
        let mut mutate = wasm_mutate::WasmMutate::default();
        mutate.seed(random.u64(..)).fuel(FUEL).preserve_semantics(false);
        // Names have to stay, or nothing is called: what takes them away is refused before it is compiled.
        let Ok(mut found) = mutate.run(&before) else { continue };
        if let Some(Ok(next)) = found.next() {
            module = next;
        }
    }
    Some(module)
}
