//! The child process that asks registries, from both sides.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::exchange::{most, parse_answer, read_request, write_answer, write_request};
use super::pull::pull;
use super::{Login, PullError, Pulled, Reference, Request};
use crate::deploy::process::{Bounds, Death, Program, Silent, confine};

/// The hidden command of this program that asks.
pub const COMMAND: &str = "pull-module";
/// All of it, from the first name that is looked up to the last byte.
const TIME: Duration = Duration::from_secs(60);
/// For the child to say that its time is over.
const GRACE: Duration = Duration::from_secs(5);
/// Address space of the child beside the module. Measured: 13 MiB of a small program; this one's file is mapped as well,
/// and has some 200 MiB.
const MEMORY: u64 = 768 << 20;

/// A registry that may be asked.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Who asks; none: anybody.
    pub login: Option<Login>,
    /// It is asked without TLS.
    pub plain_http: bool,
    /// A file of certificates that are believed besides.
    pub ca: Option<PathBuf>,
}

/// Fetches modules. Starts a process for each.
#[derive(Clone, Debug)]
pub struct Puller {
    program: Program,
    registries: BTreeMap<String, Known>,
    size: u64,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum NotPulled {
    /// Nobody said that it may be asked.
    #[error(
        "the registry {registry:?} is not among those that may be asked; add [modules.registries.{registry:?}] to the \
         configuration"
    )]
    NotKnown {
        /// Its host.
        registry: String,
    },
    /// It has no such module, or does not give it.
    #[error("{0}")]
    Refused(#[from] PullError),
    /// It takes too long.
    #[error("the registry did not give the module within {}", humantime::format_duration(TIME))]
    Time,
    /// What it answers has no end.
    #[error("the registry's answer takes more than {} MiB of memory: it is made to do that", MEMORY >> 20)]
    Memory,
    /// The process failed.
    #[error("the process that asks registries failed: {0}")]
    Process(String),
}

impl NotPulled {
    /// Another try may have another end.
    pub fn may_pass(&self) -> bool {
        !matches!(self, NotPulled::NotKnown { .. })
    }
}

impl Puller {
    /// For these registries, by host, and modules of at most `size` bytes.
    pub fn new(registries: BTreeMap<String, Known>, size: u64) -> Self {
        Puller { program: Program::own(), registries, size }
    }

    /// The same, with another copy of this program: for tests, which are programs of their own.
    pub fn of_program(program: PathBuf, registries: BTreeMap<String, Known>, size: u64) -> Self {
        Puller { program: Program::at(program), registries, size }
    }

    /// Fetches a module. Waits for the child; it is gone when this returns.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pull(&self, reference: &Reference) -> Result<Pulled, NotPulled> {
        let registry = reference.registry();
        let Some(known) = self.registries.get(registry) else {
            return Err(NotPulled::NotKnown { registry: registry.to_owned() });
        };
        let failed = |error: &dyn std::fmt::Display| NotPulled::Process(error.to_string());
        let ca = known.ca.as_ref().map(|path| {
            fs::read_to_string(path)
                .map_err(|error| failed(&format!("cannot read {}: {error}", path.display())))
        });
        let request = Request {
            reference: reference.clone(),
            plain_http: known.plain_http,
            ca: ca.transpose()?,
            login: known.login.clone(),
            size: self.size,
            time: TIME,
        };
        let mut asked = Vec::new();
        write_request(&mut asked, &request).map_err(|error| failed(&error))?;
        let memory = MEMORY.saturating_add(self.size);
        let arguments = [COMMAND.to_owned(), "--memory".to_owned(), memory.to_string()];
        let bounds = Bounds { time: TIME + GRACE, answer: most(&request) };
        let mut said = self.program.ask(arguments, asked, bounds).map_err(|silent| match silent {
            Silent::Time => NotPulled::Time,
            Silent::Unusable(error) => failed(&error),
        })?;
        let answer = std::mem::take(&mut said.answer);
        match parse_answer(answer, &request) {
            Ok(answer) => Ok(answer?),
            Err(nonsense) => Err(match said.death() {
                Death::Memory => NotPulled::Memory,
                Death::Crash(how) => failed(&format!("{nonsense} ({how})")),
            }),
        }
    }
}

/// The child: asks for what comes on standard input, and answers on standard output.
///
/// # Errors
/// If the host is gone.
pub fn serve(memory: u64) -> io::Result<()> {
    confine(memory, TIME + GRACE, 1)?;
    let request = read_request(&mut io::stdin().lock())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let answer = match runtime {
        Ok(runtime) => {
            let answer = runtime.block_on(pull(&request)).map_err(Ok);
            // A look-up that hangs is not waited for.
            runtime.shutdown_background();
            answer
        }
        Err(error) => Err(Err(format!("its runtime does not start: {error}"))),
    };
    write_answer(&mut io::stdout().lock(), &answer)
}
