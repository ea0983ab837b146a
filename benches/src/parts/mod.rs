//! The parts of the ladder, in the order in which they run.
//!
//! Most are rows of contenders on topics that are read to their end ([`Kind::Rungs`]): plain data, run by
//! [`crate::rungs`]. The others drive a host themselves ([`Kind::Own`]).

mod handlers;
mod latency;
mod memory;
mod metadata;
mod micro;
mod neighbour;
mod noop;
mod parse;
mod skew;
mod start;
mod swap;
mod sweep;

use anyhow::Result;

use crate::climb::Passes;
use crate::results::Row;
use crate::rung::Rung;
use crate::session::Session;
use crate::sizes::{Scale, Sizes};

/// One part.
#[derive(Debug)]
pub(crate) struct Part {
    /// As in `--only`.
    pub name: &'static str,
    /// What its numbers tell.
    pub tells: &'static str,
    /// The row to which the others are compared, by the start of its name; empty: none.
    pub reference: &'static str,
    pub passes: fn(&Sizes) -> Passes,
    pub kind: Kind,
}

/// How a part runs.
#[derive(Debug)]
pub(crate) enum Kind {
    Rungs(fn(&Sizes) -> Vec<Rung>),
    Own {
        /// About how long it takes, all passes.
        seconds: fn(&Sizes) -> f64,
        /// About how much it writes to disk before it deletes anything.
        bytes: fn(&Sizes) -> u64,
        run: fn(&Session, Passes) -> Result<Vec<Row>>,
    },
}

/// All parts.
pub(crate) static PARTS: [Part; 17] = [
    Part {
        name: "noop",
        tells: "the host's own cost: 100 B, 8 partitions, key order, Zipf keys unless a row says otherwise",
        reference: "raw, poll",
        passes: usual,
        kind: Kind::Rungs(noop::rungs),
    },
    Part {
        name: "parse",
        tells: "a line of a web server's log to JSON, which is thrown away",
        reference: "native",
        passes: usual,
        kind: Kind::Rungs(parse::without_output),
    },
    Part {
        name: "parse-output",
        tells: "the same with the JSON on an output topic, acknowledged before its record counts",
        reference: "raw, consume and produce",
        passes: usual,
        kind: Kind::Rungs(parse::with_output),
    },
    Part {
        name: "sweep",
        tells: "`noop` with one factor changed at a time: ordering, payload, partitions, records a call",
        reference: "wasm",
        passes: usual,
        kind: Kind::Rungs(sweep::rungs),
    },
    Part {
        name: "cpu",
        tells: "so much hashing for each record, on one core and on two",
        reference: "",
        passes: usual,
        kind: Kind::Rungs(handlers::cpu),
    },
    Part {
        name: "wait",
        tells: "a wait for each record, in key order, uniform keys unless a row says otherwise, beside as many \
                bare tasks that wait",
        reference: "",
        passes: usual,
        kind: Kind::Rungs(handlers::wait),
    },
    Part {
        name: "poison",
        tells: "what one failing record in a hundred costs, dead letter included",
        reference: "none",
        passes: usual,
        kind: Kind::Rungs(handlers::poison),
    },
    Part {
        name: "metrics",
        tells: "`parse` with the port of the metrics off, and on and read once a second",
        reference: "off",
        passes: twice,
        kind: Kind::Rungs(handlers::metrics),
    },
    latency::PART,
    skew::PART,
    neighbour::PART,
    swap::PART,
    memory::PART,
    memory::FLAT,
    start::PART,
    metadata::PART,
    micro::PART,
];

/// As the scale says.
fn usual(sizes: &Sizes) -> Passes {
    Passes { counted: sizes.passes, warm_up: sizes.warm_up }
}

/// Twice as many and one more, for a difference of a few percent.
fn twice(sizes: &Sizes) -> Passes {
    Passes {
        counted: if sizes.scale == Scale::Full { 2 * sizes.passes + 1 } else { sizes.passes },
        ..usual(sizes)
    }
}

/// Without a pass to warm up: each run has its own warm-up.
fn cold(sizes: &Sizes) -> Passes {
    Passes { warm_up: false, ..usual(sizes) }
}

/// One, and none to warm up: for numbers that do not depend on time.
fn once(_: &Sizes) -> Passes {
    Passes { counted: 1, warm_up: false }
}

pub(crate) fn named(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}
