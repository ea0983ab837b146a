//! From a file to a handler that is known to start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;

use super::source::{HandlerSource, Read, read_module, read_signature, size_for_people, stamp};
use super::{StartError, options, workers};
use crate::cancel::Cancel;
use crate::config;
use crate::deploy::registry::{Known, Login, Puller};
use crate::deploy::story::{Step, Teller};
use crate::deploy::{CompileLimits, Compiler, KeyError, Made, Modules, Policy, Stamp, Store};
use crate::ids::Fuel;
use crate::outcome::{Failure, Outcome};
use crate::outgoing::{Network, Outgoing};
use crate::secrets::Secrets;
use crate::telemetry::Uses;
use crate::wasm::{
    Capabilities, Compiled, ComponentLimits, Digest, Engine, EngineConfig, FileLimits, Instance,
    InstanceLimits, InstanceSettings, LoadError, LogLimits, LogSink, MemoryBudget, Module, OutputLimits,
};
use crate::worker::Code;

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
    /// The module as it came; none of what is compiled in.
    pub module: Option<Arc<[u8]>>,
    /// Its signature, as it came.
    pub signature: Option<String>,
    /// Where it came from exactly: a registry's tag as the digest that it meant.
    pub from: Option<String>,
}

/// Hears which step of loading begins, and what there is to say of it.
pub(super) trait Steps {
    /// The step before is over.
    fn begin(&mut self, step: Step);
    /// Of the step that is under way.
    fn detail(&mut self, detail: String);
    /// This is the module.
    fn digest(&mut self, digest: &Digest);
}

/// Nobody listens.
impl Steps for () {
    fn begin(&mut self, _: Step) {}

    fn detail(&mut self, _: String) {}

    fn digest(&mut self, _: &Digest) {}
}

impl Steps for Teller {
    fn begin(&mut self, step: Step) {
        Teller::begin(self, step);
    }

    fn detail(&mut self, detail: String) {
        Teller::detail(self, detail);
    }

    fn digest(&mut self, digest: &Digest) {
        self.tell(|story| story.digest = Some(format!("sha256:{digest}")));
    }
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
    /// Made with the first module that is kept.
    store: Option<Arc<Store>>,
    /// Whose signatures modules need; none: nobody's.
    policy: Result<Option<Policy>, KeyError>,
    puller: Puller,
}

/// What the instances of a pipeline share, whatever module they are of.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    memory: Arc<[Arc<MemoryBudget>]>,
    log: Arc<LogSink>,
    log_limits: LogLimits,
    capabilities: Capabilities,
}

impl Shared {
    pub(super) fn of(
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
        let modules = &config.modules;
        let policy = (modules.signatures > 0)
            .then(|| Policy::new(modules.keys.clone(), modules.signatures as usize))
            .transpose();
        let known = |registry: &config::Registry| Known {
            login: registry
                .user
                .clone()
                .zip(registry.password.clone())
                .map(|(user, password)| Login { user, password: password.0 }),
            plain_http: registry.plain_http,
            ca: registry.ca_file.clone(),
        };
        let registries = modules.registries.iter().map(|(host, registry)| (host.clone(), known(registry)));
        let puller = Puller::new(registries.collect(), config.host.module_size.bytes());
        Loader {
            // Tokens are nothing to it.
            config: config.without_tokens(),
            sandbox: None,
            memory,
            network: None,
            shared: HashMap::new(),
            store: None,
            policy,
            puller,
        }
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
        self.load_in_steps(source, pipeline, &mut ())
    }

