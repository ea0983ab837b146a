//! Handlers compiled to Wasm, by name.

use std::path::{Path, PathBuf};

use crate::required_path;

/// The component that `examples-wasm` builds under this name, for wasm32-wasip2.
///
/// # Panics
/// When the guests were not built.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    built("wasm32-wasip2", name)
}

/// The same handler as a core module, for wasm32-wasip1: the host makes a component of it.
///
/// # Panics
/// When the guests were not built.
#[must_use]
pub fn core_guest(name: &str) -> PathBuf {
    built("wasm32-wasip1", name)
}

fn built(target: &str, name: &str) -> PathBuf {
    let path =
        required_path("SANDMILL_GUESTS").join(target).join("release").join(name).with_extension("wasm");
    assert!(path.exists(), "no handler {}; run cargo xtask test, which builds it", path.display());
    path
}

/// The module that `examples-wasm/hostile` has in text form in this folder: a component as it is, a core module with the
/// section that says which contract its functions belong to.
///
/// # Panics
/// When there is no such text, or it is wrong.
#[must_use]
pub fn text_guest(folder: &str) -> Vec<u8> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = folder.replace('-', "_");
    let text = examples.join("examples-wasm/hostile").join(folder).join(name).with_extension("wat");
    let mut module = wat::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", text.display()));
    let is_core = module[4..8] == [1, 0, 0, 0];
    if is_core {
        let contract =
            std::fs::read(examples.join("guest-sdk/src/contract.bin")).expect("the SDK has the contract");
        append_section(&mut module, "component-type:handler", &contract);
    }
    module
}

/// Appends a custom section to a core module.
fn append_section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    fn number(bytes: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    let mut section = Vec::new();
    number(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    module.push(0);
    number(module, section.len());
    module.extend_from_slice(&section);
}
