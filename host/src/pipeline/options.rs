//! A pipeline's configuration in the words of the parts that it configures.

use std::time::Duration;

use crate::config;
use crate::dispatch::pacing::{Allowance, Bounds as CallBounds};
use crate::dispatch::{FailurePolicy, Ordering, Then, circuit};
use crate::ids::Fuel;
use crate::kafka::consumer::{OnOffsetLost, Start};
use crate::machine::{self, InFlight};
use crate::outgoing::{Allowed, Bounds as HttpBounds};
use crate::progress::Budget;
use crate::telemetry::GuestMetrics;
use crate::telemetry::guest::{Declared, Kind};
use crate::wasm::Grants;

/// Shards of a partition for each worker: enough that no worker waits while keys are spread unevenly.
const SHARDS_PER_WORKER: usize = 4;
/// Lanes out for each worker: one that runs, one that is next.
const LANES_PER_WORKER: usize = 2;
/// For interrupted calls to end: a few ticks of the epoch.
const INTERRUPT: Duration = Duration::from_millis(500);
/// For the last commit to be acknowledged.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// Calls that may be out at once: those of lanes, and those of keys with queues of their own. Together they are
/// `max_instances`, or two where that is one: each kind has to be able to go.
fn calls(pipeline: &config::Pipeline, workers: usize) -> (usize, usize) {
    let most = (pipeline.max_instances as usize).max(2);
    let lanes = (workers * LANES_PER_WORKER).min(most - 1);
    (lanes, most - lanes)
}

/// Instances that each worker keeps warm.
pub(super) fn warm(pipeline: &config::Pipeline, workers: usize) -> usize {
    (pipeline.max_instances as usize).div_ceil(workers)
}

/// Live instances of a pipeline, at most: those that are out, and those that all workers keep warm. That there is room
/// for so many means that memory alone is what calls ever wait for.
pub(super) fn instances(pipeline: &config::Pipeline, workers: usize) -> usize {
    let (lanes, keys) = calls(pipeline, workers);
    lanes + keys + warm(pipeline, workers) * workers
}

/// What the machine of a pipeline is told.
pub(super) fn machine(
    pipeline: &config::Pipeline,
    workers: usize,
    drain: Duration,
    seed: u64,
) -> machine::Options {
    let (lanes, calls) = calls(pipeline, workers);
    machine::Options {
        ordering: match pipeline.ordering {
            config::Ordering::Key => Ordering::Key,
            config::Ordering::Partition => Ordering::Partition,
            config::Ordering::Unordered => Ordering::Unordered,
        },
        shards: (workers * SHARDS_PER_WORKER).next_power_of_two(),
        lanes,
        calls,
        pacing: CallBounds {
            records: records_of_a_call(pipeline),
            bytes: pipeline.batch.bytes.bytes() as usize,
            time: pipeline.batch.time,
            single: Allowance { fuel: Fuel(pipeline.limits.fuel), deadline: pipeline.limits.deadline },
            waits: !pipeline.allow.http.is_empty(),
        },
        in_flight: InFlight {
            records: pipeline.in_flight.records as usize,
            bytes: pipeline.in_flight.bytes.bytes() as usize,
        },
        commit_interval: pipeline.commit_interval,
        budget: Budget::new(
            pipeline.metadata_limit as usize,
            pipeline.on_metadata_full == config::OnMetadataFull::Truncate,
        ),
        metadata_limit: pipeline.metadata_limit as usize,
        give_back: machine::Bounds { drain, interrupt: INTERRUPT, commit: LAST_COMMIT },
        circuit: pipeline.circuit.enabled.then_some(circuit::Settings {
            percent: pipeline.circuit.percent,
            of: pipeline.circuit.of,
            pause: pipeline.circuit.pause,
        }),
        dead_letters: pipeline.on_failure.then == config::Then::DeadLetter,
        seed,
    }
}

/// A batch that fails is run again in parts, and what its records did over HTTP would be done again with it: so each
/// record has a call of its own, unless doing it again does no harm.
fn records_of_a_call(pipeline: &config::Pipeline) -> usize {
    let does_more = !pipeline.allow.http.is_empty() && !pipeline.idempotent;
    if does_more { 1 } else { pipeline.batch.records as usize }
}

/// What a pipeline allows its handler.
pub(super) fn grants(pipeline: &config::Pipeline) -> Grants {
    Grants {
        log: pipeline.allow.log,
        config: pipeline.allow.config,
        metrics: !pipeline.metrics.is_empty(),
        secrets: !pipeline.secrets.is_empty(),
        http: !pipeline.allow.http.is_empty(),
    }
}

