//! From a file to compiled code: what happens in the child process.
//!
//! Whoever sent the file decides how long validating, componentizing and compiling take, and how much memory; none of
//! them can be interrupted. So [`compile`] runs where the operating system bounds both (see `deploy`), and the host
//! loads only what came out of it, under a seal: [`Compiled`].
//!
//! Every reason why a file cannot be a handler is found here or when it is linked (`module`), in terms that its author
//! can act on: what it is, what it exports, what it asks for.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{self, AssertUnwindSafe};

use sandmill_compiled::{Key, NotSealed, Sealed};
use serde::{Deserialize, Serialize};
use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

use super::anatomy::{self, Anatomy, FileLimits, Kind, Unreadable};
use super::capability::{self, CONTRACT, Capability, Grants};
use super::digest::Digest;
use super::needs::{self, Needs, TooMuch};
use super::{engine, text};

/// Bytes of a reason that comes from a library and may hold names that the module chose.
pub(super) const REASON: usize = 600;

/// Why a file cannot be a handler of this pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error("the module cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("the module is not valid: {0}")]
    Invalid(String),
    #[error(
        "the module is a core module without a `component-type` section: build it with the handler SDK (or \
         wit-bindgen), or as a component for wasm32-wasip2"
    )]
    NoComponentType,
    #[error("the core module cannot be turned into a component: {0}")]
    Componentize(String),
    #[error("the module exports no `{}`: it is no handler (it exports {exports})", capability::PROCESS)]
    NoHandler { exports: String },
    #[error("the module speaks contract {found}, this host speaks {CONTRACT}")]
    Version { found: String },
    #[error("the module imports `{import}`, which this host does not have")]
    UnknownImport { import: String },
    #[error(
        "the module imports `{import}`, which its pipeline does not allow: add {}", capability.how_to_grant()
    )]
    NotGranted { import: String, capability: Capability },
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    #[error("the module cannot be compiled: {0}")]
    Compile(String),
    #[error("this host cannot run the module: {0}")]
    Load(String),
    #[error("the module's imports or exports are not those of the contract: {0}")]
    Link(String),
}

/// What is known of a module once it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub digest: Digest,
    /// What the file was.
    pub kind: Kind,
    /// The version of the contract that it speaks.
    pub contract: String,
    /// Names of what the component imports.
    pub imports: Vec<String>,
    /// Bytes of the component that it is, or became.
    pub component_size: usize,
    /// What the component asks for.
    pub needs: Needs,
    /// For which hosts it was compiled: see [`fingerprint`].
    pub fingerprint: u64,
}

/// A compiled module, and what is known of it.
#[derive(Debug)]
pub struct Compiled {
    about: About,
    sealed: Sealed,
}

impl Compiled {
    /// Takes what [`compile`] made.
    ///
    /// # Errors
    /// Without a valid seal.
    pub fn open(bytes: Vec<u8>, key: &Key) -> Result<Self, NotSealed> {
        let sealed = Sealed::open(bytes, key)?;
        let about = serde_json::from_slice(sealed.note()).map_err(|_| NotSealed)?;
        Ok(Compiled { about, sealed })
    }

    /// What is known of it.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// As [`compile`] made it.
    pub fn bytes(&self) -> &[u8] {
        self.sealed.bytes()
    }

    /// Puts it under another seal.
    pub fn reseal(&mut self, key: &Key) {
        self.sealed.reseal(key);
    }

    pub(super) fn sealed(&self) -> &Sealed {
        &self.sealed
    }
}

/// Checks a file and compiles it. Takes what time and memory it wants.
///
/// # Errors
/// Why the file cannot be a handler of any pipeline.
pub fn compile(bytes: &[u8], key: &Key, limits: &FileLimits) -> Result<Vec<u8>, LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Compile(text::clean(&format!("{error:#}"), REASON));
    let Checked { anatomy, component, imports, contract } = check(bytes, limits)?;
    let engine = wasmtime::Engine::new(&engine::code_settings()).map_err(failed)?;
    // Who grants what is asked when it is loaded.
    check_imports(&imports, Grants::ALL)?;
    let about = About {
        digest: Digest::of(bytes),
        kind: anatomy.kind,
        contract,
        imports,
        component_size: component.len(),
        needs: needs::of_component(&component)?,
        fingerprint: of_settings(&engine),
    };
    let note = serde_json::to_vec(&about).expect("names and numbers are JSON");
    sandmill_compiled::compile(&engine, &component, &note, key).map_err(failed)
}

