//! What a module is, and whether a host would refuse it.

use std::path::Path;
use std::sync::Arc;

use super::load::{Shared, check_needs, compiler, component_limits, file_limits, settings};
use super::source::read_module;
use super::{StartError, options};
use crate::config;
use crate::deploy::Modules;
use crate::wasm::{Engine, EngineConfig, Grants, MemoryBudget, Module, Report};

/// What a file is, and whether a host would refuse it: for `pipeline`, or for one with the limits that pipelines have
/// by default and everything granted.
///
/// # Errors
/// If the file cannot be read, or there is no sandbox to try it in.
pub fn inspect(
    path: &Path,
    host: &config::Host,
    pipeline: Option<&config::Pipeline>,
) -> Result<Report, StartError> {
    let default = config::Pipeline { name: "inspect".to_owned(), ..config::Pipeline::default() };
    let grants = pipeline.map_or(Grants::ALL, options::grants);
    let pipeline = pipeline.unwrap_or(&default);
    let memory = Arc::new(MemoryBudget::new(host.guest_memory.bytes() as usize));
    let shared = Shared::of(pipeline, "inspect", &memory, &mut None)?;
    let bytes = read_module(path, &file_limits(host)).map_err(|error| StartError::HandlerFile {
        pipeline: pipeline.name.clone(),
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let engine = Engine::new(&EngineConfig {
        pools: vec![(2, component_limits(pipeline))],
        stack: host.stack.bytes() as usize,
        perf_map: false,
    })?;
    let modules = Modules::without_cache(compiler(host));
    let mut report = Report::read(&bytes);
    match modules.compile(&bytes) {
        Ok((compiled, took)) => {
            report.compiled(compiled.about(), took);
            let loaded =
                check_needs(&compiled, pipeline).and_then(|()| Module::load(&engine, &compiled, grants));
            match loaded {
                Ok(module) => {
                    report.start(&module, &Arc::new(settings(pipeline, shared)));
                }
                Err(reason) => report.refused = Some(reason.to_string()),
            }
        }
        Err(reason) => report.refused = Some(reason.to_string()),
    }
    Ok(report)
}
