//! `cargo xtask TASK`: every task that needs set-up does its own.
//!
//! A task says which tool it misses and the command that installs it. Builds share one target folder
//! and one profile (release), because a clean build of the Wasm engine takes minutes.

mod bench;
mod bugs;
mod chaos;
mod corpus;
mod counts;
mod deny;
mod fuzz;
mod guests;
mod kafka;
mod metadata;
mod paths;
mod peers;
mod prepared;
mod shell;
mod stages;
mod test;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use paths::Paths;

const HELP: &str = "\
cargo xtask TASK

  demo [ARGS…]            build the host and run `sandmill demo ARGS…` on the embedded broker
  test [--full] [FILTER]  everything CI runs; --full adds what takes longer; with FILTER only the tests
                          whose names contain it, without the checks around them
  chaos [--minutes N] [--seed N]
                          hosts and brokers die, sleep and come back at random for 20 minutes, unless said
                          otherwise, under load; then the ledger judges. The seed is printed and repeats the faults
  chaos --against confluent [--minutes N] [--seed N] [--docs]
                          the same for our host and then for Confluent's Parallel Consumer, for 3 minutes each unless
                          said otherwise; both ledgers side by side, with --docs also into docs/DELIVERY.md
  corpus [--docs]         every handler that misbehaves on purpose, beside a well-behaved one; with --docs what came of
                          each into docs/SECURITY.md
  bench [OPTIONS…]        build everything, peers included, and run the ladder of benchmarks with these options
                          (--help shows them): --quick takes minutes, all of it up to an hour
  profile [WORKLOAD]      flame graphs of host and handler under noop, parse (unless said otherwise) or
                          parse-output, into profiles/ in the target folder
  bugs [NAME]             put bugs into the consumer's state machine, one at a time, and show which seed of
                          the simulation finds each; with NAME only those whose names contain it
  metadata-sizes          how long commit metadata gets for typical and worst gaps, beside that of Confluent's
                          Parallel Consumer: into benches/results and docs/COMMIT-METADATA.md
  fuzz [TARGET] [--minutes N]
                          look for inputs that break what must hold of commit metadata, answers, configuration,
                          modules and HTTP: each target of fuzz/, or the one named, for 5 minutes unless said
                          otherwise; what breaks it is kept in fuzz/seeds
  check                   formatting and lints alone
  guests                  compile the example handlers for wasm32-wasip2 and wasm32-wasip1
  kafka                   fetch the jars of Apache Kafka for the end-to-end tests, once
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = lexopt::Parser::from_env();
    let task = match arguments.next()? {
        None | Some(Short('h') | Long("help")) => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(Value(task)) => task.string()?,
        Some(other) => return Err(other.unexpected().into()),
    };
    let paths = Paths::find()?;
    match task.as_str() {
        "demo" => {
            let passed: Vec<OsString> = arguments.raw_args()?.collect();
            return demo(&paths, &passed);
        }
        "test" => {
            let mut options = test::Options::default();
            while let Some(argument) = arguments.next()? {
                match argument {
                    Long("full") => options.full = true,
                    Value(filter) if options.filter.is_none() => options.filter = Some(filter.string()?),
                    other => return Err(other.unexpected().into()),
                }
            }
            return test::run(&paths, &options);
        }
        "chaos" => {
            let mut options = chaos::Options::default();
            while let Some(argument) = arguments.next()? {
                match argument {
                    Long("minutes") => options.minutes = Some(arguments.value()?.parse()?),
                    Long("seed") => options.seed = Some(arguments.value()?.parse()?),
                    Long("against") => options.against = Some(arguments.value()?.parse()?),
                    Long("docs") => options.docs = true,
                    other => return Err(other.unexpected().into()),
                }
            }
            return chaos::run(&paths, &options);
        }
        "corpus" => {
            let mut docs = false;
            while let Some(argument) = arguments.next()? {
                match argument {
                    Long("docs") => docs = true,
                    other => return Err(other.unexpected().into()),
                }
            }
            return corpus::run(&paths, docs);
        }
        "bench" => {
            let passed: Vec<OsString> = arguments.raw_args()?.collect();
            return bench::bench(&paths, &passed);
        }
        "profile" => {
            let mut passed = arguments.raw_args()?.peekable();
            let named = passed.next_if(|word| !word.to_string_lossy().starts_with('-'));
            let workload =
                named.map_or_else(|| "parse".to_owned(), |word| word.to_string_lossy().into_owned());
            let passed: Vec<OsString> = passed.collect();
            return bench::profile(&paths, &workload, &passed);
        }
        "bugs" => {
            let mut filter = None;
            while let Some(argument) = arguments.next()? {
                match argument {
                    Value(name) if filter.is_none() => filter = Some(name.string()?),
                    other => return Err(other.unexpected().into()),
                }
            }
            bugs::run(&paths, filter.as_deref())?;
        }
        "fuzz" => {
            let (mut target, mut minutes) = (None, 5_u64);
            while let Some(argument) = arguments.next()? {
                match argument {
                    Long("target") => target = Some(arguments.value()?.string()?),
                    Value(name) if target.is_none() => target = Some(name.string()?),
                    Long("minutes") => minutes = arguments.value()?.parse()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            return fuzz::run(&paths, target.as_deref(), minutes);
        }
        "metadata-sizes" => metadata::sizes(&paths)?,
        "check" => test::check(&paths)?,
        "guests" => println!("{}", guests::build(&paths)?.display()),
        "kafka" => println!("{}", kafka::jars(&paths)?.display()),
        other => bail!("there is no task {other:?}\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the host and hands the terminal to its demo.
fn demo(paths: &Paths, arguments: &[OsString]) -> Result<ExitCode> {
    tools::require(&tools::NATIVE)?;
    guests::add_targets(paths)?;
    eprintln!("building the host; the first build takes about ten minutes on two cores, later ones seconds");
    shell::run(paths.cargo().args(["build", "--release", "--package", "sandmill", "--bin", "sandmill"]))?;
    let status = shell::status(paths.command(paths.binary()).arg("demo").args(arguments))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
