//! What a pipeline's handler may use of the host: `allow`, and the metrics that it may keep.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::outgoing::Origin;

/// What the handler may use of the host. Everything that is not named is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Write to the host's log, within the limits.
    pub log: bool,
    /// Read the pipeline's `config`.
    pub config: bool,
    /// Servers that the handler may ask over HTTP.
    #[schemars(with = "Vec<String>")]
    pub http: Vec<Origin>,
    /// Methods with which it may ask them.
    pub http_methods: Vec<String>,
    /// Networks, as `10.0.0.0/8`, into which the names in `http` may lead although they are not everybody's.
    #[schemars(with = "Vec<String>")]
    pub http_networks: Vec<IpNet>,
}

impl Default for Allow {
    fn default() -> Self {
        Self {
            log: false,
            config: true,
            http: Vec::new(),
            http_methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            http_networks: Vec::new(),
        }
    }
}

/// A metric of the handler's own, shown as `guest_` and its name, with the label `pipeline` and its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metric {
    /// How its values add up.
    pub kind: MetricKind,
    /// What it tells, for whoever reads the endpoint.
    pub help: String,
    /// Names of its labels; the handler gives the values.
    pub labels: Vec<String>,
    /// Combinations of label values; what goes beyond is counted together, as `other`.
    pub series: u32,
    /// Upper bounds of a histogram's buckets, ascending.
    pub buckets: Vec<Number>,
}

impl Default for Metric {
    fn default() -> Self {
        Self {
            kind: MetricKind::default(),
            help: String::new(),
            labels: Vec::new(),
            series: 100,
            buckets: Vec::new(),
        }
    }
}

/// How the values of a metric add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// The sum of all values; its name gets `_total`.
    #[default]
    Counter,
    /// The newest value.
    Gauge,
    /// How many values lie at or below each bound.
    Histogram,
}

/// A number with a fraction; never "not a number".
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Number(f64);

impl Eq for Number {}

impl Number {
    /// As the machine computes with it.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Number {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        if number.is_finite() { Ok(Number(number)) } else { Err("is not a finite number") }
    }
}

impl JsonSchema for Number {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// Metrics of one pipeline, at most.
const METRICS: usize = 32;
/// Labels of one, at most.
const LABELS: usize = 8;
/// Buckets of one, at most.
const BUCKETS: usize = 32;
/// Series of one, at most.
const SERIES: u32 = 1_000;

/// What is wrong with a method that shall be allowed, if anything is.
pub(super) fn problem_of_method(method: &str) -> Option<String> {
    if http::Method::from_bytes(method.as_bytes()).is_err() || method.bytes().any(|b| b.is_ascii_lowercase())
    {
        return Some(format!("{method:?} is not a method; write it like \"GET\""));
    }
    ["CONNECT", "TRACE"]
        .contains(&method)
        .then(|| format!("{method:?} is for those in between, not for handlers; remove it"))
}

/// What is wrong with a metric of this name, as the key and the problem; nothing: `None`.
pub(super) fn problem(name: &str, metric: &Metric) -> Option<(&'static str, String)> {
    let name_like = |text: &str| {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let rule = "write 1 to 64 of a-z, 0-9 and \"_\", first a letter";
    if !name_like(name) {
        return Some(("", format!("{name:?} is not the name of a metric; {rule}")));
    }
    for (place, label) in metric.labels.iter().enumerate() {
        if !name_like(label) {
            return Some(("labels", format!("{label:?} is not the name of a label; {rule}")));
        }
        if ["pipeline", "le", "quantile"].contains(&label.as_str()) {
            return Some(("labels", format!("the label {label:?} belongs to the host; choose another name")));
        }
        if metric.labels[..place].contains(label) {
            return Some(("labels", format!("label {label:?} stands twice in the list; remove one")));
        }
    }
    if metric.labels.len() > LABELS {
        return Some((
            "labels",
            format!("{} labels; a metric can have at most {LABELS}", metric.labels.len()),
        ));
    }
    if !(1..=SERIES).contains(&metric.series) {
        return Some(("series", format!("{} is out of range; choose from 1 to {SERIES}", metric.series)));
    }
    let most = BUCKETS;
    match (metric.kind, metric.buckets.len()) {
        (MetricKind::Histogram, 0) => Some((
            "",
            "a histogram needs bounds; add buckets = [0.01, 0.1, 1, 10] beside its kind".to_owned(),
        )),
        (MetricKind::Histogram, count) if count > most => {
            Some(("buckets", format!("{count} bounds; a histogram can have at most {most}")))
        }
        (MetricKind::Histogram, _) if !metric.buckets.is_sorted_by(|one, next| one < next) => {
            Some(("buckets", "the bounds do not ascend; sort them".to_owned()))
        }
        (MetricKind::Counter | MetricKind::Gauge, 1..) => Some((
            "buckets",
            "only a histogram has buckets; remove them, or write kind = \"histogram\"".to_owned(),
        )),
        _ => None,
    }
}

/// What is wrong with so many metrics.
pub(super) fn too_many(count: usize) -> Option<String> {
    (count > METRICS).then(|| format!("{count} metrics; a pipeline can have at most {METRICS}"))
}

impl Metric {
    /// What the metric of this name is called on the endpoint.
    pub fn family(&self, name: &str) -> String {
        match self.kind {
            MetricKind::Counter if !name.ends_with("_total") => format!("guest_{name}_total"),
            _ => format!("guest_{name}"),
        }
    }
}

/// What Prometheus would call its series. Two metrics that share one of these would be taken for each other.
pub(super) fn series_of(name: &str, metric: &Metric) -> Vec<String> {
    let family = metric.family(name);
    match metric.kind {
        MetricKind::Counter | MetricKind::Gauge => vec![family],
        MetricKind::Histogram => {
            ["", "_bucket", "_sum", "_count"].iter().map(|end| format!("{family}{end}")).collect()
        }
    }
}

/// True if two pipelines mean the same by one family.
pub(super) fn alike(one: &Metric, other: &Metric) -> bool {
    (one.kind, &one.labels, &one.buckets) == (other.kind, &other.labels, &other.buckets)
}
