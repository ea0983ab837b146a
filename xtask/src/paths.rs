//! Where things are: the repository, the target folder, the cache.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The main workspace.
pub const MAIN: &str = ".";

/// Workspaces beside it, which test natively and need neither Wasm nor Kafka.
pub const BESIDE: [&str; 2] = [SDK, EXAMPLES];

/// The guest SDK.
pub const SDK: &str = "guest-sdk";

/// The example handlers.
pub const EXAMPLES: &str = "examples-wasm";

/// The folders that tasks use.
pub struct Paths {
    /// The repository.
    pub root: PathBuf,
    /// What is compiled goes here: `CARGO_TARGET_DIR`, or `target` in the repository.
    pub target: PathBuf,
    /// What is fetched goes here, and stays from run to run: `sandmill` in the user's cache folder.
    pub cache: PathBuf,
}

impl Paths {
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask stands in a folder of the repository")?
            .to_owned();
        let target = named("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target"));
        let target = env::current_dir().context("no current directory")?.join(target);
        let cache = match named("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
            Some(folder) => folder,
            None => named("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?.join(".cache"),
        };
        Ok(Self { root, target, cache: cache.join("sandmill") })
    }

    /// The host's binary, as the release profile builds it.
    pub fn binary(&self) -> PathBuf {
        self.target.join("release").join("sandmill")
    }

    /// The target folder of the guests, which compile for Wasm with a lock file of their own.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// A command that runs in the repository.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The cargo that runs this task, for the main workspace.
    pub fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Builds the main workspace. One command, so that the dependencies are built once: cargo chooses their features
    /// by what is asked for.
    pub fn build(&self) -> Command {
        let mut cargo = self.cargo();
        cargo.args(["build", "--release", "--workspace", "--all-targets"]);
        cargo
    }

    /// [`Paths::cargo`] for the workspace in `folder`. Cargo takes settings (`.cargo/`) from the folder in which it
    /// runs, so it runs there; the other workspaces have a target folder of their own.
    pub fn cargo_in(&self, folder: &str) -> Command {
        let mut cargo = self.cargo();
        if folder != MAIN {
            cargo.current_dir(self.root.join(folder)).env("CARGO_TARGET_DIR", self.guests());
        }
        cargo
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
