//! From a file to a handler that is known to start.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{StartError, options, workers};
use crate::cancel::Cancel;
use crate::config;
use crate::deploy::{CompileLimits, Compiler, Made, Modules, Stamp};
use crate::ids::Fuel;
use crate::outcome::{Failure, Outcome};
use crate::outgoing::{Network, Outgoing};
use crate::secrets::Secrets;
use crate::wasm::{
    Capabilities, Compiled, ComponentLimits, Engine, EngineConfig, FileLimits, Grants, Instance,
    InstanceLimits, InstanceSettings, LoadError, LogLimits, LogSink, MemoryBudget, Module, OutputLimits,
    Report,
};
use crate::worker::{Code, NativeHandler};

/// Where a handler's module comes from.
#[derive(Clone, Debug)]
pub enum HandlerSource {
    /// A file.
    File(PathBuf),
    /// Bytes inside this program.
    Embedded {
        /// What to call it.
        name: &'static str,
        /// The module.
        bytes: &'static [u8],
    },
    /// Rust inside this program; only `bench` does that.
    Native {
        /// What to call it.
        name: &'static str,
        /// What is called.
        handler: Arc<dyn NativeHandler>,
    },
}

impl HandlerSource {
    /// The handler's name: the file's, without its ending.
    pub fn name(&self) -> String {
        match self {
            HandlerSource::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            HandlerSource::Embedded { name, .. } | HandlerSource::Native { name, .. } => (*name).to_owned(),
        }
    }

    fn place(&self) -> String {
        match self {
            HandlerSource::File(path) => path.display().to_string(),
            HandlerSource::Embedded { name, .. } | HandlerSource::Native { name, .. } => {
                format!("{name} (built in)")
            }
        }
    }
}

/// A handler that is known to start.
#[derive(Debug)]
pub struct LoadedHandler {
    /// Its name.
    pub name: String,
    /// What is called.
    pub code: Code,
    /// What its instances may take, and what they find around them.
    pub settings: Arc<InstanceSettings>,
    /// How long the module took to compile; `None`: it was compiled before, or is none.
    pub compiled_in: Option<Duration>,
    /// What its file was like before it was read, if it is from one.
    pub file: Option<Stamp>,
}

/// What a file is like at the moment; none if it is not there, or no file.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some(Stamp {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        changed: (
            nanos(metadata.mtime(), metadata.mtime_nsec()),
            nanos(metadata.ctime(), metadata.ctime_nsec()),
        ),
    })
}

/// Loads the handlers of one host. Makes the engine with the first module, with room for the instances of all
/// pipelines.
#[derive(Debug)]
pub struct Loader {
    config: config::Config,
    sandbox: Option<(Engine, Modules)>,
    /// Memory of all instances together.
    memory: Arc<MemoryBudget>,
    /// Where requests of handlers run; made with the first pipeline that allows any.
    network: Option<Arc<Network>>,
    /// What all generations of a pipeline have in common, by its name.
    shared: HashMap<String, Shared>,
}

/// What the instances of a pipeline share, whatever module they are of.
#[derive(Clone, Debug)]
struct Shared {
    memory: Arc<[Arc<MemoryBudget>]>,
    log: Arc<LogSink>,
    log_limits: LogLimits,
    capabilities: Capabilities,
}

impl Shared {
    fn of(
        pipeline: &config::Pipeline,
        handler: &str,
        host: &Arc<MemoryBudget>,
        network: &mut Option<Arc<Network>>,
    ) -> Result<Self, StartError> {
        let own = MemoryBudget::of_pipeline(pipeline.limits.total_memory.bytes() as usize);
        let capabilities = capabilities(pipeline, network)?;
        let limits = &pipeline.limits;
        // Standard output and error lead to the log as well: who may not write there writes there to nobody. What is
        // dropped is counted, and the end of standard error still explains a trap.
        let limits = LogLimits {
            record_bytes: limits.log_bytes_per_record.bytes() as usize,
            second_bytes: limits.log_bytes_per_second.bytes() as usize,
        };
        let limits = if pipeline.allow.log { limits } else { LogLimits { record_bytes: 0, second_bytes: 0 } };
        let log =
            LogSink::new(pipeline.name.as_str().into(), handler.into(), limits, capabilities.uses.clone());
        let memory = Arc::from([Arc::new(own), host.clone()]);
        Ok(Shared { memory, log: Arc::new(log), log_limits: limits, capabilities })
    }
}

