//! Whether a peer makes the same JSON of the log as the handler, byte for byte: who parses less is quicker.
//!
//! Where the JSON goes to a topic, every run is held against it anyway; this is for the runs that throw it away.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sandmill::bench::{content, native::access_log};

use crate::programs::Programs;
use crate::rung::Contender;

/// Checks a peer; levels of our own are the same source as the handler.
pub(crate) fn run(programs: &Programs, contender: &Contender) -> Result<()> {
    let Some(mut command) = programs.selfcheck(contender)? else { return Ok(()) };
    let lines = content::log()?;
    let folder = sandmill_tests::reaper::folder("selfcheck");
    let file = folder.path().join("access.log");
    std::fs::write(&file, &lines).with_context(|| format!("cannot write {}", file.display()))?;
    let said = output(command.arg("--selfcheck").arg(&file))?;
    compare(&expected(&lines)?, &said)
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {errors}", output.status);
    Ok(output.stdout)
}

/// One line of JSON for each line of the log.
fn expected(lines: &[u8]) -> Result<Vec<u8>> {
    let mut json = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        access_log::to_json(Some(line), &mut json).map_err(anyhow::Error::msg)?;
        json.push(b'\n');
    }
    Ok(json)
}

fn compare(expected: &[u8], said: &[u8]) -> Result<()> {
    let line = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let mut lines = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (at, right) in expected.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let own = lines.next().with_context(|| format!("it ends before line {}", at + 1))?;
        ensure!(own == right, "line {} is other JSON:\n{}\ninstead of\n{}", at + 1, line(own), line(right));
    }
    ensure!(lines.next().is_none(), "it goes on behind the last line");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let expected = expected(&content::log().expect("the log is whole")).expect("all lines parse");
        assert_eq!(expected.iter().filter(|byte| **byte == b'\n').count(), 10_000);
        assert!(compare(&expected, &expected).is_ok());
        let problem = |said: &[u8]| compare(&expected, said).expect_err("it differs").to_string();
        assert!(problem(&expected[..1_000]).starts_with("line "));
        let mut other = expected.clone();
        let second = expected.iter().position(|byte| *byte == b'\n').expect("there are lines") + 5;
        other[second] ^= 1;
        assert!(problem(&other).starts_with("line 2 is other JSON"), "{}", problem(&other));
        assert_eq!(problem(&[&expected[..], b"{}"].concat()), "it goes on behind the last line");
        assert_eq!(problem(b""), "it ends before line 1");
    }
}