    /// The same, and tells how it goes.
    pub(super) fn load_in_steps(
        &mut self,
        source: &HandlerSource,
        pipeline: &config::Pipeline,
        steps: &mut dyn Steps,
    ) -> Result<LoadedHandler, StartError> {
        if let HandlerSource::Native { name, handler } = source {
            let settings = Arc::new(settings(pipeline, self.shared(pipeline, name)?));
            let (name, code) = ((*name).to_owned(), Code::Native(handler.clone()));
            let (file, module, signature, from) = (None, None, None, None);
            let compiled_in = None;
            return Ok(LoadedHandler { name, code, settings, compiled_in, file, module, signature, from });
        }
        let name = pipeline.name.clone();
        let Read { bytes, signature, file, from } = self.read(source, pipeline, steps)?;
        steps.detail(size_for_people(bytes.len()));
        steps.digest(&Digest::of(&bytes));
        let policy = self.policy.as_ref().map_err(|error| StartError::Keys(error.clone()))?;
        // What is part of this program needs nobody's word.
        if let (Some(policy), false) = (policy, matches!(source, HandlerSource::Embedded { .. })) {
            steps.begin(Step::Verify);
            let signed = policy.check(&bytes, signature.as_deref());
            let signed = signed.map_err(|reason| StartError::Unsigned {
                pipeline: name.clone(),
                path: source.place(),
                reason,
            })?;
            steps.detail(format!("signed by {}", signed.join(", ")));
        }
        steps.begin(Step::Compile);
        let grants = options::grants(pipeline);
        let shared = self.shared(pipeline, &source.name())?;
        let (engine, modules) = self.sandbox()?;
        let refused = |reason| StartError::Module { pipeline: name.clone(), path: source.place(), reason };
        let made = modules.make(engine, &bytes, grants).map_err(refused)?;
        steps.detail(match made.compiled_in {
            Some(_) => "in a process of its own".to_owned(),
            None => "from the cache".to_owned(),
        });
        steps.begin(Step::Check);
        check_needs(&made.compiled, pipeline).map_err(|reason| refused(reason.into()))?;
        steps.begin(Step::Start);
        let settings = Arc::new(settings(pipeline, shared));
        // One on trial has memory of its own: whether others hold all there is says nothing of it.
        let trial =
            Arc::new(InstanceSettings { memory: Arc::from([]), ..InstanceSettings::clone(&settings) });
        try_start(&made.module, &trial).map_err(|reason| StartError::Trial {
            pipeline: name.clone(),
            path: source.place(),
            reason,
        })?;
        let Made { module, compiled_in, .. } = made;
        let (name, code) = (source.name(), Code::Module(module));
        let module = Some(bytes);
        Ok(LoadedHandler { name, code, settings, compiled_in, file, module, signature, from })
    }

    /// The module's bytes, from wherever they are.
    fn read(
        &mut self,
        source: &HandlerSource,
        pipeline: &config::Pipeline,
        steps: &mut dyn Steps,
    ) -> Result<Read, StartError> {
        let unreadable = |reason: &dyn std::fmt::Display| StartError::HandlerFile {
            pipeline: pipeline.name.clone(),
            path: source.place(),
            reason: reason.to_string(),
        };
        let plain = |bytes| Read { bytes, signature: None, file: None, from: None };
        steps.begin(if matches!(source, HandlerSource::Registry(_)) { Step::Pull } else { Step::Read });
        match source {
            HandlerSource::File(path) => {
                let file = stamp(path);
                let bytes =
                    read_module(path, &file_limits(&self.config.host)).map_err(|error| unreadable(&error))?;
                let signature = read_signature(path);
                Ok(Read { file, signature, from: Some(source.place()), ..plain(bytes.into()) })
            }
            HandlerSource::Stored { digest, .. } => {
                let most = file_limits(&self.config.host).size;
                let stored = self.store()?.get(digest, most).map_err(|error| unreadable(&error))?;
                Ok(Read { signature: stored.signature, ..plain(stored.module.into()) })
            }
            HandlerSource::Registry(reference) => {
                let pulled = self.puller.pull(reference).map_err(|reason| StartError::Pull {
                    pipeline: pipeline.name.clone(),
                    reference: reference.to_string(),
                    reason,
                })?;
                let from = Some(reference.at(pulled.manifest_digest).to_string());
                Ok(Read { signature: pulled.signature.map(unpacked), from, ..plain(pulled.module.into()) })
            }
            HandlerSource::Sent { bytes, signature, .. } => {
                Ok(Read { signature: signature.clone(), ..plain(bytes.clone()) })
            }
            HandlerSource::Embedded { bytes, .. } => Ok(plain((*bytes).into())),
            HandlerSource::Native { .. } => Ok(plain([].into())),
        }
    }

