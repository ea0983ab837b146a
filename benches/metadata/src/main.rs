//! How long commit metadata gets, beside that of Confluent's Parallel Consumer.
//!
//! `metadata-sizes JAR`: puts the same [`patterns`] of finished and unfinished records to the host's own bookkeeping
//! ([`ours`]) and to the encoder of the Parallel Consumer ([`confluent`], which runs in the jar of the peers), writes
//! the figures as JSON into `benches/results`, and as tables ([`tables`]) between the marks of
//! `docs/COMMIT-METADATA.md`. Nothing here depends on time but the column that says so.

mod compressed;
mod confluent;
mod ours;
mod patterns;
mod search;
mod tables;

// What other programs call as well, compiled into this one: it does without the host and the harness.
#[path = "../../../host/src/bench/grouped.rs"]
mod grouped;
#[path = "../../../tests/src/page.rs"]
mod page;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use compressed::Compressed;
use confluent::Confluent;
use patterns::{Class, ROWS};
use search::Reach;

/// What one encoder makes of one pattern.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Written {
    /// Length of the text, in characters.
    chars: usize,
    /// The encoding that was shortest; empty where nothing is written.
    encoding: String,
}

/// A pattern and what becomes of it.
#[derive(Debug, Serialize)]
struct Row {
    pattern: String,
    offsets: i64,
    unfinished: u64,
    ours: Written,
    confluent: Written,
    /// Deflate over one bit an offset, under our header.
    deflated: Compressed,
}

/// How far one kind of pattern can go on.
#[derive(Debug, Serialize)]
struct Limits {
    pattern: String,
    ours: Reach,
    confluent: Reach,
}

/// All that is measured.
#[derive(Debug, Serialize)]
struct Results {
    rows: Vec<Row>,
    limits: Vec<Limits>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metadata-sizes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(jar), None) = (arguments.next(), arguments.next()) else {
        bail!("one argument: the jar of the peers in Java; `cargo xtask metadata-sizes` builds and names it");
    };
    let results = measured(&mut Confluent::start(Path::new(&jar))?)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/metadata.json");
    let json = serde_json::to_string_pretty(&results).context("results are plain data")?;
    fs::write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    let text = tables::markdown(&results);
    print!("{text}");
    tables::write(&text)
}

fn measured(confluent: &mut Confluent) -> Result<Results> {
    let mut rows = Vec::new();
    for row in &ROWS {
        let pattern = row.class.pattern(row.offsets);
        rows.push(Row {
            pattern: row.class.name().to_owned(),
            offsets: row.offsets,
            unfinished: pattern.unfinished(),
            ours: ours::written(&pattern)?,
            confluent: confluent.written(&pattern)?,
            deflated: compressed::deflated(&pattern)?,
        });
        eprintln!("{}, {} offsets", row.class.name(), row.offsets);
    }
    let mut limits = Vec::new();
    for class in Class::GROWING {
        limits.push(Limits {
            pattern: class.name().to_owned(),
            ours: search::ours(class)?,
            confluent: search::confluent(class, confluent)?,
        });
        eprintln!("{}: how far it goes", class.name());
    }
    Ok(Results { rows, limits })
}
