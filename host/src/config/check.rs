//! What must hold between the keys: checked once the file, the environment and the flags are one.
//!
//! Every check runs, whatever the others found.

use std::collections::BTreeSet;

use super::bounds::BOUNDS;
use super::error::Findings;
use super::tree::{Node, Step, in_pipeline};
use super::{Config, Pipeline, Then, capabilities};

/// An output is named by one byte in the handler's answer; the last value is taken.
const MAX_OUTPUTS: usize = 255;

pub(super) fn check(config: &Config, tree: &Node, findings: &mut Findings) {
    let mut checks = Checks { tree, findings };
    for bound in BOUNDS {
        if let Some(problem) = bound.check_host(&config.host) {
            let path: Vec<Step> = bound.key.split('.').map(Step::from).collect();
            checks.report(&path, &problem);
        }
    }
    if config.pipelines.is_empty() {
        checks.findings.add(tree.at.clone(), "no pipeline; add a [[pipeline]] with name, handler and input");
    }
    for (n, pipeline) in config.pipelines.iter().enumerate() {
        checks.names(n, pipeline);
        checks.topics(n, pipeline);
        checks.amounts(n, pipeline, config);
        checks.failure(n, pipeline);
        checks.capabilities(n, pipeline);
        checks.metrics(n, pipeline, pipeline);
        for (other, earlier) in config.pipelines[..n].iter().enumerate() {
            checks.pair(n, pipeline, other, earlier);
        }
    }
}

struct Checks<'a> {
    tree: &'a Node,
    findings: &'a mut Findings,
}

