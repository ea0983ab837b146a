//! Handlers compiled to Wasm, by name.

use crate::required_path;
use std::path::PathBuf;

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
