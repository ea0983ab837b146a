//! The ladder: what the bare Kafka client does, how much of that is left behind a sandbox, and what others do.
//!
//! One process starts one Apache Kafka and runs one part after the other. In a part, all rows take turns again
//! and again, so that what disturbs the machine disturbs all of them. Whatever is measured runs in a process of
//! its own: its CPU time and its memory are then its own too. After each part the result is written, so a run
//! that was interrupted can go on.
//!
//! - [`options`], [`sizes`]: what is asked, how large; [`plan`]: what that means, and how long it takes.
//! - [`parts`]: what there is to measure; most of it is [`rung`]s, plain data, which [`rungs`] runs on [`topics`].
//! - [`climb`]: passes over rows; a row that fails does not end the others.
//! - [`programs`]: how a contender is started; [`selfcheck`]: whether a peer does the work.
//! - [`hosted`], [`open_loop`], [`pacer`], [`latencies`], [`operator`]: parts that drive a host themselves.
//! - [`tasks`], [`scraper`]: what runs beside a host; [`profile`]: where it spends its time.
//! - [`results`], [`conditions`]: what is written down; [`targets`]: what it means; [`report`], [`chart`], [`docs`]:
//!   how people read it.
//!
//! `docs/BENCHMARKS.md` has the rules and says what each number means. Contenders and their checks are
//! `sandmill::bench`, which `sandmill bench` uses too.

mod chart;
mod climb;
mod conditions;
mod docs;
mod hosted;
mod latencies;
mod open_loop;
mod operator;
mod options;
mod pacer;
mod parts;
mod plan;
mod profile;
mod programs;
mod report;
mod results;
mod rung;
mod rungs;
mod scraper;
mod selfcheck;
mod session;
mod sizes;
mod spread;
mod targets;
mod tasks;
mod topics;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sandmill_tests::required_path;

use climb::caught;
use conditions::Conditions;
use options::{Options, Task};
use parts::Kind;
use plan::{Plan, Step};
use programs::Programs;
use results::{Part, Results, Row};
use rungs::Climbed;
use session::Session;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ladder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was to be measured was.
fn run() -> Result<bool> {
    match Task::parse()? {
        Task::Help => print!("{}", options::HELP),
        Task::Tasks { count, millis, waits } => tasks::wait(count, millis, waits)?,
        Task::Plan(options) => print!("{}", plan::described(&Plan::of(&options.sizes, &options.wish)?)),
        Task::Profile { workload, options } => profiled(&workload, options)?,
        Task::Show(options) => {
            let file = options.file()?;
            return finish(&options, &Results::read(&file)?, &file);
        }
        Task::Climb(options) => return climb_all(options),
    }
    Ok(true)
}

fn profiled(workload: &str, options: Options) -> Result<()> {
    let folder = options.output.context("--profile needs --output FOLDER")?;
    let programs = Programs { sandmill: required_path("SANDMILL_BIN"), peers: options.peers };
    let session = Session::start(programs, options.sizes, None)?;
    for file in profile::run(&session, workload, &folder)? {
        println!("{}", file.display());
    }
    Ok(())
}

fn climb_all(mut options: Options) -> Result<bool> {
    let file = options.file()?;
    let programs = Programs { sandmill: required_path("SANDMILL_BIN"), peers: options.peers.clone() };
    let now = Conditions::gather(&programs.sandmill)?;
    let mut results = if options.resume {
        Results::resume(&file, options.sizes.scale, &now)?
    } else {
        Results::new(options.sizes.scale)
    };
    options.wish.finished = results.finished().map(str::to_owned).collect();
    let plan = Plan::of(&options.sizes, &options.wish)?;
    eprint!("{}", plan::described(&plan));
    results.sessions.push(now);
    results.left_out = plan.left_out.clone();

    let session = Session::start(programs, options.sizes.clone(), options.criterion.clone())?;
    for step in &plan.steps {
        let part = measured(&session, step, results.sessions.len() - 1);
        results.put(part);
        results.write(&file)?;
        eprintln!("written: {}", file.display());
    }
    drop(session);
    finish(&options, &results, &file)
}

/// One part, whatever comes of it.
fn measured(session: &Session, step: &Step, number: usize) -> Part {
    let (name, begun) = (step.part.name, Instant::now());
    eprintln!("== {name}: {}", step.part.tells);
    let passes = (step.part.passes)(&session.sizes);
    let climbed = caught(|| match step.part.kind {
        Kind::Rungs(_) => rungs::run(session, step, passes),
        Kind::Own { run, .. } => {
            let rows = run(session, passes)?;
            Ok(Climbed { rows, topics: Vec::new(), disk_bytes: session.disk_bytes() })
        }
    });
    let climbed = climbed.unwrap_or_else(|error| {
        let reason = format!("{error:#}");
        eprintln!("{name}: FAILED: {reason}");
        let row = Row { failed: Some(reason), ..Row::new("all of it", &[]) };
        Climbed { rows: vec![row], topics: Vec::new(), disk_bytes: 0 }
    });
    Part {
        name: name.to_owned(),
        session: number,
        took_seconds: begun.elapsed().as_secs_f64(),
        disk_bytes: climbed.disk_bytes,
        topics: climbed.topics,
        rows: climbed.rows,
    }
}

/// Tables, charts, and what failed.
fn finish(options: &Options, results: &Results, file: &std::path::Path) -> Result<bool> {
    println!("{}", report::markdown(results, None));
    for chart in docs::charts(results, &file.with_extension("charts"))? {
        eprintln!("chart: {}", chart.display());
    }
    if options.docs {
        ensure!(options.output.is_none(), "--docs tells of a result in benches/results: leave out --output");
        docs::write(results, file)?;
    }
    let mut failures = 0;
    for part in &results.parts {
        for (row, reason) in part.failures() {
            eprintln!("FAILED: {}: {row}: {reason}", part.name);
            failures += 1;
        }
    }
    Ok(failures == 0)
}