impl Checks<'_> {
    fn report(&mut self, path: &[Step], problem: &str) {
        self.findings.add(self.tree.origin(path), format!("{}: {problem}", self.tree.key_name(path)));
    }

    /// Reports a required key that is absent (or empty, which says as little). True if it is there.
    fn required(&mut self, n: usize, key: &str, empty: bool, example: &str) -> bool {
        let path = in_pipeline(n, key);
        match self.tree.get(&path) {
            None => {
                let table = in_pipeline(n, "");
                let name = self.tree.table_name(&table);
                self.findings
                    .add(self.tree.origin(&table), format!("missing key {key:?} in {name}; add {example}"));
            }
            Some(_) if empty => self.report(&path, &format!("must not be empty; write {example}")),
            Some(_) => return true,
        }
        false
    }

    fn names(&mut self, n: usize, pipeline: &Pipeline) {
        let name = &pipeline.name;
        if self.required(n, "name", name.is_empty(), "name = \"access-log\"") && !is_pipeline_name(name) {
            self.report(
                &in_pipeline(n, "name"),
                &format!(
                    "{name:?} is not a name; write 1 to 63 of a-z, 0-9, \".\", \"_\", \"-\", first a letter or a digit"
                ),
            );
        }
        let no_handler = pipeline.handler.as_os_str().is_empty();
        self.required(n, "handler", no_handler, "handler = \"handlers/access_log.wasm\"");
        let group = &pipeline.group;
        if group.trim().is_empty() || group.len() > 255 || group.chars().any(char::is_control) {
            self.report(
                &in_pipeline(n, "group"),
                &format!("{group:?} is not a consumer group; write 1 to 255 printable bytes"),
            );
        }
    }

    fn topics(&mut self, n: usize, pipeline: &Pipeline) {
        let dead_letters = pipeline.on_failure.dead_letter_topic.as_ref();
        self.required(n, "input", pipeline.input.is_empty(), "input = [\"orders\"]");
        for (key, topics) in [("input", &pipeline.input), ("outputs", &pipeline.outputs)] {
            let mut seen = BTreeSet::new();
            for (item, topic) in topics.iter().enumerate() {
                // Variables and flags give a list as one text, which has no items to point at.
                let path = [in_pipeline(n, key), vec![Step::from(item)]].concat();
                self.topic(&path, topic);
                if !seen.insert(topic) {
                    self.report(&path, &format!("topic {topic:?} stands twice in the list; remove one"));
                }
                if key == "outputs" && pipeline.input.contains(topic) {
                    self.report(
                        &path,
                        &format!(
                            "topic {topic:?} is also an input, so records would go round for ever; write to \
                             another topic"
                        ),
                    );
                }
            }
        }
        if pipeline.outputs.len() > MAX_OUTPUTS {
            let found = pipeline.outputs.len();
            self.report(
                &in_pipeline(n, "outputs"),
                &format!(
                    "{found} topics; a pipeline can have at most {MAX_OUTPUTS}: make two pipelines of it"
                ),
            );
        }
        if let Some(topic) = dead_letters {
            let path = in_pipeline(n, "on_failure.dead_letter_topic");
            self.topic(&path, topic);
            if pipeline.input.contains(topic) {
                self.report(
                    &path,
                    &format!(
                        "topic {topic:?} is also an input, so failed records would go round for ever; write \
                         another topic"
                    ),
                );
            }
        }
    }

    fn topic(&mut self, path: &[Step], topic: &str) {
        if !is_topic_name(topic) {
            self.report(
                path,
                &format!(
                    "{topic:?} is not a topic; Kafka allows 1 to 249 of a-z, A-Z, 0-9, \".\", \"_\", \"-\""
                ),
            );
        }
    }

    fn amounts(&mut self, n: usize, pipeline: &Pipeline, config: &Config) {
        for bound in BOUNDS {
            if let Some(problem) = bound.check_pipeline(pipeline) {
                self.report(&in_pipeline(n, bound.key), &problem);
            }
        }
        let Pipeline { batch, in_flight, limits, .. } = pipeline;
        let backoff = pipeline.on_failure.backoff;
        let memory = config.host.guest_memory;
        let pairs = [
            (
                batch.records > in_flight.records,
                ("batch.records", batch.records.to_string()),
                ("in_flight.records", in_flight.records.to_string()),
                "a batch would never fill",
            ),
            (
                batch.bytes > in_flight.bytes,
                ("batch.bytes", batch.bytes.to_string()),
                ("in_flight.bytes", in_flight.bytes.to_string()),
                "a batch would never fill",
            ),
            (
                batch.bytes >= limits.memory,
                ("batch.bytes", batch.bytes.to_string()),
                ("limits.memory", limits.memory.to_string()),
                "a batch would not fit into the instance",
            ),
            (
                limits.memory > limits.total_memory,
                ("limits.memory", limits.memory.to_string()),
                ("limits.total_memory", limits.total_memory.to_string()),
                "no instance could take what it may",
            ),
            (
                backoff.first > backoff.max,
                ("on_failure.backoff.first", humantime::format_duration(backoff.first).to_string()),
                ("on_failure.backoff.max", humantime::format_duration(backoff.max).to_string()),
                "the first pause would be longer than the longest",
            ),
        ];
        for (wrong, (key, value), (other, limit), why) in pairs {
            if wrong {
                // At the one that somebody wrote, if only one is written.
                let (here, there) = (in_pipeline(n, key), in_pipeline(n, other));
                let path = if self.tree.get(&here).is_some() { here } else { there };
                self.report(
                    &path,
                    &format!("{key} is {value}, {other} is {limit}: {why}; change one of them"),
                );
            }
        }
        let total = in_pipeline(n, "limits.total_memory");
        if limits.total_memory > memory && self.tree.get(&total).is_some() {
            let problem = format!(
                "{} is more than the host may give to all instances (guest_memory in [host]: {memory}); change one of \
                 them",
                limits.total_memory
            );
            self.report(&total, &problem);
        }
        if limits.memory > memory {
            let path = in_pipeline(n, "limits.memory");
            if self.tree.get(&path).is_some() {
                let problem = format!(
                    "{} is more than the host may give to all instances (guest_memory in [host]: {memory}); change one \
                     of them",
                    limits.memory
                );
                self.report(&path, &problem);
            } else {
                let problem = format!(
                    "{memory} is less than one instance of {:?} may have (memory in [pipeline.limits]: {}); change one \
                     of them",
                    pipeline.name, limits.memory
                );
                self.report(&["host".into(), "guest_memory".into()], &problem);
            }
        }
    }

    fn failure(&mut self, n: usize, pipeline: &Pipeline) {
        let policy = &pipeline.on_failure;
        if policy.then == Then::DeadLetter && policy.dead_letter_topic.is_none() {
            self.report(
                &in_pipeline(n, "on_failure.then"),
                "\"dead-letter\" needs a topic; add dead_letter_topic = \"…\" beside it",
            );
        }
    }

    fn capabilities(&mut self, n: usize, pipeline: &Pipeline) {
        for (item, method) in pipeline.allow.http_methods.iter().enumerate() {
            if let Some(problem) = capabilities::problem_of_method(method) {
                let path = [in_pipeline(n, "allow.http_methods"), vec![Step::from(item)]].concat();
                self.report(&path, &problem);
            }
        }
        for (item, origin) in pipeline.allow.http.iter().enumerate() {
            if pipeline.allow.http[..item].contains(origin) {
                let path = [in_pipeline(n, "allow.http"), vec![Step::from(item)]].concat();
                self.report(&path, &format!("{origin} stands twice in the list; remove one"));
            }
        }
        if let Some(problem) = capabilities::too_many(pipeline.metrics.len()) {
            self.report(&in_pipeline(n, "metrics"), &problem);
        }
        for (name, metric) in &pipeline.metrics {
            if let Some((key, problem)) = capabilities::problem(name, metric) {
                let steps = std::iter::once(name.as_str()).chain((!key.is_empty()).then_some(key));
                let path = [in_pipeline(n, "metrics"), steps.map(Step::from).collect()].concat();
                self.report(&path, &problem);
            }
        }
    }

    /// Two metrics share a name on the endpoint only if they mean the same: Prometheus knows one type for each.
    fn metrics(&mut self, n: usize, pipeline: &Pipeline, earlier: &Pipeline) {
        let is_same = pipeline.name == earlier.name;
        for (name, metric) in &pipeline.metrics {
            let series = capabilities::series_of(name, metric);
            let clash = earlier.metrics.iter().find(|(other, declared)| {
                // Of two in one pipeline the later one is told.
                let is_meant = if is_same {
                    *other < name
                } else {
                    *other != name || !capabilities::alike(metric, declared)
                };
                is_meant && capabilities::series_of(other, declared).iter().any(|one| series.contains(one))
            });
            if let Some((other, _)) = clash {
                let problem = format!(
                    "pipeline {:?} has the metric {other:?}, which would have the same name on the endpoint with another \
                     kind, other labels or other buckets; choose another name, or make them alike",
                    earlier.name
                );
                self.report(&[in_pipeline(n, "metrics"), vec![Step::from(name.as_str())]].concat(), &problem);
            }
        }
    }

    fn pair(&mut self, n: usize, pipeline: &Pipeline, other: usize, earlier: &Pipeline) {
        self.metrics(n, pipeline, earlier);
        if pipeline.name.is_empty() {
            return;
        }
        if pipeline.name == earlier.name {
            let at = self.tree.origin(&in_pipeline(other, "name"));
            self.report(
                &in_pipeline(n, "name"),
                &format!("another pipeline has the name {:?} ({at}); choose another", pipeline.name),
            );
            // Their groups are equal because the names are.
            return;
        }
        let brokers = |pipeline: &Pipeline| pipeline.kafka.get("bootstrap.servers").map(str::to_owned);
        let shared = pipeline.input.iter().find(|topic| earlier.input.contains(topic));
        if let (Some(topic), true, true) =
            (shared, pipeline.group == earlier.group, brokers(pipeline) == brokers(earlier))
        {
            self.report(
                &in_pipeline(n, "group"),
                &format!(
                    "pipeline {:?} reads topic {topic:?} with the same group {:?}, so each would see only a part \
                     of the records; give each its own group",
                    earlier.name, pipeline.group
                ),
            );
        }
    }
}

fn is_pipeline_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 63
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b"._-".contains(&b))
}

fn is_topic_name(topic: &str) -> bool {
    (1..=249).contains(&topic.len())
        && topic != "."
        && topic != ".."
        && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
