//! `micro`: what the micro benchmarks measured, taken over into the result.
//!
//! They run before, by `cargo bench --workspace --bench micro`; criterion leaves its estimates as files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Part, once};
use crate::climb::Passes;
use crate::results::Row;
use crate::session::Session;
use crate::sizes::{Scale, Sizes};

pub(super) const PART: Part = Part {
    name: "micro",
    tells: "CPU nanoseconds of single steps, by micro benchmarks",
    reference: "",
    passes: once,
    kind: Kind::Own { seconds, bytes: |_| 0, run },
};

/// What the micro benchmarks take.
fn seconds(sizes: &Sizes) -> f64 {
    match sizes.scale {
        Scale::Full => 300.0,
        Scale::Quick => 60.0,
        Scale::Smoke => 0.0,
    }
}

fn run(session: &Session, _: Passes) -> Result<Vec<Row>> {
    let Some(folder) = &session.criterion else {
        eprintln!("micro: left out: no --criterion FOLDER was given");
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    collect(folder, &mut rows)?;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rows)
}

/// `benchmark.json` beside the estimates.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

/// The last estimates of every benchmark below a folder; each stands in a folder `new`.
fn collect(folder: &Path, rows: &mut Vec<Row>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        if !path.ends_with("new") || !estimates.exists() {
            collect(&path, rows)?;
            continue;
        }
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let benchmark: Benchmark = serde_json::from_slice(&read(&path.join("benchmark.json"))?)?;
        let estimates: Value = serde_json::from_slice(&read(&estimates)?)?;
        let ns = estimates["median"]["point_estimate"].as_f64().context("criterion gives no median")?;
        let mut row = Row::new(benchmark.full_id, &[]);
        row.push(&[("cpu_ns", ns)], estimates);
        rows.push(row);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_estimates_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().expect("a folder");
        for (place, median) in [("contract/noop/1/new", 987.0), ("contract/noop/1/base", 1.0), ("a/new", 2.0)]
        {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).expect("a folder in it");
            let id = if place.starts_with(folder.path().join("a")) { "a" } else { "contract/noop/1" };
            fs::write(place.join("benchmark.json"), format!("{{\"full_id\":\"{id}\",\"x\":1}}"))
                .expect("a file");
            let estimates = format!("{{\"median\":{{\"point_estimate\":{median}}}}}");
            fs::write(place.join("estimates.json"), estimates).expect("a file");
        }
        let mut rows = Vec::new();
        collect(folder.path(), &mut rows).expect("they can be read");
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let found: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.number("cpu_ns")[0])).collect();
        assert_eq!(found, [("a", 2.0), ("contract/noop/1", 987.0)]);
    }
}
