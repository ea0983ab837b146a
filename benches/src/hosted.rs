//! A host that a part drives itself: the binary as a user runs it, with one pipeline.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sandmill_tests::guests::guest;
use sandmill_tests::host::{Home, Host};
use sandmill_tests::unique;
use serde_json::Value;

use crate::session::Session;

/// For a host to start and to get its partitions.
const START: Duration = Duration::from_secs(60);
/// For a host to catch up once nothing is produced any more.
const CATCH_UP: Duration = Duration::from_secs(120);

/// A pipeline to be.
pub(crate) struct Pipeline<'a> {
    session: &'a Session,
    group: String,
    input: String,
    arguments: Vec<String>,
}

impl<'a> Pipeline<'a> {
    /// This handler on this topic, everything else as by default.
    pub(crate) fn new(session: &'a Session, handler: &str, input: &str) -> Self {
        let group = unique("ladder");
        let handler = guest(handler).display().to_string();
        let bootstrap = session.kafka.bootstrap();
        let arguments = [
            "run",
            &handler,
            "--brokers",
            &bootstrap,
            "--input",
            input,
            "--group",
            &group,
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        Self { session, arguments: arguments.map(str::to_owned).to_vec(), group, input: input.to_owned() }
    }

    pub(crate) fn output(mut self, topic: &str) -> Self {
        self.arguments.extend(["--output".to_owned(), topic.to_owned()]);
        self
    }

    pub(crate) fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        self
    }

    /// Starts the host in the session's home and waits until it has its partitions.
    pub(crate) fn start(&self) -> Host {
        let mut host = self.spawn(&self.session.home);
        host.wait_for_log("\"message\":\"assigned\"", START);
        host
    }

    /// Starts the host and waits for nothing.
    pub(crate) fn spawn(&self, home: &Home) -> Host {
        home.spawn(&self.arguments)
    }

    /// Waits until everything that the input holds is committed, then stops the host.
    pub(crate) fn finish(&self, mut host: Host) -> Result<()> {
        let Self { session, group, input, .. } = self;
        let ends = session.cluster.ends(input)?;
        host.wait_until("all of the input was committed", CATCH_UP, |_| {
            let committed = session.kafka.committed_offsets(group, input);
            ends.iter().all(|(partition, end)| *end == 0 || committed.get(partition) == Some(end))
        });
        let ended = host.terminate();
        ensure!(ended.code == 0, "the host ended with code {}:\n{}", ended.code, ended.stderr);
        Ok(())
    }
}

/// A whole number in the status of a host's only pipeline, by its path: `/totals/in_flight`.
pub(crate) fn counted(status: &Value, path: &str) -> Result<u64> {
    status["pipelines"][0]
        .pointer(path)
        .and_then(Value::as_u64)
        .with_context(|| format!("the status has no {path}"))
}
