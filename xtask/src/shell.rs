//! Running other programs, with errors that name the command.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs it with this terminal.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start `{}`", shown(command)))
}

/// Runs it with this terminal; it must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

/// What it prints, if it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(output.status.success(), "`{}` failed ({})", shown(command), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs it, shows what it prints, and hands each line to `look` as well. The caller judges the status.
pub fn watched(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = shown(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{name}`"))?;
    let Some(pipe) = child.stdout.take() else { bail!("`{name}` has no output") };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut terminal = std::io::stdout();
    while lines.read_until(b'\n', &mut line).with_context(|| format!("cannot read from `{name}`"))? > 0 {
        // Whoever read our output may have gone: the run goes on, its exit code still counts.
        let _ = terminal.write_all(&line).and_then(|()| terminal.flush());
        look(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    child.wait().with_context(|| format!("cannot wait for `{name}`"))
}
