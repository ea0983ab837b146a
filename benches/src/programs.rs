//! The programs that are measured: our own binary, and the peers as far as they could be built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use sandmill::bench::{Contender as Process, Level};
use sandmill_tests::guests::guest;

use crate::rung::{Contender, Rung, Settings};

/// Of all the Java peers; their README says why.
const JVM: [&str; 3] = ["-Xmx1g", "-XX:+UseParallelGC", "-jar"];

/// Where programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub sandmill: PathBuf,
    /// By the name of the level: a jar for Java, a program for Go.
    pub peers: BTreeMap<String, PathBuf>,
}

impl Programs {
    /// What runs this rung. `failures` is how many records have to fail for good, `extra` are arguments of the
    /// run; both are for levels of our own.
    pub(crate) fn contender(&self, rung: &Rung, failures: u64, extra: &[String]) -> Result<Process> {
        let own = |level: Level, settings: &Settings| {
            let mut options = options(settings);
            if failures > 0 {
                options.extend(["--failures".to_owned(), failures.to_string()]);
            }
            options.extend_from_slice(extra);
            level.contender(&self.sandmill, options)
        };
        let process = match &rung.contender {
            Contender::RawPoll => own(Level::RawPoll, &Settings::default()),
            Contender::RawBatch => own(Level::RawBatch, &Settings::default()),
            Contender::Copy => own(Level::Copy, &Settings::default()),
            Contender::Native(settings) => own(Level::Native, settings),
            Contender::Wasm(settings) => own(Level::Wasm, settings),
            Contender::JavaPlain => self.java(&["plain"])?,
            Contender::Confluent(settings) => {
                let options = [
                    ("--batch", Some(settings.batch)),
                    ("--buffer", settings.buffer),
                    ("--concurrency", settings.concurrency),
                    ("--linger-ms", settings.linger_ms),
                ];
                let mut arguments = vec!["parallel".to_owned()];
                for (option, value) in options {
                    arguments
                        .extend(value.into_iter().flat_map(|value| [option.to_owned(), value.to_string()]));
                }
                self.java(&arguments)?
            }
            Contender::FranzGo => self.peer("franz", &[])?,
            Contender::Bento { batch } => self.peer("bento", &["--batch".to_owned(), batch.to_string()])?,
            Contender::Tasks { .. } => anyhow::bail!("tasks of tokio read no topic"),
        };
        Ok(Process { name: rung.name.clone(), ..process })
    }

    /// The program of a peer, to which `--selfcheck FILE` is to be added; none for levels of our own.
    pub(crate) fn selfcheck(&self, contender: &Contender) -> Result<Option<Command>> {
        let process = match contender {
            Contender::JavaPlain | Contender::Confluent(_) => self.java(&["plain"])?,
            Contender::FranzGo | Contender::Bento { .. } => self.peer(contender.level(), &[])?,
            _ => return Ok(None),
        };
        let mut command = Command::new(process.program);
        command.args(process.arguments);
        Ok(Some(command))
    }

    fn java<T: ToString>(&self, arguments: &[T]) -> Result<Process> {
        let jar = self.path("java")?.display().to_string();
        let arguments =
            JVM.map(str::to_owned).into_iter().chain([jar]).chain(arguments.iter().map(ToString::to_string));
        Ok(Process { program: "java".into(), arguments: arguments.collect(), ..Process::default() })
    }

    fn peer(&self, level: &str, arguments: &[String]) -> Result<Process> {
        Ok(Process {
            program: self.path(level)?.clone(),
            arguments: arguments.to_vec(),
            ..Process::default()
        })
    }

    fn path(&self, level: &str) -> Result<&PathBuf> {
        self.peers.get(level).with_context(|| format!("the program of {level} was not built"))
    }
}

/// As `bench-contender` takes them.
fn options(settings: &Settings) -> Vec<String> {
    let set = settings.set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
    let module = settings.module.map(|name| ["--module".to_owned(), guest(name).display().to_string()]);
    set.chain(module.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rung::{Confluent, Filling};
    use sandmill::bench::Work;

    fn arguments(contender: Contender, failures: u64) -> String {
        let programs = Programs {
            sandmill: "sandmill".into(),
            peers: [("java", "peers.jar"), ("bento", "bento")]
                .map(|(level, path)| (level.to_owned(), path.into()))
                .into(),
        };
        let rung = Rung::new(contender, Filling::base(1), Work::Noop, 1.0);
        let process = programs.contender(&rung, failures, &[]).map(|process| process.arguments.join(" "));
        process.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn each_contender_gets_its_own_arguments() {
        let settings = Settings::default().set("host.workers", 1);
        let cases = [
            (Contender::RawPoll, "bench-contender --level raw-poll"),
            (Contender::Wasm(settings), "bench-contender --level wasm --set host.workers=1 --failures 7"),
            (Contender::JavaPlain, "-Xmx1g -XX:+UseParallelGC -jar peers.jar plain"),
            (
                Contender::Confluent(Confluent { batch: 100, buffer: Some(20_000), ..Confluent::default() }),
                "-Xmx1g -XX:+UseParallelGC -jar peers.jar parallel --batch 100 --buffer 20000",
            ),
            (Contender::Bento { batch: 500 }, "--batch 500"),
            (Contender::FranzGo, "the program of franz was not built"),
        ];
        for (contender, expected) in cases {
            let failures = if matches!(contender, Contender::Wasm(_)) { 7 } else { 0 };
            assert_eq!(arguments(contender, failures), expected);
        }
    }
}
