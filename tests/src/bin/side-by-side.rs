//! The same seed and time of chaos for our host and for Confluent's Parallel Consumer, one after the other, each on
//! a cluster of its own; then both ledgers side by side.
//!
//! `cargo xtask chaos --against confluent` builds what it needs and runs it. With `--docs` the session goes into
//! `tests/results/chaos.json`, and all sessions of that file into `docs/DELIVERY.md`. With `--render` nothing runs: the
//! page is written anew from that file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lexopt::prelude::*;
use sandmill_tests::chaos::{Column, Ledgers, Session, run_with};
use sandmill_tests::conditions::Conditions;
use sandmill_tests::contender::Contender;
use sandmill_tests::kafka::Kafka;

/// What decides over the ledgers.
const CODE: [&str; 4] = ["../host", "../kafka-ffi", "../tests/src", "../benches/peers"];

struct Options {
    /// None with `render`.
    jar: Option<PathBuf>,
    minutes: u64,
    seed: u64,
    /// Logs of all processes go there.
    logs: Option<PathBuf>,
    docs: bool,
    render: bool,
}

fn main() -> Result<ExitCode> {
    let options = options()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (results, page) = (root.join("tests/results/chaos.json"), root.join("docs/DELIVERY.md"));
    if options.render {
        return publish(&ledgers(&results)?, &results, &page).map(|()| ExitCode::SUCCESS);
    }
    // Its processes run in folders of their own.
    let jar = options.jar.context("--jar is missing")?.canonicalize().context("--jar names no file")?;
    let contenders = [Contender::Sandmill, Contender::ParallelConsumer(jar)];
    let conditions = Conditions::gather(&contenders, &CODE)?;
    println!("seed {}, {} minutes", options.seed, options.minutes);
    let (mut columns, mut kept) = (Vec::new(), true);
    for contender in contenders {
        println!("\n== {}", contender.name());
        let run = Path::new(&options.seed.to_string()).join(contender.word());
        let logs = options.logs.as_ref().map(|folder| folder.join(run));
        let time = Duration::from_secs(60 * options.minutes);
        let own = contender.is_own();
        let outcome = run_with(&Kafka::start(3), contender, options.seed, time, logs);
        println!("{outcome}");
        kept &= !own || outcome.is_kept();
        columns.push(Column::from(&outcome));
    }
    let session = Session { seed: options.seed, minutes: options.minutes, conditions, columns };
    println!("\n{}", session.markdown());
    if options.docs {
        let mut ledgers = ledgers(&results)?;
        ledgers.add(session);
        publish(&ledgers, &results, &page)?;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options() -> Result<Options> {
    let seed = fastrand::u64(..);
    let mut options = Options { jar: None, minutes: 3, seed, logs: None, docs: false, render: false };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("jar") => options.jar = Some(PathBuf::from(arguments.value()?)),
            Long("minutes") => options.minutes = arguments.value()?.parse()?,
            Long("seed") => options.seed = arguments.value()?.parse()?,
            Long("logs") => options.logs = Some(PathBuf::from(arguments.value()?)),
            Long("docs") => options.docs = true,
            Long("render") => options.render = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// What the results file holds; nothing where there is none yet.
fn ledgers(results: &Path) -> Result<Ledgers> {
    if !results.exists() {
        return Ok(Ledgers::default());
    }
    let text = fs::read_to_string(results).with_context(|| format!("cannot read {}", results.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} holds no ledgers", results.display()))
}

fn publish(ledgers: &Ledgers, results: &Path, page: &Path) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = ledgers.put_into(&text).with_context(|| format!("{} lacks the marks", page.display()))?;
    if let Some(folder) = results.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let json = serde_json::to_string_pretty(ledgers).context("ledgers can be written as JSON")? + "\n";
    fs::write(results, json).with_context(|| format!("cannot write {}", results.display()))?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}
