//! Versions of a handler that can be told apart, and the operator who deploys them.

use std::fs;
use std::path::{Path, PathBuf};

use sandmill::wasm::Digest;
use serde_json::Value;

use crate::guests::guest;
use crate::host::{Ended, Home, Host};

/// How a build goes about records at offsets that four divides; all others it just handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It handles them.
    Works,
    /// It rejects them.
    Fails,
    /// It traps on them.
    Traps,
    /// It computes for some milliseconds on each.
    Waits,
    /// It writes something else.
    Other,
}

impl Manner {
    fn word(self) -> &'static str {
        match self {
            Manner::Works => "works",
            Manner::Fails => "fails",
            Manner::Traps => "traps",
            Manner::Waits => "waits",
            Manner::Other => "other",
        }
    }
}

/// What build `number` writes for each record.
#[must_use]
pub fn name(number: u32) -> String {
    format!("stamp-build-{number:04}")
}

/// The module that says it is this build, and has this manner.
///
/// # Panics
/// When the guest was not built, or is not what it should be.
#[must_use]
pub fn build(number: u32, manner: Manner) -> Vec<u8> {
    let mut module = fs::read(guest("stamp")).expect("the handler was built");
    let mut replace = |own: &str, by: &str| {
        let (own, by) = (own.as_bytes(), by.as_bytes());
        let places: Vec<usize> = (0..module.len()).filter(|&at| module[at..].starts_with(own)).collect();
        let [at] = places[..] else { panic!("it stands in the module {} times", places.len()) };
        module[at..at + own.len()].copy_from_slice(by);
    };
    replace(&name(0), &name(number));
    replace("stamp-manner-works", &format!("stamp-manner-{}", manner.word()));
    module
}

/// Names the module in metrics.
#[must_use]
pub fn version_of(module: &[u8]) -> String {
    Digest::of(module).short()
}

/// Puts a module in the place of what is there, as deploys do: it is written elsewhere and renamed.
///
/// # Panics
/// When the folder cannot be written to.
pub fn put(path: &Path, module: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, module).expect("the folder can be written to");
    fs::rename(new, path).expect("it takes the other's place");
}

/// Who deploys to one pipeline of a host, with the commands of the program.
pub struct Operator<'h> {
    home: &'h Home,
    pipeline: String,
    url: String,
}

impl<'h> Operator<'h> {
    /// Of this pipeline. The host has to run in this home, where its token is.
    ///
    /// # Panics
    /// When the host does not listen.
    #[must_use]
    pub fn of(home: &'h Home, host: &mut Host, pipeline: &str) -> Self {
        Self { home, pipeline: pipeline.to_owned(), url: host.url() }
    }

    /// A file of this module.
    #[must_use]
    pub fn file(&self, name: &str, module: &[u8]) -> PathBuf {
        self.home.file(name, module)
    }

    /// Runs a command for this pipeline.
    #[must_use]
    pub fn run(&self, command: &str, arguments: &[&str]) -> Ended {
        let fixed = [command, &self.pipeline, "--url", &self.url];
        self.home.run(&[&fixed[..], arguments].concat())
    }

    /// The same; the JSON that it prints.
    ///
    /// # Panics
    /// When it prints none.
    #[must_use]
    pub fn ask(&self, command: &str, arguments: &[&str]) -> Value {
        let ended = self.run(command, &[arguments, &["--json"]].concat());
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{command} printed no JSON ({error}): {ended:?}"))
    }

    /// Deploys a module, which is expected to succeed; what the command says of it.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn deploy(&self, module: &[u8], arguments: &[&str]) -> Value {
        let file = self.file("stamp.module.wasm", module);
        let story = self.ask("deploy", &[&[file.to_str().expect("text")], arguments].concat());
        assert_eq!(story["state"], "done", "{story:#}");
        story
    }

    /// The versions.
    #[must_use]
    pub fn versions(&self) -> Value {
        self.ask("versions", &[])
    }
}
