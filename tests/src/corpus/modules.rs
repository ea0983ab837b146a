//! Modules that are made, not kept: too large for a repository, or another handler with a fault.

use crate::guests::{core_guest, guest};

/// A text that says it is none.
pub(super) fn notes() -> Vec<u8> {
    let path = super::hostile().join("no-wasm/notes.txt");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn empty() -> Vec<u8> {
    Vec::new()
}

pub(super) fn text_form() -> Vec<u8> {
    b"(module)".to_vec()
}

/// A handler's first half.
pub(super) fn component_cut_short() -> Vec<u8> {
    let whole = std::fs::read(guest("echo")).expect("the handler was built");
    whole[..whole.len() / 2].to_vec()
}

/// A handler without the end of its last section.
pub(super) fn core_cut_short() -> Vec<u8> {
    let whole = std::fs::read(core_guest("echo")).expect("the handler was built");
    whole[..whole.len() - 100].to_vec()
}

/// A handler whose type exports the contract's interface under the name of another package. Each of the two packages then
/// needs the other, and whoever puts them in order never ends.
pub(super) fn circle() -> Vec<u8> {
    let mut module = std::fs::read(core_guest("echo")).expect("the handler was built");
    let export = b"\x04\x00\x1esandmill:handler/process@";
    let places: Vec<usize> = (0..module.len()).filter(|&at| module[at..].starts_with(export)).collect();
    assert!(!places.is_empty(), "a handler says which contract it speaks");
    for at in places {
        // sand0ill.
        module[at + 7] = b'0';
    }
    module
}

/// The least that is a core module.
pub(super) fn bare_core_module() -> Vec<u8> {
    b"\0asm\x01\0\0\0".to_vec()
}

/// 105 KB that keep a compiler busy for more than a minute.
pub(super) fn nested_loops() -> Vec<u8> {
    compiler_bomb(1_000, 2_000)
}

/// A component that looks like a handler, around one function: so many nested loops over so many locals. A thousand
/// over two thousand keep a compiler busy for minutes.
///
/// # Panics
/// With more loops than locals, of which each counts one up.
#[must_use]
pub fn compiler_bomb(loops: usize, locals: usize) -> Vec<u8> {
    let body: String = (0..loops)
        .map(|at| format!("(loop (local.set {at} (i32.add (local.get {at}) (i32.const 1)))"))
        .collect();
    let function =
        format!("(func (export \"f\") (local {}) {body} {})", "i32 ".repeat(locals), ")".repeat(loops));
    around(&function)
}

/// One function of 200,000 steps, of 13 bytes each. None can be left out: each changes memory.
pub(super) fn huge_function() -> Vec<u8> {
    let step = "(i32.store (local.get 0) (i32.add (i32.load (local.get 1)) (local.get 0)))".repeat(200_000);
    around(&format!("(memory 1) (func (export \"f\") (local i32 i32) {step})"))
}

/// Ten thousand functions of twenty steps.
pub(super) fn ten_thousand_functions() -> Vec<u8> {
    let step = "(local.set 0 (i32.mul (local.get 0) (i32.load (local.get 0))))".repeat(20);
    let functions = format!("(func (param i32) {step})").repeat(10_000);
    around(&format!("(memory 1) (func (export \"f\")) {functions}"))
}

/// More functions than a module may have.
pub(super) fn crowd() -> Vec<u8> {
    around(&format!("(func (export \"f\")) {}", "(func)".repeat(200_000)))
}

/// A component that looks like a handler, around a core module of these fields. One is a function that it exports as `f`.
fn around(fields: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m {fields})
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $p (export "f" (func $f)))
            (export "sandmill:handler/process@0.1.0" (instance $p)))"#
    );
    wat::parse_str(text).expect("the text is right")
}
