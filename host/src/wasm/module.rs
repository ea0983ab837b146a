//! Modules: handlers that were checked, compiled and made ready to be instantiated.
//!
//! Loading is the second half of what a deploy begins with; `compile` is the first. It takes compiled code, holds its
//! imports against what the pipeline grants, and its types against the contract.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::anatomy::Kind;
use super::bindings::{Handle, HandleParams, HandleResult, Start, StartParams, StartResult};
use super::capability::{self, CONTRACT, Grants};
use super::compile::{About, Compiled, LoadError, REASON, check_imports};
use super::digest::Digest;
use super::engine::Engine;
use super::needs::Needs;
use super::state::State;
use super::{host_functions, text, wasi};

/// A compiled handler; cheap to clone, and shared by all its instances.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

struct Loaded {
    engine: Engine,
    about: About,
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
        f.debug_struct("Module").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl Module {
    /// Loads what was compiled, and links what `grants` allow.
    ///
    /// # Errors
    /// If it cannot be a handler of a pipeline with these grants, or was compiled for another host.
    pub fn load(engine: &Engine, compiled: &Compiled, grants: Grants) -> Result<Self, LoadError> {
        let about = compiled.about().clone();
        check_imports(&about.imports, grants)?;
        // What one pipeline allows less than another is asked by whoever knows the pipeline.
        about.needs.check(engine.limits(), u64::MAX)?;
        let component = compiled
            .sealed()
            .load(engine.wasmtime())
            .map_err(|error| LoadError::Load(text::clean(&format!("{error:#}"), REASON)))?;
        let linked = link(engine, &component, grants)?;
        Ok(Module(Arc::new(Loaded { engine: engine.clone(), about, linked })))
    }

    /// The module's name.
    pub fn digest(&self) -> Digest {
        self.0.about.digest
    }

    /// What the file was.
    pub fn kind(&self) -> Kind {
        self.0.about.kind
    }

    /// What it asks for before it runs.
    pub fn needs(&self) -> &Needs {
        &self.0.about.needs
    }

    /// The version of the contract that it speaks.
    pub fn contract(&self) -> &str {
        &self.0.about.contract
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.0.linked
    }
}

/// Links a component with what `grants` allow and checks its types against the contract.
pub(crate) fn link(engine: &Engine, component: &Component, grants: Grants) -> Result<Linked, LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Link(text::clean(&format!("{error:#}"), REASON));
    let mut linker = Linker::new(engine.wasmtime());
    wasi::link(&mut linker, grants).map_err(failed)?;
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
