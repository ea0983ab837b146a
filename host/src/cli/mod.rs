//! The command line: one file a subcommand.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done, or stopped in order |
//! | 1 | a pipeline failed while it ran |
//! | 2 | wrong usage or configuration |
//! | 3 | refused to start: module, broker, topic, permission, port |

mod bench;
mod check;
mod compile;
mod contender;
mod demo;
mod deploys;
mod inspect;
mod logging;
mod pull;
mod run;
mod settings;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::COMMAND as BENCH;
use crate::deploy::COMMAND as COMPILE;
use crate::deploy::registry::COMMAND as PULL;

/// Runs untrusted WebAssembly handlers on Kafka streams.
#[derive(Debug, Parser)]
#[command(name = "sandmill", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipelines: one from flags, or all of a configuration file
    Run(run::Run),
    /// Check everything that can be checked without consuming: file, modules, broker, topics, permissions
    Check(check::Check),
    /// Say what a module is, what it imports, and whether it would be refused
    Inspect(inspect::Inspect),
    /// Put another module in the place of what a pipeline runs, on a host that runs
    Deploy(deploys::Deploy),
    /// Take back a canary or shadow, or go back to the version before
    Rollback(deploys::Rollback),
    /// Run what was tried as canary or shadow
    Promote(deploys::Promote),
    /// List the versions of a pipeline: which runs, which is tried, which was taken back
    Versions(deploys::Versions),
    /// Show a real web log going through a sandboxed handler, on a broker inside this process
    Demo(demo::Demo),
    /// Measure this host on a broker: what the bare client does, and how much of that is left behind a sandbox
    Bench(Box<bench::Bench>),
    /// One level of `bench`, as a process
    #[command(name = BENCH, hide = true)]
    BenchContender(contender::Contender),
    /// Compile a module, as a process with limits
    #[command(name = COMPILE, hide = true)]
    CompileModule(compile::Compile),
    /// Ask a registry for a module, as a process with limits
    #[command(name = PULL, hide = true)]
    PullModule(pull::Pull),
}

/// Runs one command to its exit code.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Deploy(deploy) => deploy.execute(),
        Command::Rollback(rollback) => rollback.execute(),
        Command::Promote(promote) => promote.execute(),
        Command::Versions(versions) => versions.execute(),
        Command::Demo(demo) => demo.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::BenchContender(contender) => contender.execute(),
        Command::CompileModule(compile) => compile.execute(),
        Command::PullModule(pull) => pull.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.text.lines() {
                // A closed stderr leaves nobody to tell.
                let _ = writeln!(std::io::stderr(), "sandmill: {line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command did not do what it was asked, for people, and its exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// A pipeline failed while it ran.
    fn pipeline(text: impl Display) -> Self {
        Failure { code: 1, text: text.to_string() }
    }

    /// Wrong usage or configuration.
    fn usage(text: impl Display) -> Self {
        Failure { code: 2, text: text.to_string() }
    }

    /// The host refuses to start.
    fn start(text: impl Display) -> Self {
        Failure { code: 3, text: text.to_string() }
    }
}

/// Prints to standard output; a reader that went away is no failure.
fn print(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
