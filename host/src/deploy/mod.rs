//! From a file to a module that is ready to run.
//!
//! | file | does |
//! |---|---|
//! | `mod.rs` | takes compiled code from the cache, or has it made |
//! | `compiler.rs` | the child process that compiles, seen from the host |
//! | `child.rs` | the same, seen from within |
//! | `cache.rs` | the folder of compiled code |
//! | `process.rs` | a child process that does one thing within limits |
//! | `registry/` | modules out of OCI registries |
//! | `watch.rs` | PURE: when a handler's file has changed |
//! | `history.rs` | PURE: the versions of a pipeline, and what may follow on what |
//! | `journal.rs` | the history on the disk |
//! | `store.rs` | the folder of modules |
//! | `audit.rs` | who asked for what, and what became of it |
//! | `signature.rs` | PURE: whose signature a module needs |
//! | `story.rs` | what becomes of a deploy, step by step |
//! | `verdict.rs` | PURE: whether a new version is taken back |
//! | `private.rs` | folders that nobody else may write to |
//!
//! Untrusted code is read, validated and compiled in a child process with limits of the operating system: none of that
//! can be interrupted otherwise, and a file of 100 KB can keep a compiler busy for minutes and take gigabytes. The host
//! loads only what the child wrote, under a seal whose key the two share for this once; in the cache it lies under a seal
//! whose key no child knows.

pub mod audit;
mod cache;
mod child;
mod compiler;
pub mod history;
mod journal;
mod private;
mod process;
pub mod registry;
mod signature;
mod store;
pub mod story;
pub mod verdict;
mod watch;

use std::time::{Duration, Instant};

pub use cache::CacheError;
use cache::{Cache, Name};
pub use child::serve;
pub use compiler::{COMMAND, CompileError, CompileLimits, Compiler};
pub use journal::Journal;
pub use signature::{KeyError, Policy, Unsigned};
pub use store::{Store, Stored};
pub use watch::{Stamp, Watch};

use crate::wasm::{Compiled, Digest, Engine, Grants, Key, LoadError, Module, fingerprint};

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be compiled, or not within the limits.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It cannot be a handler of this pipeline.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Makes modules. One for a host.
#[derive(Debug)]
pub struct Modules {
    cache: Option<(Cache, Key)>,
    compiler: Compiler,
}

/// A module, and what it took.
#[derive(Debug)]
pub struct Made {
    /// Ready to be instantiated.
    pub module: Module,
    /// Its compiled form.
    pub compiled: Compiled,
    /// Time in the child process; `None`: it came out of the cache.
    pub compiled_in: Option<Duration>,
}

impl Modules {
    /// With a folder of compiled code, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be used, or others could write there.
    pub fn with_cache(folder: &std::path::Path, compiler: Compiler) -> Result<Self, CacheError> {
        Ok(Modules { cache: Some(Cache::open(folder)?), compiler })
    }

    /// That compiles each time.
    pub const fn without_cache(compiler: Compiler) -> Self {
        Modules { cache: None, compiler }
    }

    /// Makes the module of `bytes`, with what `grants` allow. Waits for the child process, at most as long as its
    /// limits say.
    ///
    /// # Errors
    /// Why the file cannot be a handler of a pipeline with these grants.
    pub fn make(&self, engine: &Engine, bytes: &[u8], grants: Grants) -> Result<Made, Refused> {
        let name = Name { digest: Digest::of(bytes), fingerprint: fingerprint(engine) };
        if let Some((compiled, module)) = self.cached(engine, &name, grants)? {
            return Ok(Made { module, compiled, compiled_in: None });
        }
        let (mut compiled, took) = self.compile(bytes)?;
        let compiled_in = Some(took);
        let module = Module::load(engine, &compiled, grants)?;
        if let Some((cache, key)) = &self.cache {
            // The child had a key of its own: what it could learn from hostile input opens nothing else.
            compiled.reseal(key);
            if let Err(error) = cache.put(&name, compiled.bytes()) {
                // Costs the next start some time, and nothing else.
                tracing::warn!(%error, "compiled code cannot be kept");
            }
        }
        Ok(Made { module, compiled, compiled_in })
    }

    /// Compiles `bytes`, whatever the cache has, and says how long that took.
    ///
    /// # Errors
    /// Why the file cannot be a handler of any pipeline.
    pub fn compile(&self, bytes: &[u8]) -> Result<(Compiled, Duration), CompileError> {
        let since = Instant::now();
        let compiled = self.compiler.compile(bytes)?;
        Ok((compiled, since.elapsed()))
    }

    fn cached(
        &self,
        engine: &Engine,
        name: &Name,
        grants: Grants,
    ) -> Result<Option<(Compiled, Module)>, LoadError> {
        let Some((cache, key)) = &self.cache else { return Ok(None) };
        let Some(bytes) = cache.get(name) else { return Ok(None) };
        let unusable = match Compiled::open(bytes, key) {
            Ok(compiled) if name.is_of(compiled.about()) => {
                match Module::load(engine, &compiled, grants) {
                    Ok(module) => return Ok(Some((compiled, module))),
                    // Sealed, but for another machine: the fingerprint does not tell everything.
                    Err(LoadError::Load(reason)) => reason,
                    Err(refused) => return Err(refused),
                }
            }
            Ok(compiled) => format!("it is that of {} for another host", compiled.about().digest),
            Err(error) => error.to_string(),
        };
        tracing::warn!(digest = %name.digest, reason = unusable, "cached code is not used; compiling again");
        Ok(None)
    }
}
