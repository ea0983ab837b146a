//! Ends what the tests started, however the test process ends.
//!
//! Statics are never dropped and a killed process runs no destructor, but a pipe closes in every case.
//! The reaper is one shell that reads from such a pipe: at its end it kills every process that is
//! still on the list (one file a process, named by its id) and removes the run's folder. It stands in
//! a process group of its own, so that an interrupt from the terminal does not take it first.

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::poll_for;

const SCRIPT: &str = r#"
read -r _
for file in "$1"/processes/*; do
  [ -e "$file" ] && kill -KILL "${file##*/}" 2>/dev/null
done
for try in 1 2 3 4 5; do rm -rf "$1" && break; sleep 0.2; done
"#;

struct Reaper {
    root: PathBuf,
    /// Holds the pipe's end for which the shell waits.
    _shell: Child,
}

static REAPER: LazyLock<Reaper> = LazyLock::new(|| {
    let root = tempfile::Builder::new()
        .prefix("sandmill-tests-")
        .tempdir()
        .expect("the temporary directory takes a folder")
        .keep();
    fs::create_dir(root.join("processes")).expect("a fresh folder takes another");
    let shell = Command::new("sh")
        .args(["-c", SCRIPT, "reaper"])
        .arg(&root)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("there is a shell");
    Reaper { root, _shell: shell }
});

/// A folder of this run's own, removed when the test process has ended.
///
/// # Panics
/// When the temporary directory takes no folder.
#[must_use]
pub fn folder(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(&REAPER.root)
        .expect("the run's folder takes another")
}

/// A process that is killed when it is dropped, or by the reaper.
#[derive(Debug)]
pub struct Process {
    child: Child,
    entry: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, out of reach of the terminal's interrupt.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let entry = REAPER.root.join("processes").join(child.id().to_string());
        fs::write(&entry, "")?;
        Ok(Self { child, entry })
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; a process that has ended takes none.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It cannot have been reaped by anyone else, so the id is still its own.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child can be waited for");
        if status.is_some() {
            let _ = fs::remove_file(&self.entry);
        }
        status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let what = format!("process {} ended", self.child.id());
        poll_for(&what, limit, || self.ended())
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("a child can be waited for");
        let _ = fs::remove_file(&self.entry);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The exit code, or the signal as a negative number.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// Whether a process of this id exists.
#[must_use]
pub fn exists(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn(Command::new("sleep").arg("600")).unwrap();
        let id = process.id();
        assert!(exists(id));
        drop(process);
        assert!(!exists(id));
    }

    #[test]
    fn the_end_of_the_pipe_kills_what_is_listed_and_removes_the_folder() {
        let root = tempfile::tempdir().unwrap().keep();
        fs::create_dir(root.join("processes")).unwrap();
        let mut stray = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(root.join("processes").join(stray.id().to_string()), "").unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(&root)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        drop(shell.stdin.take());
        assert_eq!(code(stray.wait().unwrap()), -9);
        shell.wait().unwrap();
        assert!(!root.exists());
    }
}
