//! Rungs: who reads what, and does what with it. Plain data, so that a plan can be looked at before it runs.

use sandmill::bench::Work;
use sandmill::config::Ordering;

/// Keys of a topic that has not a log's.
pub(crate) const KEYS: usize = 10_000;
/// What a commit, a join and the start of a process take beside the records, in seconds: only for estimates.
const START_OWN: f64 = 1.5;
const START_JVM: f64 = 2.5;
/// Records that are produced in a second while a topic is filled, and the bytes, and records that are read back
/// in a second to check them; only for estimates.
const FILLED_RECORDS: f64 = 500_000.0;
const FILLED_BYTES: f64 = 120e6;
const CHECKED_RECORDS: f64 = 1_000_000.0;

/// One row of a part: a contender on a topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rung {
    /// Unique within its part.
    pub name: String,
    pub contender: Contender,
    pub topic: Filling,
    pub work: Work,
    pub ordering: Ordering,
    /// Whether the JSON of `parse` goes to a topic.
    pub output: bool,
    /// Records a second, as far as known: tells how long a run takes, and nothing else.
    pub expected: f64,
}

/// Who reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Contender {
    /// The bare client, one record at a time.
    RawPoll,
    /// The bare client, by the array.
    RawBatch,
    /// The bare client reads, parses and writes: the ceiling of a workload with outputs.
    Copy,
    /// The host with the handler compiled in.
    Native(Settings),
    /// The host as a user runs it, with the handler as a module.
    Wasm(Settings),
    /// A hand-written loop in Java.
    JavaPlain,
    /// A hand-written loop in Go, on franz-go.
    FranzGo,
    /// Bento with its `wasm` processor.
    Bento { batch: u32 },
    /// Confluent's Parallel Consumer.
    Confluent(Confluent),
    /// So many tasks of tokio that do the wait of the workload and nothing else: no topic, no host.
    Tasks { count: u32 },
}

/// Settings of Confluent's Parallel Consumer; what is none is its own default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Confluent {
    /// Records in a call.
    pub batch: u32,
    /// Records that are held ready.
    pub buffer: Option<u32>,
    /// Calls at once.
    pub concurrency: Option<u32>,
    /// Milliseconds that its producer waits for more; 5, as with the others, where it is none.
    pub linger_ms: Option<u32>,
}

/// What a level of our own runs beyond the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    /// The module's name among the compiled ones; none: the workload's own.
    pub module: Option<&'static str>,
    /// Keys of the configuration with their values, as `--set` takes them.
    pub set: Vec<(&'static str, String)>,
    /// Its metrics are read over HTTP once a second.
    pub scraped: bool,
}

/// What a topic holds; two rungs that ask for the same read the same topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filling {
    pub values: Values,
    pub keys: Keys,
    pub partitions: i32,
    pub records: u64,
}

/// What stands in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// So many random bytes.
    Random(usize),
    /// Lines of a web server's log, keyed by the client's address.
    AccessLog,
    /// 100 bytes, of which the first word tells the handler `flaky` what to do: `trap` or `reject` for one
    /// record in a hundred, as named, `done` for the others.
    Orders { one_in_a_hundred: Option<&'static str> },
}

/// How keys are spread over records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Zipf, s = 1.0, over [`KEYS`] keys.
    Zipf,
    /// [`KEYS`] keys, each as frequent as any other.
    Uniform,
    /// The log's own.
    OfTheLog,
}

impl Settings {
    pub(crate) fn module(name: &'static str) -> Self {
        Self { module: Some(name), ..Self::default() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass literals and numbers")]
    pub(crate) fn set(mut self, key: &'static str, value: impl ToString) -> Self {
        self.set.push((key, value.to_string()));
        self
    }
}

impl Contender {
    /// Its name in `--skip`.
    pub(crate) fn level(&self) -> &'static str {
        match self {
            Self::RawPoll | Self::RawBatch => "raw",
            Self::Copy => "copy",
            Self::Native(_) => "native",
            Self::Wasm(_) => "wasm",
            Self::JavaPlain => "java",
            Self::FranzGo => "franz",
            Self::Bento { .. } => "bento",
            Self::Confluent(_) => "confluent",
            Self::Tasks { .. } => "tokio",
        }
    }

    /// Levels that are not ours: each needs a program of its own.
    pub(crate) const PEERS: [&str; 4] = ["java", "franz", "bento", "confluent"];
    /// All levels.
    pub(crate) const LEVELS: [&str; 9] =
        ["raw", "copy", "native", "wasm", "java", "franz", "bento", "confluent", "tokio"];

    /// Its name in a table.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::RawPoll => "raw, poll".to_owned(),
            Self::RawBatch => "raw, batch".to_owned(),
            Self::Copy => "raw, consume and produce".to_owned(),
            Self::Native(_) => "native".to_owned(),
            Self::Wasm(_) => "wasm".to_owned(),
            Self::JavaPlain => "plain Java loop".to_owned(),
            Self::FranzGo => "plain franz-go loop".to_owned(),
            Self::Bento { batch } => format!("Bento, batch {batch}"),
            Self::Confluent(settings) => {
                let mut name = format!("Confluent, batch {}", settings.batch);
                for (what, value) in [("buffer", settings.buffer), ("linger", settings.linger_ms)] {
                    name.extend(value.map(|value| format!(", {what} {value}")));
                }
                name
            }
            Self::Tasks { count } => format!("{count} tokio tasks"),
        }
    }

    fn start(&self) -> f64 {
        match self {
            Self::JavaPlain | Self::Confluent(_) | Self::Bento { .. } => START_JVM,
            Self::Tasks { .. } => 0.1,
            _ => START_OWN,
        }
    }
}

