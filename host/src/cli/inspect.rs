//! `sandmill inspect`: what a module is, before anybody runs it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::logging::{self, LogFormat};
use super::{Failure, print};
use crate::pipeline;
use crate::wasm::{Capability, Report};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The module
    #[arg(value_name = "HANDLER.wasm")]
    handler: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Fails with the exit code of a refused start if the module would be refused.
    pub(super) fn execute(self) -> Result<(), Failure> {
        logging::start(LogFormat::Text, "error");
        let path = self.handler.display();
        let bytes = std::fs::read(&self.handler)
            .map_err(|error| Failure::start(format!("cannot read the handler {path}: {error}")))?;
        let report = pipeline::inspect(&bytes).map_err(Failure::start)?;
        if self.json {
            print(serde_json::to_string_pretty(&report).map_err(Failure::start)?);
        } else {
            show(&report);
        }
        match report.refused {
            Some(reason) => Err(Failure::start(format!("the handler {path} is refused: {reason}"))),
            None => Ok(()),
        }
    }
}

fn show(report: &Report) {
    let row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            print(format_args!("{name:<11} {value}"));
        }
    };
    row("digest", Some(format!("sha256:{}", report.digest)));
    row("kind", report.kind.map(|kind| kind.to_string()));
    row("size", Some(format!("{} bytes, {} functions", report.size, report.functions)));
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
    row("compiled", report.compile.map(millis));
    row("started", report.start.map(millis));
    row("memory", report.memory.map(|bytes| format!("{} KiB when started", bytes / 1024)));
    row("start fails", report.start_failure.clone());
    let verdict =
        report.refused.as_ref().map_or("accepted".to_owned(), |reason| format!("refused: {reason}"));
    row("verdict", Some(verdict));
}

fn millis(duration: Duration) -> String {
    format!("in {:.3} ms", duration.as_secs_f64() * 1e3)
}
