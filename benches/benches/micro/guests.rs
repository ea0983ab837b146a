//! Handlers compiled to Wasm.

use std::path::PathBuf;
use std::{env, fs};

use sandmill::wasm::{Compiled, Engine, EngineConfig, FileLimits, Grants, Key, Module, compile};

/// An engine for the handlers, with room for `instances` instances.
pub fn engine(instances: u32) -> Engine {
    Engine::new(&EngineConfig::new(instances)).expect("the machine holds the instances")
}

/// The module of one of this host's handlers, compiled in this process.
pub fn module(engine: &Engine, bytes: &[u8]) -> Module {
    let key = Key::from_bytes([7; 32]);
    let compiled = compile(bytes, &key, &FileLimits::default()).expect("the handler is one of this host's");
    let compiled = Compiled::open(compiled, &key).expect("it was just sealed");
    Module::load(engine, &compiled, Grants::ALL).expect("the handler is one of this host's")
}

/// The component of this name; `None`, with a word on what to do, if it was not built.
pub fn read(name: &str) -> Option<Vec<u8>> {
    let path = folder().join("wasm32-wasip2/release").join(name).with_extension("wasm");
    match fs::read(&path) {
        Ok(module) => Some(module),
        Err(error) => {
            eprintln!(
                "left out: the handler {} cannot be read ({error}); `cargo xtask guests` builds it, and \
                 SANDMILL_GUESTS names the folder if it lies elsewhere",
                path.display()
            );
            None
        }
    }
}

/// Where `cargo xtask guests` puts them: beside the profile that this program was built in.
fn folder() -> PathBuf {
    if let Some(named) = env::var_os("SANDMILL_GUESTS") {
        return named.into();
    }
    target().join("guests")
}

fn target() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    // TARGET/PROFILE/deps/micro-HASH
    program.ancestors().nth(3).map(PathBuf::from).unwrap_or_default()
}
