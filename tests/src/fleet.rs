//! Several hosts of one group: started, stopped, killed and paused, each fault noted for the ledger.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::contender::{Contender, reason};
use crate::host::{Ended, Home, Host};
use crate::job::Job;
use crate::ledger::{Faults, now};
use crate::wait::poll_for;

/// After it was woken, a host may publish what it held until it learns that its partitions are gone, and whoever
/// has them now runs the same: at most so many milliseconds.
const WAKING: i64 = 3_000;

/// How long an orderly stop may take: the drain, the last commit, leaving, each with its bound.
const STOP: Duration = Duration::from_secs(60);

/// A place for one host, which keeps its home from run to run.
struct Member {
    home: Home,
    host: Option<Host>,
    paused_since: Option<i64>,
    /// When it was last seen to run.
    seen: i64,
}

/// Hosts of one group. Members count from 0.
pub struct Fleet<'a> {
    job: &'a Job<'a>,
    contender: Contender,
    members: Vec<Member>,
    /// Told to stop, and not ended yet.
    leaving: Vec<(usize, Host)>,
    /// Where logs of processes that have ended are kept, and how many there are.
    logs: Option<PathBuf>,
    kept: usize,
    /// What was done so far.
    pub faults: Faults,
    /// Processes of another program that ended by themselves, each with its reason.
    pub ended: Vec<String>,
    /// Processes of another program that were told to stop, and did not in time or not in order.
    pub disorderly: Vec<String>,
}

impl<'a> Fleet<'a> {
    /// Room for `count` hosts, none of which runs.
    #[must_use]
    pub fn new(job: &'a Job<'a>, count: usize) -> Self {
        Self::of(Contender::Sandmill, job, count)
    }

    /// The same of another program's processes, which are called hosts here as well.
    #[must_use]
    pub fn of(contender: Contender, job: &'a Job<'a>, count: usize) -> Self {
        let member = |_| Member { home: Home::new(), host: None, paused_since: None, seen: now() };
        Self {
            job,
            contender,
            members: (0..count).map(member).collect(),
            leaving: Vec::new(),
            logs: None,
            kept: 0,
            faults: Faults::default(),
            ended: Vec::new(),
            disorderly: Vec::new(),
        }
    }

    /// Keeps the log of each process that has ended in this folder.
    #[must_use]
    pub fn keep_logs(mut self, folder: Option<PathBuf>) -> Self {
        self.logs = folder;
        self
    }

