//! `sandmill inspect`: what a module is and asks for, and whether a pipeline would take it, before anybody runs it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::logging::{self, LogFormat};
use super::{Failure, print};
use crate::config::{Allow, Config, Host, Limits, Pipeline, Size, Source};
use crate::pipeline;
use crate::wasm::{Capability, Needs, Report};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The module; without it that of the pipeline
    #[arg(value_name = "HANDLER.wasm", required_unless_present = "config")]
    handler: Option<PathBuf>,

    /// Configuration file, whose limits and grants then apply; without it the defaults, and everything granted
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The pipeline of that file; may be left out if it has only one
    #[arg(long, value_name = "NAME", requires = "config")]
    pipeline: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Printed<'p> {
    #[serde(flatten)]
    report: &'p Report,
    /// The limits that applied.
    limits: Applied<'p>,
    /// What was granted; absent: everything.
    allow: Option<&'p Allow>,
}

/// Limits of a host and of a pipeline, by their keys.
#[derive(Serialize)]
struct Applied<'p> {
    module_size: Size,
    module_functions: u32,
    compile_time: String,
    compile_memory: Size,
    stack: Size,
    #[serde(flatten)]
    of_pipeline: &'p Limits,
}

impl<'p> Applied<'p> {
    fn of(host: &Host, of_pipeline: &'p Limits) -> Self {
        Applied {
            module_size: host.module_size,
            module_functions: host.module_functions,
            compile_time: humantime::format_duration(host.compile_time).to_string(),
            compile_memory: host.compile_memory,
            stack: host.stack,
            of_pipeline,
        }
    }
}

impl Inspect {
    /// Fails with the exit code of a refused start if the module would be refused.
    pub(super) fn execute(self) -> Result<(), Failure> {
        logging::start(LogFormat::Text, "error");
        let config = self.config.map(load).transpose()?;
        let pipeline = config.as_ref().map(|config| choose(config, self.pipeline.as_deref())).transpose()?;
        let defaults = (Host::default(), Pipeline::default());
        let host = config.as_ref().map_or(&defaults.0, |config| &config.host);
        let limits = pipeline.map_or(&defaults.1.limits, |pipeline| &pipeline.limits);
        let handler = self
            .handler
            .or_else(|| pipeline.map(|pipeline| pipeline.handler.clone()))
            .expect("one of them is required");
        let report = pipeline::inspect(&handler, host, pipeline).map_err(Failure::start)?;
        let applied = Applied::of(host, limits);
        if self.json {
            let allow = pipeline.map(|pipeline| &pipeline.allow);
            let printed = Printed { report: &report, limits: applied, allow };
            print(serde_json::to_string_pretty(&printed).map_err(Failure::start)?);
        } else {
            show(&report, &applied, pipeline)?;
        }
        match report.refused {
            Some(reason) => {
                Err(Failure::start(format!("the handler {} is refused: {reason}", handler.display())))
            }
            None => Ok(()),
        }
    }
}

fn load(file: PathBuf) -> Result<Config, Failure> {
    let environment =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    Config::load(Source::new(environment).file(file)).map_err(Failure::usage)
}

/// The pipeline of this name, or the only one.
fn choose<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Pipeline, Failure> {
    let names = || {
        let names: Vec<_> = config.pipelines.iter().map(|pipeline| format!("{:?}", pipeline.name)).collect();
        names.join(", ")
    };
    match (name, config.pipelines.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::usage(format!("which pipeline? give --pipeline, one of {}", names()))),
        (Some(name), all) => all
            .iter()
            .find(|pipeline| pipeline.name == name)
            .ok_or_else(|| Failure::usage(format!("no pipeline {name:?}; there are {}", names()))),
    }
}

fn show(report: &Report, limits: &Applied<'_>, pipeline: Option<&Pipeline>) -> Result<(), Failure> {
    let row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            print(format_args!("{name:<11} {value}"));
        }
    };
    row("digest", Some(format!("sha256:{}", report.digest)));
    row("kind", report.kind.map(|kind| kind.to_string()));
    let (size, functions) = (limits.module_size.bytes(), limits.module_functions);
    row(
        "size",
        Some(format!("{} of {size} bytes, {} of {functions} functions", report.size, report.functions)),
    );
    row("contract", report.contract.as_ref().map(|version| format!("sandmill:handler {version}")));
    row("made by", Some(report.producers.join(", ")).filter(|makers| !makers.is_empty()));
    for (index, import) in report.imports.iter().enumerate() {
        let needs = match import.needs {
            Some(Capability::Nothing) => "needs nothing".to_owned(),
            Some(capability) => format!("needs {}", capability.how_to_grant()),
            None => "this host has no such thing".to_owned(),
        };
        row(if index == 0 { "imports" } else { "" }, Some(format!("{}  ({needs})", import.name)));
    }
    row("exports", Some(report.exports.join(", ")).filter(|exports| !exports.is_empty()));
    let frozen = "it was started and frozen when it was built: all instances have the same random seeds";
    row("note", report.preinitialised.then(|| frozen.to_owned()));
    row("asks for", report.needs.map(|needs| asks(&needs, limits.of_pipeline)));
    row("compiled", report.compile.map(millis));
    row("started", report.start.map(millis));
    row("memory", report.memory.map(|bytes| format!("{} KiB when started", bytes / 1024)));
    row("start fails", report.start_failure.clone());
    let whose =
        pipeline.map_or("by default".to_owned(), |pipeline| format!("of pipeline {:?}", pipeline.name));
    row("limits", Some(whose));
    for line in toml::to_string(limits).map_err(Failure::start)?.lines() {
        row("", Some(line.to_owned()));
    }
    let verdict =
        report.refused.as_ref().map_or("accepted".to_owned(), |reason| format!("refused: {reason}"));
    row("verdict", Some(verdict));
    Ok(())
}

/// What a component asks for, beside what it may have.
fn asks(needs: &Needs, limits: &Limits) -> String {
    let most = match needs.memory_at_most {
        Some(most) => format!("{} KiB at most by its own word", most / 1024),
        None => "without a maximum of its own".to_owned(),
    };
    format!(
        "{} of {} core instances, {} of {} memories, {} of {} tables; {} of {} KiB of memory to start with, {most}",
        needs.core_instances,
        limits.core_instances,
        needs.memories,
        limits.memories,
        needs.tables,
        limits.tables,
        needs.memory / 1024,
        limits.memory.bytes() / 1024,
    )
}

fn millis(duration: Duration) -> String {
    format!("in {:.3} ms", duration.as_secs_f64() * 1e3)
}
