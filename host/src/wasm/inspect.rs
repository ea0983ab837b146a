//! What a file is, what it asks for, and whether it would be refused: `sandmill inspect`.
//!
//! A report is filled in as far as the file lets it: what can be read without compiling, what compiling brought, and
//! what an instance takes to start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::anatomy::{self, FileLimits, Kind};
use super::capability::{self, Capability};
use super::compile::About;
use super::digest::Digest;
use super::instance::{Instance, InstanceSettings};
use super::module::Module;
use super::needs::{self, Needs};
use super::text;
use crate::cancel::Cancel;

/// Longest name that is shown, in bytes.
const NAME: usize = 200;

/// What would be refused is described all the same.
const ANY: FileLimits = FileLimits { size: usize::MAX, functions: usize::MAX };

/// What is known of a file. What could not be found out is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub digest: Digest,
    /// Bytes of the file.
    pub size: usize,
    /// Component or core module.
    pub kind: Option<Kind>,
    /// Bytes of the component that a core module became.
    pub component_size: Option<usize>,
    /// The version of the contract that it speaks.
    pub contract: Option<String>,
    /// What the component imports.
    pub imports: Vec<Import>,
    /// What the file exports. Escaped.
    pub exports: Vec<String>,
    /// Functions of all its modules.
    pub functions: usize,
    /// What the component asks for before it runs.
    pub needs: Option<Needs>,
    /// Languages and tools that say they made it. Escaped.
    pub producers: Vec<String>,
    /// Whether it was started and frozen when it was built: then every instance has the same random seeds.
    pub preinitialised: bool,
    /// Why the pipeline in question cannot run it.
    pub refused: Option<String>,
    /// Checking, compiling and linking.
    #[serde(rename = "compile_ms", serialize_with = "millis")]
    pub compile: Option<Duration>,
    /// Making an instance and calling its `start`, the second time: what a restart costs.
    #[serde(rename = "start_ms", serialize_with = "millis")]
    pub start: Option<Duration>,
    /// Why `start` failed; it may need what its pipeline's `config` would say.
    pub start_failure: Option<String>,
    /// Bytes of memories and tables of a started instance.
    pub memory: Option<usize>,
}

/// Something that a component imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its name, escaped.
    pub name: String,
    /// What a pipeline has to grant for it; absent: this host has no such thing.
    pub needs: Option<Capability>,
}

impl Report {
    /// What can be read of a file without compiling it.
    pub fn read(bytes: &[u8]) -> Self {
        let mut report = Report {
            digest: Digest::of(bytes),
            size: bytes.len(),
            kind: None,
            component_size: None,
            contract: None,
            imports: Vec::new(),
            exports: Vec::new(),
            functions: 0,
            needs: None,
            producers: Vec::new(),
            preinitialised: false,
            refused: None,
            compile: None,
            start: None,
            start_failure: None,
            memory: None,
        };
        let shown = |names: &[String]| names.iter().map(|name| text::clean(name, NAME)).collect();
        // Why it cannot be read is said when it is to be compiled.
        if let Ok(anatomy) = anatomy::read(bytes, &ANY) {
            report.kind = Some(anatomy.kind);
            report.contract = anatomy.contract().map(|version| text::clean(version, NAME));
            report.exports = shown(&anatomy.exports);
            report.functions = anatomy.functions;
            report.producers = shown(&anatomy.producers);
            report.preinitialised = anatomy.is_preinitialised();
            if anatomy.kind == Kind::Component {
                report.imports(&anatomy.imports);
                report.needs = needs::of_component(bytes).ok();
            }
        }
        report
    }

    /// What compiling brought, and how long it took.
    pub fn compiled(&mut self, about: &About, took: Duration) {
        self.imports(&about.imports);
        self.needs = Some(about.needs);
        if about.kind == Kind::CoreModule {
            self.component_size = Some(about.component_size);
        }
        self.compile = Some(took);
    }

    fn imports(&mut self, names: &[String]) {
        let import =
            |name: &String| Import { name: text::clean(name, NAME), needs: capability::of_import(name) };
        self.imports = names.iter().map(import).collect();
    }

    /// Starts instances and measures the second: the first one maps what later ones share. To be called from a thread
    /// that runs no async runtime; it makes its own.
    pub fn start(&mut self, module: &Module, settings: &Arc<InstanceSettings>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                self.start_failure = Some(format!("no runtime to start it on: {error}"));
                return;
            }
        };
        let cancel = Arc::new(Cancel::new());
        for _ in 0..2 {
            let since = Instant::now();
            match runtime.block_on(Instance::start(module, settings, &cancel)) {
                Ok(instance) => {
                    self.start = Some(since.elapsed());
                    self.memory = Some(instance.memory());
                }
                Err(failure) => {
                    self.start_failure = Some(failure.to_string());
                    return;
                }
            }
        }
    }
}

fn millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64() * 1e3).serialize(serializer)
}