    /// How many hosts there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.members.len()
    }

    /// Starts a host.
    ///
    /// # Panics
    /// When it runs already.
    pub fn start(&mut self, member: usize) {
        self.start_with(member, &[]);
    }

    /// Starts a host with client properties of its own.
    ///
    /// # Panics
    /// As [`Fleet::start`].
    pub fn start_with(&mut self, member: usize, properties: &[(&str, &str)]) {
        let Member { home, host, seen, .. } = &mut self.members[member];
        assert!(host.is_none(), "host {member} runs already");
        *host = Some(self.contender.start(self.job, home, properties));
        *seen = now();
    }

    /// A host that runs.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn host(&mut self, member: usize) -> &mut Host {
        self.members[member].host.as_mut().unwrap_or_else(|| panic!("host {member} does not run"))
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, member: usize) {
        let from = now();
        let ended = self.take(member).kill();
        self.keep_log(member, &ended);
        self.faults.killed(&format!("the kill of host {member}"), from);
    }

    /// SIGSTOP: it keeps its connections and does nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&mut self, member: usize) {
        self.members[member].paused_since = Some(now());
        self.host(member).signal(Signal::STOP);
    }

    /// SIGCONT after [`Fleet::pause`].
    ///
    /// # Panics
    /// When it is not paused.
    pub fn resume(&mut self, member: usize) {
        let since = self.members[member].paused_since.take();
        let since = since.unwrap_or_else(|| panic!("host {member} is not paused"));
        self.host(member).signal(Signal::CONT);
        self.faults.span(&format!("the pause of host {member}"), since, now() + WAKING);
    }

    /// SIGTERM, and waits for an orderly end.
    ///
    /// # Panics
    /// When it does not end, or not with code 0.
    #[track_caller]
    pub fn stop(&mut self, member: usize) {
        let ended = self.take(member).terminate();
        assert_eq!(ended.code, 0, "host {member}: {}", ended.stderr);
    }

    /// SIGTERM, without waiting for the end: [`Fleet::stop_all`] does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn leave(&mut self, member: usize) {
        let mut host = self.take(member);
        host.signal(Signal::TERM);
        self.leaving.push((member, host));
    }

    /// Fails the test when a host has ended by itself.
    ///
    /// # Panics
    /// With the end of its log.
    #[track_caller]
    pub fn assert_run(&mut self) {
        self.members.iter_mut().filter_map(|member| member.host.as_mut()).for_each(Host::assert_runs);
    }

    /// Looks after the processes: a host of ours that has ended by itself fails the test; another program's is
    /// noted and started again, as a supervisor would.
    ///
    /// # Panics
    /// As [`Fleet::assert_run`], and where another program ends before it has begun.
    #[track_caller]
    pub fn tend(&mut self) {
        if self.contender.is_own() {
            return self.assert_run();
        }
        for number in 0..self.members.len() {
            let Member { host: Some(host), paused_since: None, seen, .. } = &mut self.members[number] else {
                continue;
            };
            if !host.has_ended() {
                *seen = now();
                continue;
            }
            let from = *seen;
            let ended = self.take(number).kill();
            assert!(self.contender.has_begun(&ended), "it cannot even start: {}", ended.stderr);
            let file = self.keep_log(number, &ended);
            self.faults.killed(&format!("the end of host {number} by itself"), from);
            let end = format!("host {number}, code {}: {}{file}", ended.code, reason(&ended.stderr));
            println!("          {end}");
            self.ended.push(end);
            self.start(number);
        }
    }

    /// SIGTERM to all that run, then waits until all have ended. What another program's processes do instead of
    /// ending in order is noted.
    ///
    /// # Panics
    /// When one of ours does not end, or not with code 0.
    #[track_caller]
    pub fn stop_all(&mut self) {
        let members = self.members.iter_mut().enumerate();
        let mut hosts: Vec<(usize, Host)> =
            members.filter_map(|(number, member)| Some((number, member.host.take()?))).collect();
        hosts.iter_mut().for_each(|(_, host)| host.signal(Signal::TERM));
        hosts.append(&mut self.leaving);
        for (number, mut host) in hosts {
            if self.contender.is_own() {
                let ended = host.end(STOP);
                self.keep_log(number, &ended);
                assert!(self.contender.left_in_order(&ended), "code {}: {}", ended.code, ended.stderr);
                continue;
            }
            let in_time = poll_for("it has ended", STOP, || host.has_ended().then_some(())).is_ok();
            let ended = host.kill();
            let file = self.keep_log(number, &ended);
            if !in_time {
                self.disorderly.push(format!("still ran {STOP:?} after it was told to stop{file}"));
            } else if !self.contender.left_in_order(&ended) {
                self.disorderly.push(format!("code {}: {}{file}", ended.code, reason(&ended.stderr)));
            }
        }
    }

    /// Keeps a log if logs are kept, and says where.
    fn keep_log(&mut self, number: usize, ended: &Ended) -> String {
        let Some(folder) = &self.logs else { return String::new() };
        self.kept += 1;
        let file = folder.join(format!("{}-host-{number}.log", self.kept));
        let kept = fs::create_dir_all(folder).and_then(|()| fs::write(&file, &ended.stderr));
        match kept {
            Ok(()) => format!(" ({})", file.display()),
            Err(error) => format!(" (its log cannot be kept: {error})"),
        }
    }

    /// Members that run, paused or not.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        self.list(|member| member.host.is_some())
    }

    /// Members that run and are not paused.
    #[must_use]
    pub fn awake(&self) -> Vec<usize> {
        self.list(|member| member.host.is_some() && member.paused_since.is_none())
    }

    /// Members that are paused.
    #[must_use]
    pub fn paused(&self) -> Vec<usize> {
        self.list(|member| member.paused_since.is_some())
    }

    /// The partitions of the input of which a host shows series.
    pub fn partitions(&mut self, member: usize) -> BTreeSet<String> {
        let input = self.job.input.clone();
        partitions(self.host(member), &input)
    }

    fn list(&self, holds: impl Fn(&Member) -> bool) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        members.filter(|(_, member)| holds(member)).map(|(number, _)| number).collect()
    }

    fn take(&mut self, member: usize) -> Host {
        let host = self.members[member].host.take();
        self.members[member].paused_since = None;
        host.unwrap_or_else(|| panic!("host {member} does not run"))
    }
}

/// The partitions of a topic of which a host shows series.
pub fn partitions(host: &mut Host, topic: &str) -> BTreeSet<String> {
    let Some((200, _)) = host.get("/metrics") else { return BTreeSet::new() };
    host.metrics()
        .matching("consumer_parallel_lag", &[("topic", topic)])
        .filter_map(|series| series.labels.get("partition").cloned())
        .collect()
}
