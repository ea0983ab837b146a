//! From a file to a handler that is known to start.

use std::path::PathBuf;
use std::sync::Arc;

use super::{StartError, options};
use crate::cancel::Cancel;
use crate::config;
use crate::deploy::{CompileLimits, Compiler, Modules};
use crate::ids::Fuel;
use crate::outcome::{Failure, Outcome};
use crate::outgoing::{Network, Outgoing};
use crate::secrets::Secrets;
use crate::wasm::{
    Capabilities, Engine, EngineConfig, Grants, Instance, InstanceLimits, InstanceSettings, LogLimits,
    LogSink, MemoryBudget, Module, OutputLimits, Report,
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
}

/// Loads the handlers of one host. Makes the engine with the first module, with room for the instances of all
/// pipelines.
#[derive(Debug)]
pub struct Loader<'c> {
    config: &'c config::Config,
    sandbox: Option<(Engine, Modules)>,
    /// Memory of all instances together.
    memory: Arc<MemoryBudget>,
    /// Where requests of handlers run; made with the first pipeline that allows any.
    network: Option<Arc<Network>>,
}

impl<'c> Loader<'c> {
    /// For the pipelines of this configuration.
    pub fn new(config: &'c config::Config) -> Self {
        let memory = Arc::new(MemoryBudget::new(config.host.guest_memory.bytes() as usize));
        Loader { config, sandbox: None, memory, network: None }
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
        let bytes = match source {
            HandlerSource::File(path) => {
                read = std::fs::read(path).map_err(|error| StartError::HandlerFile {
                    pipeline: name.clone(),
                    path: source.place(),
                    reason: error.to_string(),
                })?;
                &read[..]
            }
            HandlerSource::Embedded { bytes, .. } => bytes,
            HandlerSource::Native { name, handler } => {
                let capabilities = Capabilities::default();
                let settings = Arc::new(settings(pipeline, name, &self.memory, capabilities));
                let code = Code::Native(handler.clone());
                return Ok(LoadedHandler { name: (*name).to_owned(), code, settings });
            }
        };
        let grants = options::grants(pipeline);
        let capabilities = self.capabilities(pipeline)?;
        let (engine, modules) = self.sandbox()?;
        let made = modules.make(engine, bytes, grants).map_err(|reason| StartError::Module {
            pipeline: name.clone(),
            path: source.place(),
            reason,
        })?;
        let settings = Arc::new(settings(pipeline, &source.name(), &self.memory, capabilities));
        try_start(&made.module, &settings).map_err(|reason| StartError::Trial {
            pipeline: name,
            path: source.place(),
            reason,
        })?;
        Ok(LoadedHandler { name: source.name(), code: Code::Module(made.module), settings })
    }

    fn capabilities(&mut self, pipeline: &config::Pipeline) -> Result<Capabilities, StartError> {
        let http = if pipeline.allow.http.is_empty() {
            None
        } else {
            let outgoing = |reason| StartError::Outgoing { pipeline: pipeline.name.clone(), reason };
            let network = match self.network.take() {
                Some(network) => network,
                None => Arc::new(Network::start().map_err(outgoing)?),
            };
            let network = self.network.insert(network);
            let (allowed, bounds) = options::outgoing(pipeline);
            Some(Arc::new(Outgoing::new(network, allowed, bounds).map_err(outgoing)?))
        };
        Ok(Capabilities {
            uses: Arc::default(),
            metrics: Arc::new(options::metrics(pipeline)),
            secrets: Arc::new(Secrets::new(pipeline.secrets.iter())),
            http,
        })
    }

    fn sandbox(&mut self) -> Result<&(Engine, Modules), StartError> {
        let sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => {
                let cache = self.config.host.data_dir.join("compiled");
                (engine_for(self.config)?, Modules::with_cache(&cache, compiler(&self.config.host))?)
            }
        };
        Ok(self.sandbox.insert(sandbox))
    }
}

/// An engine with room for the instances of all pipelines.
fn engine_for(config: &config::Config) -> Result<Engine, StartError> {
    // Twice: those that are out, and those that workers keep warm. One more each for the trial.
    let instances = config.pipelines.iter().map(|pipeline| 2 * pipeline.max_instances + 1).sum();
    Ok(Engine::new(&EngineConfig {
        stack: config.host.stack.bytes() as usize,
        perf_map: config.host.perf_map,
        ..EngineConfig::new(instances)
    })?)
}

fn try_start(module: &Module, settings: &Arc<InstanceSettings>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Failure::of(Outcome::HostError, error.to_string()))?;
    let never = Arc::new(Cancel::new());
    runtime.block_on(Instance::start(module, settings, &never)).map(drop)
}

/// What a file is, and whether it would be refused; under the limits that pipelines have by default.
///
/// # Errors
/// If there is no sandbox to try it in.
pub fn inspect(bytes: &[u8]) -> Result<Report, StartError> {
    let engine = Engine::new(&EngineConfig::new(4))?;
    let modules = Modules::without_cache(compiler(&config::Host::default()));
    let pipeline = config::Pipeline { name: "inspect".to_owned(), ..config::Pipeline::default() };
    let memory = Arc::new(MemoryBudget::new(usize::MAX));
    let mut report = Report::read(bytes);
    match modules.make(&engine, bytes, Grants::ALL) {
        Ok(made) => {
            report.compiled(made.compiled.about(), made.compiled_in.unwrap_or_default());
            let settings = settings(&pipeline, "inspect", &memory, Capabilities::default());
            report.start(&made.module, &Arc::new(settings));
        }
        Err(reason) => report.refused = Some(reason.to_string()),
    }
    Ok(report)
}

fn compiler(host: &config::Host) -> Compiler {
    Compiler::new(CompileLimits { time: host.compile_time, memory: host.compile_memory.bytes() })
}

fn settings(
    pipeline: &config::Pipeline,
    handler: &str,
    host_memory: &Arc<MemoryBudget>,
    capabilities: Capabilities,
) -> InstanceSettings {
    let limits = &pipeline.limits;
    let log = LogLimits {
        record_bytes: limits.log_bytes_per_record.bytes() as usize,
        second_bytes: limits.log_bytes_per_second.bytes() as usize,
    };
    let (name, uses) = (pipeline.name.as_str(), capabilities.uses.clone());
    InstanceSettings {
        limits: InstanceLimits {
            start_fuel: Fuel(limits.fuel),
            start_deadline: limits.deadline,
            memory: limits.memory.bytes() as usize,
            host_calls: limits.host_calls,
            output: OutputLimits {
                records: limits.output_records as usize,
                bytes: limits.output_bytes.bytes() as usize,
                destinations: pipeline.outputs.len(),
                failure_message: limits.failure_message.bytes() as usize,
            },
            log,
        },
        config: pipeline.config.clone().into_iter().collect(),
        log: Arc::new(LogSink::new(name.into(), handler.into(), log, uses)),
        memory: Arc::from([host_memory.clone()]),
        capabilities,
    }
}