impl Loader {
    /// For the pipelines of this configuration.
    pub fn new(config: &config::Config) -> Self {
        let memory = Arc::new(MemoryBudget::new(config.host.guest_memory.bytes() as usize));
        Loader { config: config.clone(), sandbox: None, memory, network: None, shared: HashMap::new() }
    }

    /// Loads the handler of one pipeline and starts an instance of it for trial.
    ///
    /// # Errors
    /// If the machine cannot hold the instances, or the cache cannot be used; if the handler cannot be read, is
    /// refused, or does not start.
    pub fn load(
        &mut self,
        source: &HandlerSource,
        pipeline: &config::Pipeline,
    ) -> Result<LoadedHandler, StartError> {
        let name = pipeline.name.clone();
        let read;
        let mut file = None;
        let bytes = match source {
            HandlerSource::File(path) => {
                file = stamp(path);
                read = read_module(path, &self.config.host).map_err(|error| StartError::HandlerFile {
                    pipeline: name.clone(),
                    path: source.place(),
                    reason: error.to_string(),
                })?;
                &read[..]
            }
            HandlerSource::Embedded { bytes, .. } => bytes,
            HandlerSource::Native { name, handler } => {
                let settings = Arc::new(settings(pipeline, self.shared(pipeline, name)?));
                let code = Code::Native(handler.clone());
                return Ok(LoadedHandler {
                    name: (*name).to_owned(),
                    code,
                    settings,
                    compiled_in: None,
                    file,
                });
            }
        };
        let grants = options::grants(pipeline);
        let shared = self.shared(pipeline, &source.name())?;
        let (engine, modules) = self.sandbox()?;
        let made = modules.make(engine, bytes, grants).map_err(|reason| StartError::Module {
            pipeline: name.clone(),
            path: source.place(),
            reason,
        })?;
        check_needs(&made.compiled, pipeline).map_err(|reason| StartError::Module {
            pipeline: name.clone(),
            path: source.place(),
            reason: reason.into(),
        })?;
        let settings = Arc::new(settings(pipeline, shared));
        // One on trial has memory of its own: whether others hold all there is says nothing of it.
        let trial =
            Arc::new(InstanceSettings { memory: Arc::from([]), ..InstanceSettings::clone(&settings) });
        try_start(&made.module, &trial).map_err(|reason| StartError::Trial {
            pipeline: name,
            path: source.place(),
            reason,
        })?;
        let Made { module, compiled_in, .. } = made;
        Ok(LoadedHandler { name: source.name(), code: Code::Module(module), settings, compiled_in, file })
    }

    fn shared(&mut self, pipeline: &config::Pipeline, handler: &str) -> Result<Shared, StartError> {
        if let Some(shared) = self.shared.get(&pipeline.name) {
            return Ok(shared.clone());
        }
        let shared = Shared::of(pipeline, handler, &self.memory, &mut self.network)?;
        self.shared.insert(pipeline.name.clone(), shared.clone());
        Ok(shared)
    }

    /// Memory of all instances together.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    fn sandbox(&mut self) -> Result<&(Engine, Modules), StartError> {
        let sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => {
                let cache = self.config.host.data_dir.join("compiled");
                (engine_for(&self.config)?, Modules::with_cache(&cache, compiler(&self.config.host))?)
            }
        };
        Ok(self.sandbox.insert(sandbox))
    }
}