/// Tells compiled code apart that another host, machine or version made of the same file.
pub fn fingerprint(engine: &super::Engine) -> u64 {
    of_settings(engine.wasmtime())
}

fn of_settings(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    (env!("CARGO_PKG_VERSION"), CONTRACT).hash(&mut hasher);
    hasher.finish()
}

/// For what was made here, of a file that was within its limits.
const ANY: FileLimits = FileLimits { size: usize::MAX, functions: usize::MAX };

/// A file that was read and checked, not yet compiled.
struct Checked<'a> {
    /// What was handed in.
    anatomy: Anatomy,
    /// The file itself, or what became of a core module.
    component: Cow<'a, [u8]>,
    /// Names of what the component imports.
    imports: Vec<String>,
    /// The version of the contract that it speaks.
    contract: String,
}

/// Reads `bytes` and checks what they are and what they export.
fn check<'a>(bytes: &'a [u8], limits: &FileLimits) -> Result<Checked<'a>, LoadError> {
    let anatomy = anatomy::read(bytes, limits)?;
    let (component, imports) = match anatomy.kind {
        Kind::Component => (Cow::Borrowed(bytes), anatomy.imports.clone()),
        Kind::CoreModule => {
            // A module of another version would fail below for want of exports that nobody would understand.
            check_contract(&anatomy)?;
            let component = componentize(bytes, &anatomy)?;
            // Larger than what was handed in, by the adapter.
            let imports = anatomy::read(&component, &ANY)?.imports;
            (Cow::Owned(component), imports)
        }
    };
    let contract = check_contract(&anatomy)?;
    Ok(Checked { anatomy, component, imports, contract })
}

/// The version of the contract that a module speaks, if this host speaks it too.
fn check_contract(anatomy: &Anatomy) -> Result<String, LoadError> {
    match anatomy.contract() {
        Some(version) if capability::speaks(version) => Ok(version.to_owned()),
        Some(version) => Err(LoadError::Version { found: text::clean(version, 40) }),
        None if anatomy.kind == Kind::CoreModule && !anatomy.has_component_type => {
            Err(LoadError::NoComponentType)
        }
        None => Err(LoadError::NoHandler { exports: list(&anatomy.exports) }),
    }
}

/// Checks that all `imports` exist and are granted.
pub(super) fn check_imports(imports: &[String], grants: Grants) -> Result<(), LoadError> {
    for import in imports {
        let named = || text::clean(import, 200);
        match capability::of_import(import) {
            None => return Err(LoadError::UnknownImport { import: named() }),
            Some(capability) if !grants.has(capability) => {
                return Err(LoadError::NotGranted { import: named(), capability });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Turns a core module for wasm32-wasip1 into a component.
fn componentize(bytes: &[u8], anatomy: &Anatomy) -> Result<Vec<u8>, LoadError> {
    if !anatomy.has_component_type {
        return Err(LoadError::NoComponentType);
    }
    wasmparser::Validator::new_with_features(engine::features())
        .validate_all(bytes)
        .map_err(|error| LoadError::Invalid(text::clean(&error.to_string(), REASON)))?;
    // The encoder is made for tools that trust their input: where it meets a `component-type` section that
    // makes no sense, a panic of its own is as likely as an error.
    let encoded = panic::catch_unwind(AssertUnwindSafe(|| {
        ComponentEncoder::default()
            .module(bytes)?
            .adapter(
                adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )?
            .encode()
    }));
    match encoded {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(LoadError::Componentize(text::clean(&format!("{error:#}"), REASON))),
        Err(_) => Err(LoadError::Componentize("its `component-type` section makes no sense".to_owned())),
    }
}

/// A few names, for a message.
fn list(names: &[String]) -> String {
    /// As many as a message can bear.
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{}`", text::clean(name, 80))).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        count if count > SHOWN => format!("{} and {} more", shown.join(", "), count - SHOWN),
        _ => shown.join(", "),
    }
}