impl Filling {
    /// The base point: 100 bytes, 8 partitions, Zipf.
    pub(crate) fn base(records: u64) -> Self {
        Self { values: Values::Random(100), keys: Keys::Zipf, partitions: 8, records }
    }

    /// Whole logs of 10,000 lines, at least one.
    pub(crate) fn access_log(records: u64) -> Self {
        Self {
            values: Values::AccessLog,
            keys: Keys::OfTheLog,
            partitions: 8,
            records: (records / 10_000).max(1) * 10_000,
        }
    }

    pub(crate) fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// A length that a log's line has on average.
    fn value_bytes(&self) -> usize {
        match self.values {
            Values::Random(bytes) => bytes,
            Values::AccessLog => 236,
            Values::Orders { .. } => 100,
        }
    }

    /// Bytes of all keys and values, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.records * (self.value_bytes() as u64 + 10)
    }

    /// How long it takes to fill, about.
    pub(crate) fn seconds(&self) -> f64 {
        let records = self.records as f64;
        1.0 + (records / FILLED_RECORDS).max(self.bytes() as f64 / FILLED_BYTES) + records / CHECKED_RECORDS
    }

    /// As people call it.
    pub(crate) fn described(&self) -> String {
        let values = match self.values {
            Values::Random(bytes) => format!("{bytes} B"),
            Values::AccessLog => "log lines".to_owned(),
            Values::Orders { one_in_a_hundred: None } => "orders".to_owned(),
            Values::Orders { one_in_a_hundred: Some(what) } => format!("orders, 1 % {what}"),
        };
        let keys = match self.keys {
            Keys::Zipf => ", Zipf keys",
            Keys::Uniform => ", uniform keys",
            Keys::OfTheLog => "",
        };
        format!("{} × {values}{keys}, {} partitions", self.records, self.partitions)
    }
}

impl Rung {
    /// A contender on a topic in key order, without outputs, under its own name.
    pub(crate) fn new(contender: Contender, topic: Filling, work: Work, expected: f64) -> Self {
        Self {
            name: contender.name(),
            contender,
            topic,
            work,
            ordering: Ordering::Key,
            output: false,
            expected,
        }
    }

    /// The same under this name.
    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    pub(crate) fn ordering(self, ordering: Ordering) -> Self {
        Self { ordering, ..self }
    }

    pub(crate) fn with_output(self) -> Self {
        Self { output: true, ..self }
    }

    /// How long one run takes, about.
    pub(crate) fn seconds(&self) -> f64 {
        let records = self.topic.records as f64;
        let checked = if self.output { records / CHECKED_RECORDS } else { 0.0 };
        self.contender.start() + records / self.expected + checked
    }

    /// What tells this rung from others, for whoever reads the result.
    pub(crate) fn traits(&self) -> Vec<(&'static str, String)> {
        let keys = match self.topic.keys {
            Keys::Zipf => "zipf",
            Keys::Uniform => "uniform",
            Keys::OfTheLog => "log",
        };
        let mut traits = vec![
            ("level", self.contender.level().to_owned()),
            ("ordering", ordering_name(self.ordering).to_owned()),
            ("keys", keys.to_owned()),
            ("topic", self.topic.described()),
        ];
        if let Contender::Native(settings) | Contender::Wasm(settings) = &self.contender {
            traits.extend(settings.set.iter().map(|(key, value)| (*key, value.clone())));
        }
        traits
    }
}

pub(crate) fn ordering_name(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::Key => "key",
        Ordering::Partition => "partition",
        Ordering::Unordered => "unordered",
    }
}
