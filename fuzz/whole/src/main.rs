//! Looks for inputs that break a promise, for as long as it is told: what `cargo xtask fuzz` starts for the targets that
//! need the whole host.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lexopt::prelude::*;
use sandmill::deploy::{self, CompileLimits};
use sandmill_fuzz_whole::{TARGETS, sandbox, search};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = lexopt::Parser::from_env();
    let name = arguments.next()?.and_then(|argument| match argument {
        Value(name) => name.into_string().ok(),
        _ => None,
    });
    let name = name.context("which target?")?;
    if name == deploy::COMMAND {
        return compile(arguments);
    }
    let target = TARGETS.into_iter().find(|target| target.name == name).context("there is no such target")?;
    let (mut seconds, mut seed, mut folder, mut corpus) = (60, fastrand::u64(..), PathBuf::from("."), None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => seconds = arguments.value()?.parse()?,
            Long("seed") => seed = arguments.value()?.parse()?,
            Long("seeds") => folder = arguments.value()?.into(),
            Long("corpus") => corpus = Some(PathBuf::from(arguments.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    println!("seed {seed}");
    let found = search::run(&target, seed, Duration::from_secs(seconds), &folder, corpus.as_deref())?;
    let mut said: Vec<_> = found.said.iter().collect();
    said.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    for (said, times) in said.iter().take(40) {
        println!("{times:>9}  {said}");
    }
    println!("slowest: {:?}; memory: {} MiB", found.slowest, search::resident() >> 20);
    println!("stat::number_of_executed_units: {}", found.inputs);
    println!("stat::kinds: {}", found.said.len());
    Ok(if found.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The child process that compiles, as the host's own program would be it.
fn compile(mut arguments: lexopt::Parser) -> Result<ExitCode> {
    let mut limits = CompileLimits { time: Duration::from_secs(60), memory: 2 << 30, file: sandbox::FILE };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("time-ms") => limits.time = Duration::from_millis(arguments.value()?.parse()?),
            Long("memory") => limits.memory = arguments.value()?.parse()?,
            Long("size") => limits.file.size = arguments.value()?.parse()?,
            Long("functions") => limits.file.functions = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    deploy::serve(limits).context("the child cannot serve")?;
    Ok(ExitCode::SUCCESS)
}
