//! Confluent's Parallel Consumer, in a process that answers a line with a line.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::Written;
use crate::patterns::{BASE, Pattern};

/// The process. It ends when its input does.
#[derive(Debug)]
pub(crate) struct Confluent {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    chars: usize,
    encoding: String,
}

impl Confluent {
    pub(crate) fn start(jar: &Path) -> Result<Self> {
        let mut child = Command::new("java")
            .args(["-Xmx1g", "-jar"])
            .arg(jar)
            .arg("metadata")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start java")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("it has no output")?);
        Ok(Self { child, input, output })
    }

    /// What it would commit.
    pub(crate) fn written(&mut self, pattern: &Pattern) -> Result<Written> {
        let mut line = format!("{BASE} {}", pattern.end());
        for range in pattern.ranges() {
            write!(line, " {}-{}", range.start, range.end).context("a string takes everything")?;
        }
        line.push('\n');
        let input = self.input.as_mut().context("it has no input")?;
        input.write_all(line.as_bytes()).and_then(|()| input.flush()).context("java ended")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer).context("java ended")?;
        ensure!(!answer.is_empty(), "java ended without an answer; it says why above");
        let Answer { chars, encoding } =
            serde_json::from_str(&answer).with_context(|| format!("no answer: {answer:?}"))?;
        Ok(Written { chars, encoding })
    }
}

impl Drop for Confluent {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has nothing left to do, and nobody asks how it ended.
        let _ = self.child.wait();
    }
}