/// Whom its handler may ask, and how much.
pub(super) fn outgoing(pipeline: &config::Pipeline) -> (Allowed, HttpBounds) {
    let (allow, limits) = (&pipeline.allow, &pipeline.limits);
    let methods = allow.http_methods.iter().map(|method| method.parse());
    let allowed = Allowed {
        origins: allow.http.clone(),
        methods: methods.collect::<Result<_, _>>().expect("the configuration was checked"),
        networks: allow.http_networks.clone(),
    };
    let bounds = HttpBounds {
        open: limits.http_requests as usize,
        request: limits.http_request_bytes.bytes() as usize,
        response: limits.http_response_bytes.bytes() as usize,
        // Less than a call has, so that the handler can still say what was slow.
        time: limits.deadline * 9 / 10,
    };
    (allowed, bounds)
}

/// The metrics that its handler may keep.
pub(super) fn metrics(pipeline: &config::Pipeline) -> GuestMetrics {
    let declared = pipeline.metrics.iter().map(|(name, metric)| Declared {
        name: name.clone(),
        family: metric.family(name),
        kind: match metric.kind {
            config::MetricKind::Counter => Kind::Counter,
            config::MetricKind::Gauge => Kind::Gauge,
            config::MetricKind::Histogram => {
                Kind::Histogram(metric.buckets.iter().map(|bound| bound.get()).collect())
            }
        },
        help: metric.help.clone(),
        labels: metric.labels.clone(),
        most_series: metric.series as usize,
    });
    GuestMetrics::new(declared.collect())
}

/// What follows a failure.
pub(super) fn policy(on_failure: &config::OnFailure) -> FailurePolicy {
    FailurePolicy {
        retries: on_failure.retries,
        retry_for: on_failure.retry_for,
        first_backoff: on_failure.backoff.first,
        max_backoff: on_failure.backoff.max,
        then: match on_failure.then {
            config::Then::DeadLetter => Then::DeadLetter,
            config::Then::Skip => Then::Skip,
            config::Then::Halt => Then::Halt,
        },
    }
}

pub(super) fn start(start: config::Start) -> Start {
    match start {
        config::Start::Earliest => Start::Earliest,
        config::Start::Latest => Start::Latest,
    }
}

pub(super) fn on_offset_lost(what: config::OnOffsetLost) -> OnOffsetLost {
    match what {
        config::OnOffsetLost::Halt => OnOffsetLost::Halt,
        config::OnOffsetLost::Earliest => OnOffsetLost::Resume(Start::Earliest),
        config::OnOffsetLost::Latest => OnOffsetLost::Resume(Start::Latest),
    }
}

/// The ordering's name in the status.
pub(super) fn ordering_name(ordering: config::Ordering) -> &'static str {
    match ordering {
        config::Ordering::Key => "key",
        config::Ordering::Partition => "partition",
        config::Ordering::Unordered => "unordered",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_that_may_ask_calls_with_one_record_at_a_time() {
        let mut pipeline = config::Pipeline::default();
        assert_eq!(records_of_a_call(&pipeline), 256);
        pipeline.allow.http.push("https://a.b".parse().expect("it is a server"));
        assert_eq!(records_of_a_call(&pipeline), 1);
        pipeline.idempotent = true;
        assert_eq!(records_of_a_call(&pipeline), 256);
    }

    #[test]
    fn what_is_named_is_granted_and_nothing_else() {
        assert_eq!(grants(&config::Pipeline::default()), Grants::default());
        let mut pipeline = config::Pipeline::default();
        pipeline.allow.http.push("https://a.b".parse().expect("it is a server"));
        pipeline.metrics.insert("hits".to_owned(), config::Metric::default());
        let granted = Grants { http: true, metrics: true, ..Grants::default() };
        assert_eq!(grants(&pipeline), granted);
    }

    #[test]
    fn no_more_calls_are_out_than_a_pipeline_has_instances_and_there_is_room_for_all_and_the_warm_ones() {
        for workers in [1, 2, 3, 7, 64] {
            for max_instances in [1, 2, 3, 4, 5, 8, 9, 100, 256, 1_000] {
                let pipeline = config::Pipeline { max_instances, ..config::Pipeline::default() };
                let (lanes, keys) = calls(&pipeline, workers);
                assert!(lanes > 0 && keys > 0, "each kind can go");
                assert_eq!(lanes + keys, (max_instances as usize).max(2));
                let warm = warm(&pipeline, workers) * workers;
                assert!(warm >= max_instances as usize, "what was out can be kept");
                assert_eq!(instances(&pipeline, workers), lanes + keys + warm);
            }
        }
    }
}