    /// The host's own folder.
    pub(super) fn data_dir(&self) -> &Path {
        &self.config.host.data_dir
    }

    /// What a handler's file holds; none if it cannot be read, or holds more than a module may.
    pub(super) fn digest_of(&self, path: &Path) -> Option<Digest> {
        read_module(path, &file_limits(&self.config.host)).ok().map(|bytes| Digest::of(&bytes))
    }

    /// The folder of modules.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(super) fn store(&mut self) -> Result<Arc<Store>, StartError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let path = self.config.host.data_dir.join("modules");
        let store = Store::open(&path).map_err(|reason| StartError::Folder { path, reason })?;
        Ok(self.store.insert(Arc::new(store)).clone())
    }

    /// Keeps a module, for a rollback and a restart.
    ///
    /// # Errors
    /// If the folder of modules cannot be used, or has no room.
    pub(super) fn keep(&mut self, handler: &LoadedHandler) -> Result<(), StartError> {
        let (Code::Module(module), Some(bytes)) = (&handler.code, &handler.module) else { return Ok(()) };
        let put = self.store()?.put(&module.digest(), bytes, handler.signature.as_deref());
        put.map_err(|reason| StartError::Folder { path: self.data_dir().join("modules"), reason })
    }

    /// Removes modules that no version names.
    pub(super) fn tidy(&mut self) {
        let versions = self.data_dir().join("versions");
        let tidied = self.store().map(|store| store.tidy(&versions));
        // There is none where all handlers are part of this program.
        if let Ok(Err(error)) = tidied
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the folder of modules cannot be tidied");
        }
    }

    /// Settings for an instance that runs records on trial: with memory, log and counters of its own.
    pub(super) fn trial_settings(
        pipeline: &config::Pipeline,
        settings: &InstanceSettings,
    ) -> Arc<InstanceSettings> {
        let uses = Arc::<Uses>::default();
        let silent = LogLimits { record_bytes: 0, second_bytes: 0 };
        let log = LogSink::new(pipeline.name.as_str().into(), "trial".into(), silent, uses.clone());
        let capabilities = Capabilities {
            uses,
            metrics: Arc::new(options::metrics(pipeline)),
            ..settings.capabilities.clone()
        };
        let limits = InstanceLimits { log: silent, ..settings.limits };
        Arc::new(InstanceSettings {
            limits,
            log: Arc::new(log),
            memory: Arc::from([]),
            capabilities,
            ..settings.clone()
        })
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
        // One on trial; a shadow's, one a worker; and idle ones of another generation: of the one before until each worker
        // has given up its own, or of a canary.
        let of_deploy = 1 + workers + options::warm(pipeline, workers) * workers;
        let instances = options::instances(pipeline, workers) + of_deploy;
        (u32::try_from(instances).unwrap_or(u32::MAX), component_limits(pipeline))
    };
    Ok(Engine::new(&EngineConfig {
        pools: config.pipelines.iter().map(pool).collect(),
        stack: config.host.stack.bytes() as usize,
        perf_map: config.host.perf_map,
    })?)
}

/// The text of a signature, which an annotation holds in base64. One that is not stays what it is, and is no signature.
fn unpacked(annotation: String) -> String {
    let text = base64::engine::general_purpose::STANDARD.decode(annotation.trim()).ok();
    text.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(annotation)
}

pub(super) fn check_needs(compiled: &Compiled, pipeline: &config::Pipeline) -> Result<(), LoadError> {
    let memory = pipeline.limits.memory.bytes();
    Ok(compiled.about().needs.check(&component_limits(pipeline), memory)?)
}

pub(super) fn component_limits(pipeline: &config::Pipeline) -> ComponentLimits {
    let config::Limits { core_instances, memories, tables, .. } = pipeline.limits;
    ComponentLimits { core_instances, memories, tables }
}

pub(super) fn file_limits(host: &config::Host) -> FileLimits {
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

pub(super) fn compiler(host: &config::Host) -> Compiler {
    Compiler::new(CompileLimits {
        time: host.compile_time,
        memory: host.compile_memory.bytes(),
        file: file_limits(host),
    })
}

pub(super) fn settings(pipeline: &config::Pipeline, shared: Shared) -> InstanceSettings {
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