/// An engine with room for the instances of all pipelines.
fn engine_for(config: &config::Config) -> Result<Engine, StartError> {
    let workers = workers(&config.host);
    let pool = |pipeline: &config::Pipeline| {
        // One on trial; and idle ones of the generation before, until each worker has given up its own.
        let of_deploy = 1 + if pipeline.watch { options::warm(pipeline, workers) * workers } else { 0 };
        let instances = options::instances(pipeline, workers) + of_deploy;
        (u32::try_from(instances).unwrap_or(u32::MAX), component_limits(pipeline))
    };
    Ok(Engine::new(&EngineConfig {
        pools: config.pipelines.iter().map(pool).collect(),
        stack: config.host.stack.bytes() as usize,
        perf_map: config.host.perf_map,
    })?)
}

/// A module's file, unless it is larger than a module may be.
fn read_module(path: &Path, host: &config::Host) -> std::io::Result<Vec<u8>> {
    let (mut bytes, limits) = (Vec::new(), file_limits(host));
    let file = File::open(path)?;
    limits.check_size(file.metadata()?.len()).map_err(std::io::Error::other)?;
    // It may grow while it is read.
    file.take(limits.size as u64 + 1).read_to_end(&mut bytes)?;
    limits.check_size(bytes.len() as u64).map_err(std::io::Error::other)?;
    Ok(bytes)
}

fn check_needs(compiled: &Compiled, pipeline: &config::Pipeline) -> Result<(), LoadError> {
    let memory = pipeline.limits.memory.bytes();
    Ok(compiled.about().needs.check(&component_limits(pipeline), memory)?)
}

fn component_limits(pipeline: &config::Pipeline) -> ComponentLimits {
    let config::Limits { core_instances, memories, tables, .. } = pipeline.limits;
    ComponentLimits { core_instances, memories, tables }
}

fn file_limits(host: &config::Host) -> FileLimits {
    FileLimits { size: host.module_size.bytes() as usize, functions: host.module_functions as usize }
}

fn try_start(module: &Module, settings: &Arc<InstanceSettings>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Failure::of(Outcome::HostError, error.to_string()))?;
    let never = Arc::new(Cancel::new());
    runtime.block_on(Instance::start(module, settings, &never)).map(drop)
}

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
    let bytes = read_module(path, host).map_err(|error| StartError::HandlerFile {
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

/// What instances of a pipeline's handler may use besides.
fn capabilities(
    pipeline: &config::Pipeline,
    network: &mut Option<Arc<Network>>,
) -> Result<Capabilities, StartError> {
    let http = if pipeline.allow.http.is_empty() {
        None
    } else {
        let outgoing = |reason| StartError::Outgoing { pipeline: pipeline.name.clone(), reason };
        let started = match network.take() {
            Some(started) => started,
            None => Arc::new(Network::start().map_err(outgoing)?),
        };
        let (allowed, bounds) = options::outgoing(pipeline);
        Some(Arc::new(Outgoing::new(network.insert(started), allowed, bounds).map_err(outgoing)?))
    };
    Ok(Capabilities {
        uses: Arc::default(),
        metrics: Arc::new(options::metrics(pipeline)),
        secrets: Arc::new(Secrets::new(pipeline.secrets.iter())),
        http,
    })
}

fn compiler(host: &config::Host) -> Compiler {
    Compiler::new(CompileLimits {
        time: host.compile_time,
        memory: host.compile_memory.bytes(),
        file: file_limits(host),
    })
}

fn settings(pipeline: &config::Pipeline, shared: Shared) -> InstanceSettings {
    let Shared { memory, log, log_limits, capabilities } = shared;
    let limits = &pipeline.limits;
    InstanceSettings {
        limits: InstanceLimits {
            start_fuel: Fuel(limits.start_fuel),
            start_deadline: limits.start_deadline,
            memory: limits.memory.bytes() as usize,
            host_calls: limits.host_calls,
            output: OutputLimits {
                records: limits.output_records as usize,
                bytes: limits.output_bytes.bytes() as usize,
                destinations: pipeline.outputs.len(),
                failure_message: limits.failure_message.bytes() as usize,
            },
            log: log_limits,
        },
        config: pipeline.config.clone().into_iter().collect(),
        log,
        memory,
        capabilities,
    }
}
