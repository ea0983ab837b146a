//! Modules: handlers that were checked, compiled and made ready to be instantiated.
//!
//! A module is loaded before anything else of a deploy happens, and every reason why a file cannot be a
//! handler is found here, in terms that its author can act on: what it is, what it exports, what it asks for.
//! Untrusted code is to be compiled in a child process (docs/SECURITY.md); loading the same bytes afterwards,
//! with the same cache folder, takes the compiled code from there.

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use wasi_preview1_component_adapter_provider as adapter;
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wit_component::ComponentEncoder;

use super::anatomy::{self, Anatomy, Kind, Unreadable};
use super::bindings::{Handle, HandleParams, HandleResult, Start, StartParams, StartResult};
use super::capability::{self, CONTRACT, Capability, Grants};
use super::digest::Digest;
use super::engine::{self, Engine};
use super::state::State;
use super::{host_functions, text, wasi};

/// Bytes of a reason that comes from a library and may hold names that the module chose.
const REASON: usize = 600;

/// Why a file cannot be a handler of this pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
        "the module imports `{import}`, which its pipeline does not allow: set `allow.{capability} = true`"
    )]
    NotGranted { import: String, capability: Capability },
    #[error("the module cannot be compiled: {0}")]
    Compile(String),
    #[error("the module's imports or exports are not those of the contract: {0}")]
    Link(String),
}

/// A file that was read and checked, not yet compiled. Needs no engine.
pub(crate) struct Checked<'a> {
    /// What was handed in.
    pub(crate) anatomy: Anatomy,
    /// The file itself, or what became of a core module.
    pub(crate) component: Cow<'a, [u8]>,
    /// Names of what the component imports.
    pub(crate) imports: Vec<String>,
    /// The version of the contract that it speaks.
    pub(crate) contract: String,
}

/// Reads `bytes` and checks what they are and what they export; `imports` are left to [`check_imports`].
pub(crate) fn check(bytes: &[u8]) -> Result<Checked<'_>, LoadError> {
    let anatomy = anatomy::read(bytes)?;
    let (component, imports) = match anatomy.kind {
        Kind::Component => (Cow::Borrowed(bytes), anatomy.imports.clone()),
        Kind::CoreModule => {
            // A module of another version would fail below for want of exports that nobody would understand.
            check_contract(&anatomy)?;
            let component = componentize(bytes, &anatomy)?;
            let imports = anatomy::read(&component)?.imports;
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
pub(crate) fn check_imports(imports: &[String], grants: Grants) -> Result<(), LoadError> {
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

/// A compiled handler; cheap to clone, and shared by all its instances.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

struct Loaded {
    engine: Engine,
    digest: Digest,
    kind: Kind,
    contract: String,
    linked: Linked,
}

/// A component whose imports are there and whose exports are of the right type.
pub(crate) struct Linked {
    pre: InstancePre<State>,
    start: ComponentExportIndex,
    handle: ComponentExportIndex,
}

impl Linked {
    /// Makes an instance in `store`. Its `start` was not called yet.
    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<(Start, Handle)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let start = instance.get_typed_func(&mut *store, self.start)?;
        let handle = instance.get_typed_func(&mut *store, self.handle)?;
        Ok((start, handle))
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("digest", &self.0.digest).finish_non_exhaustive()
    }
}

impl Module {
    /// Checks `bytes`, compiles them, or takes them from the cache, and links what `grants` allow.
    ///
    /// Compiling takes as long as the code wants it to and cannot be interrupted: see the module's text.
    ///
    /// # Errors
    /// Why the file cannot be a handler of a pipeline with these grants.
    pub fn load(engine: &Engine, bytes: &[u8], grants: Grants) -> Result<Self, LoadError> {
        let checked = check(bytes)?;
        check_imports(&checked.imports, grants)?;
        let component = compile(engine, &checked.component)?;
        let linked = link(engine, &component, grants)?;
        let Checked { anatomy, contract, .. } = checked;
        let loaded = Loaded {
            engine: engine.clone(),
            digest: Digest::of(bytes),
            kind: anatomy.kind,
            contract,
            linked,
        };
        Ok(Module(Arc::new(loaded)))
    }

    /// The module's name.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// What the file was.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The version of the contract that it speaks.
    pub fn contract(&self) -> &str {
        &self.0.contract
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.0.linked
    }
}

/// Compiles a component; validates it first, with the engine's features.
pub(crate) fn compile(engine: &Engine, component: &[u8]) -> Result<Component, LoadError> {
    Component::from_binary(engine.wasmtime(), component)
        .map_err(|error| LoadError::Compile(text::clean(&format!("{error:#}"), REASON)))
}

/// Links a component with what `grants` allow and checks its types against the contract.
pub(crate) fn link(engine: &Engine, component: &Component, grants: Grants) -> Result<Linked, LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Link(text::clean(&format!("{error:#}"), REASON));
    let mut linker = Linker::new(engine.wasmtime());
    wasi::link(&mut linker).map_err(failed)?;
    host_functions::link(&mut linker, grants).map_err(failed)?;
    let pre = linker.instantiate_pre(component).map_err(failed)?;
    let (start, handle) = exports(component, &pre)?;
    Ok(Linked { pre, start, handle })
}

/// Finds what a handler exports and checks the types. The sandbox itself does so when an instance is made: too
/// late for whoever deploys.
fn exports(
    component: &Component,
    pre: &InstancePre<State>,
) -> Result<(ComponentExportIndex, ComponentExportIndex), LoadError> {
    let link = |reason: String| LoadError::Link(text::clean(&reason, REASON));
    let (_, process) = component
        .get_export(None, format!("{}@{CONTRACT}", capability::PROCESS))
        .ok_or_else(|| link("`process` is no interface".to_owned()))?;
    let function = |name: &str| match component.get_export(Some(&process), name) {
        Some((ComponentItem::ComponentFunc(function), index)) => Ok((function, index)),
        _ => Err(link(format!("`process` has no function `{name}`"))),
    };
    let types = pre.instance_type();
    let (start, start_index) = function("start")?;
    start
        .typecheck::<StartParams<'_>, StartResult>(&types)
        .map_err(|error| link(format!("`start` has another type: {error:#}")))?;
    let (handle, handle_index) = function("handle")?;
    handle
        .typecheck::<HandleParams<'_>, HandleResult>(&types)
        .map_err(|error| link(format!("`handle` has another type: {error:#}")))?;
    Ok((start_index, handle_index))
}
