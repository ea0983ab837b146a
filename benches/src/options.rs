//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;

use crate::plan::Wish;
use crate::rung::Contender;
use crate::sizes::{Scale, Sizes};
use crate::tasks::TASKS;

pub(crate) const HELP: &str = "\
ladder [OPTIONS]

  --name NAME             results go to benches/results/NAME.json [latest]
  --only PART,…           these parts alone
  --skip LEVEL,…          without these levels: raw, copy, native, wasm, java, franz, bento, confluent, tokio;
                          `peers` means java,franz,bento,confluent
  --quick                 a tenth of the records and one pass: a look
  --smoke                 1,000 records and one pass, without peers unless named: whether everything works
  --passes N              counted passes over the rows of a part
  --flat-minutes N        how long a host must stay as large as it is [1]
  --resume                goes on with what benches/results/NAME.json lacks
  --docs                  puts tables and charts into docs/
  --show                  measures nothing: shows benches/results/NAME.json again, with --docs into docs/
  --plan                  says what would be done and how long it takes, and ends
  --output FILE           results go there instead
  --peer LEVEL=FILE       the program of a peer
  --missing LEVEL=REASON  a peer that cannot run here
  --criterion FOLDER      where the micro benchmarks left their estimates
  --profile WORKLOAD      flame graphs of noop, parse or parse-output instead, into --output FOLDER

SANDMILL_BIN, SANDMILL_GUESTS and SANDMILL_KAFKA_LIBS name the host's binary, the compiled handlers and the
broker's jars. `cargo xtask bench` builds and names everything.
";

/// What this process was asked to do.
#[derive(Debug)]
pub(crate) enum Task {
    Help,
    /// To be the bare tasks of one run.
    Tasks {
        count: u32,
        millis: f64,
        waits: u64,
    },
    Plan(Options),
    /// To show a result that is there.
    Show(Options),
    Profile {
        workload: String,
        options: Options,
    },
    Climb(Options),
}

/// What is run, how often, how large.
#[derive(Debug)]
pub(crate) struct Options {
    pub name: String,
    pub sizes: Sizes,
    pub wish: Wish,
    pub resume: bool,
    pub docs: bool,
    pub output: Option<PathBuf>,
    pub peers: BTreeMap<String, PathBuf>,
    pub criterion: Option<PathBuf>,
}

impl Task {
    /// Reads the arguments of this process.
    pub(crate) fn parse() -> Result<Self> {
        Self::parse_from(lexopt::Parser::from_env())
    }

    fn parse_from(mut arguments: lexopt::Parser) -> Result<Self> {
        let (mut scale, mut passes, mut flat) = (Scale::Full, None, None);
        let (mut only_plan, mut show, mut profile) = (false, false, None);
        let mut options = Options {
            name: "latest".to_owned(),
            sizes: Sizes::of(Scale::Full),
            wish: Wish::default(),
            resume: false,
            docs: false,
            output: None,
            peers: BTreeMap::new(),
            criterion: None,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Self::Help),
                Long("name") => options.name = arguments.value()?.string()?,
                Long("only") => options.wish.only = words(&arguments.value()?.string()?),
                Long("skip") => {
                    for level in words(&arguments.value()?.string()?) {
                        if level == "peers" {
                            options.wish.skip.extend(Contender::PEERS.map(str::to_owned));
                        } else {
                            options.wish.skip.insert(level);
                        }
                    }
                }
                Long("quick") => scale = Scale::Quick,
                Long("smoke") => scale = Scale::Smoke,
                Long("passes") => passes = Some(arguments.value()?.parse::<usize>()?),
                Long("flat-minutes") => flat = Some(arguments.value()?.parse::<u64>()?),
                Long("resume") => options.resume = true,
                Long("docs") => options.docs = true,
                Long("plan") => only_plan = true,
                Long("show") => show = true,
                Long("profile") => profile = Some(arguments.value()?.string()?),
                Long("output") => options.output = Some(arguments.value()?.into()),
                Long("criterion") => options.criterion = Some(arguments.value()?.into()),
                Long("peer") => {
                    let (level, file) = peer(&arguments.value()?.string()?)?;
                    options.peers.insert(level, file.into());
                }
                Long("missing") => {
                    let (level, reason) = peer(&arguments.value()?.string()?)?;
                    options.wish.unavailable.insert(level, reason);
                }
                Value(word) if word == TASKS => {
                    return Ok(Self::Tasks {
                        count: arguments.value()?.parse()?,
                        millis: arguments.value()?.parse()?,
                        waits: arguments.value()?.parse()?,
                    });
                }
                other => return Err(other.unexpected().into()),
            }
        }
        options.sizes = Sizes::of(scale);
        if let Some(passes) = passes {
            ensure!(passes > 0, "--passes 0 measures nothing; the rules ask for at least 3");
            options.sizes.passes = passes;
        }
        if let Some(minutes) = flat {
            options.sizes.flat = Duration::from_secs(minutes * 60);
        }
        options.complete()?;
        Ok(match profile {
            Some(workload) => Self::Profile { workload, options },
            None if only_plan => Self::Plan(options),
            None if show => Self::Show(options),
            None => Self::Climb(options),
        })
    }
}

