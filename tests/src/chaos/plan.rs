//! Who breaks when: made from the seed alone, before anything runs.
//!
//! At most one node is away at a time, since two of three have to have what is acknowledged; one host at least is
//! awake at any time. At the end everything that sleeps or is away comes back.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// The first fault comes when the first hosts are in their group.
const QUIET_START: Duration = Duration::from_secs(4);

/// The last fault lies so long before the end that its consequences show.
const QUIET_END: Duration = Duration::from_secs(8);

/// Seconds from one step to the next. A group needs a session (3 s) to notice that a host is gone and two rounds
/// to share its partitions; with a fault every second and a half it never settles, and partitions stay without
/// an owner for longer than a run may stand still.
const BETWEEN: (f64, f64) = (1.5, 6.0);

/// Whom a step is about, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A host.
    Host(usize),
    /// A broker.
    Node(usize),
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Starts, for the first time or again.
    Start,
    /// SIGTERM.
    Leave,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

/// One step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// After the start.
    pub at: Duration,
    /// Whom it is about.
    pub who: Who,
    /// What happens.
    pub act: Act,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Start => "starts",
            Act::Leave => "leaves",
            Act::Kill => "is killed",
            Act::Pause => "is paused",
            Act::Resume => "wakes up",
        };
        match self.who {
            Who::Host(number) => write!(f, "host {number} {act}"),
            Who::Node(number) => write!(f, "node {number} {act}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Off,
    Awake,
    Asleep,
}

struct Planner {
    random: Rng,
    hosts: Vec<Host>,
    node_away: bool,
    steps: Vec<Step>,
    /// What was broken for a time, and when it comes back.
    due: Vec<Step>,
}

/// The steps of a run of this length with room for `hosts` hosts, in order. The same for the same arguments.
#[must_use]
pub fn plan(seed: u64, time: Duration, hosts: usize) -> Vec<Step> {
    let mut planner = Planner {
        random: Rng::with_seed(seed),
        hosts: vec![Host::Off; hosts],
        node_away: false,
        steps: Vec::new(),
        due: Vec::new(),
    };
    planner.start(Duration::ZERO, 0);
    planner.start(Duration::ZERO, 1);
    let mut at = QUIET_START;
    while at < time.saturating_sub(QUIET_END) {
        planner.mend(at);
        planner.step(at);
        at += planner.seconds(BETWEEN.0, BETWEEN.1);
    }
    planner.mend(Duration::MAX);
    planner.steps
}

impl Planner {
    fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(least + self.random.f64() * (most - least))
    }

    /// Takes the steps that are due before `at`.
    fn mend(&mut self, at: Duration) {
        self.due.sort_by_key(|step| step.at);
        let later = self.due.split_off(self.due.partition_point(|step| step.at <= at));
        for step in std::mem::replace(&mut self.due, later) {
            match step.who {
                Who::Host(host) => self.hosts[host] = Host::Awake,
                Who::Node(_) => self.node_away = false,
            }
            self.steps.push(step);
        }
    }

    /// Takes one step of those that are possible.
    fn step(&mut self, at: Duration) {
        let awake = self.hosts.iter().filter(|host| **host == Host::Awake).count();
        loop {
            let (host, node) = (self.random.usize(0..self.hosts.len()), self.random.usize(0..3));
            match (self.random.u8(0..8), self.hosts[host]) {
                (0..=2, Host::Off) => return self.start(at, host),
                (0..=2, Host::Awake) if awake > 1 => return self.end(at, host, Act::Kill),
                (3, Host::Awake) if awake > 1 => return self.end(at, host, Act::Leave),
                (4..=5, Host::Awake) if awake > 1 => {
                    self.hosts[host] = Host::Asleep;
                    return self.for_a_time(at, Who::Host(host), Act::Pause, Act::Resume, (1.0, 10.0));
                }
                (6, _) if !self.node_away => {
                    self.node_away = true;
                    return self.for_a_time(at, Who::Node(node), Act::Kill, Act::Start, (2.0, 6.0));
                }
                (7, _) if !self.node_away => {
                    self.node_away = true;
                    return self.for_a_time(at, Who::Node(node), Act::Pause, Act::Resume, (1.0, 8.0));
                }
                // With one host awake and a node away only a start is possible, or nothing.
                _ if awake == 1 && self.node_away && !self.hosts.contains(&Host::Off) => return,
                _ => {}
            }
        }
    }

    fn start(&mut self, at: Duration, host: usize) {
        self.hosts[host] = Host::Awake;
        self.steps.push(Step { at, who: Who::Host(host), act: Act::Start });
    }

    fn end(&mut self, at: Duration, host: usize, act: Act) {
        self.hosts[host] = Host::Off;
        self.steps.push(Step { at, who: Who::Host(host), act });
    }

    fn for_a_time(&mut self, at: Duration, who: Who, act: Act, back: Act, seconds: (f64, f64)) {
        self.steps.push(Step { at, who, act });
        let away = self.seconds(seconds.0, seconds.1);
        self.due.push(Step { at: at + away, who, act: back });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        let minute = Duration::from_secs(60);
        assert_eq!(plan(7, minute, 4), plan(7, minute, 4));
        assert_ne!(plan(7, minute, 4), plan(8, minute, 4));
    }

    #[test]
    fn one_host_is_awake_one_node_at_most_is_away_and_all_comes_back() {
        for seed in 0..200 {
            let (mut hosts, mut away, mut last) = (vec![Host::Off; 4], None, Duration::ZERO);
            for step in plan(seed, Duration::from_secs(300), 4) {
                assert!(last <= step.at, "seed {seed}: in order");
                last = step.at;
                match (step.who, step.act) {
                    (Who::Host(host), act) => {
                        let (before, after) = match act {
                            Act::Start => (Host::Off, Host::Awake),
                            Act::Leave | Act::Kill => (Host::Awake, Host::Off),
                            Act::Pause => (Host::Awake, Host::Asleep),
                            Act::Resume => (Host::Asleep, Host::Awake),
                        };
                        assert_eq!(hosts[host], before, "seed {seed}: {step}");
                        hosts[host] = after;
                    }
                    (Who::Node(node), Act::Start | Act::Resume) => assert_eq!(away.take(), Some(node)),
                    (Who::Node(node), _) => assert_eq!(away.replace(node), None, "seed {seed}: {step}"),
                }
                assert!(hosts.contains(&Host::Awake), "seed {seed}: nobody is awake after {step}");
            }
            assert!(away.is_none() && !hosts.contains(&Host::Asleep), "seed {seed}");
        }
    }
}