impl Options {
    /// Peers without a program cannot run; a smoke run does not even ask for them.
    fn complete(&mut self) -> Result<()> {
        ensure!(!self.name.is_empty() && !self.name.contains('/'), "--name {:?} names no file", self.name);
        if let Some(jar) = self.peers.get("java").cloned() {
            self.peers.entry("confluent".to_owned()).or_insert(jar);
        }
        for level in Contender::PEERS {
            if self.peers.contains_key(level) || self.wish.skip.contains(level) {
                continue;
            }
            if self.sizes.scale == Scale::Smoke {
                self.wish.skip.insert(level.to_owned());
            } else {
                let reason = "no --peer names its program";
                self.wish.unavailable.entry(level.to_owned()).or_insert_with(|| reason.to_owned());
            }
        }
        Ok(())
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn peer(text: &str) -> Result<(String, String)> {
    let (level, value) = text.split_once('=').with_context(|| format!("{text:?} should be LEVEL=…"))?;
    if !Contender::PEERS.contains(&level) {
        bail!("{level:?} is no peer; peers are {}", Contender::PEERS.join(", "));
    }
    Ok((level.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task> {
        Task::parse_from(lexopt::Parser::from_args(arguments))
    }

    fn options(arguments: &[&str]) -> Options {
        match parsed(arguments) {
            Ok(Task::Climb(options)) => options,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn parts_and_levels_are_chosen_and_a_peer_without_a_program_is_named() {
        let options = options(&["--only=noop,parse", "--skip", "raw,bento", "--peer", "java=p.jar"]);
        assert_eq!(options.wish.only, ["noop", "parse"]);
        assert!(options.wish.skip.contains("raw") && options.wish.skip.contains("bento"));
        // Both of Java are one program.
        assert_eq!(options.peers["confluent"], PathBuf::from("p.jar"));
        assert_eq!(options.wish.unavailable.keys().collect::<Vec<_>>(), ["franz"]);
    }

    #[test]
    fn sizes_follow_the_scale_whatever_the_order_of_options() {
        let options = options(&["--passes", "5", "--flat-minutes", "10", "--quick", "--skip=peers"]);
        assert_eq!((options.sizes.scale, options.sizes.passes), (Scale::Quick, 5));
        assert_eq!(options.sizes.flat, Duration::from_secs(600));
        assert_eq!(options.wish.skip.len(), 4);
        assert!(self::options(&["--smoke"]).wish.skip.contains("confluent"));
    }

    #[test]
    fn the_hidden_command_and_the_plan_are_tasks_of_their_own() {
        let tasks = parsed(&[TASKS, "100", "0.5", "7"]);
        assert!(matches!(tasks, Ok(Task::Tasks { count: 100, waits: 7, .. })), "{tasks:?}");
        assert!(matches!(parsed(&["--plan"]), Ok(Task::Plan(_))));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for wrong in [
            &["--levels", "x"][..],
            &["--passes", "0"],
            &["--name", "a/b"],
            &["--peer", "x=y"],
            &["--peer", "java"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
