//! Flame graphs: where the host spends its CPU time, and where the handler spends its part of it.
//!
//! The level `wasm` runs under `perf record`, like any contender, so its result is checked as always. Twice, since
//! two ways to walk a stack each know half of it: the host's frames are found by their unwind tables, the
//! handler's by the frame pointers that compiled Wasm keeps. The engine writes the names of the handler's
//! functions to `/tmp/perf-PID.map`, where `perf script` looks for them; a module that was stripped has numbers
//! for names. Samples are taken by the CPU's clock, so that no hardware counter is needed.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::{Folder, Options as FoldOptions};
use inferno::flamegraph::{self, Options as FlameOptions};
use sandmill::bench::{Contender as Process, Job, Work, measure};
use sandmill_tests::unique;

use crate::rung::{Contender, Filling, Rung, Settings};
use crate::session::Session;
use crate::sizes::Scale;
use crate::topics::Topics;

/// Samples a second of each thread that runs.
const FREQUENCY: &str = "999";
/// Of stack that a sample keeps for the unwind tables, in bytes.
const DWARF: &str = "dwarf,16384";
/// What the folding marks frames with whose names come from a map.
const COMPILED: &str = "_[j]";

/// Profiles a workload; gives the files.
pub(crate) fn run(session: &Session, workload: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let rung = rung(session.sizes.scale, workload)?;
    let topics = Topics::fill(session, std::slice::from_ref(&rung))?;
    let topic = topics.get(&rung.topic).context("the topic was just filled")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let work = sandmill_tests::reaper::folder("profile");
    let contender = session.contender(&rung, 0, &["--perf-map".to_owned()])?;
    let once = |contender: &Process| -> Result<()> {
        let mut job = Job::new(session.kafka.bootstrap(), topic.clone(), rung.work);
        if rung.output {
            let name = unique("profile-out");
            session.cluster.create_topic(&name, topic.partitions, None)?;
            job.output = Some(name);
        }
        let measured = measure(contender, &job);
        if let Some(output) = &job.output {
            session.cluster.delete_topic(output)?;
        }
        eprintln!("{workload}: {:.0} records/s", measured?.records_per_second);
        Ok(())
    };
    let before = maps();
    // Compiles the module, so that nobody profiles the compiler.
    once(&contender)?;

    let mut written = Vec::new();
    for (what, stacks) in [("host", DWARF), ("handler", "fp")] {
        let data = work.path().join(what);
        once(&recorded(&contender, stacks, &data))?;
        let folded = folded(&data)?;
        let (title, lines) = match what {
            "host" => (format!("host and handler under {workload}"), folded),
            _ => handler_alone(&folded, workload)?,
        };
        let file = folder.join(format!("{workload}-{what}.svg"));
        fs::write(&file, flame(&title, &lines)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        written.push(file);
    }
    // The engine leaves them behind.
    for map in maps().difference(&before) {
        let _ = fs::remove_file(map);
    }
    Ok(written)
}

/// What is profiled: some seconds of it.
fn rung(scale: Scale, workload: &str) -> Result<Rung> {
    let records = |full: u64| if scale == Scale::Full { full } else { full / 10 };
    Ok(match workload {
        "noop" => {
            let settings = Settings::module("noop");
            Rung::new(Contender::Wasm(settings), Filling::base(records(10_000_000)), Work::Noop, 2e6)
        }
        "parse" => {
            let settings = Settings::module("access_log").set("pipeline.config.dry_run", true);
            Rung::new(Contender::Wasm(settings), Filling::access_log(records(4_000_000)), Work::Parse, 1e6)
        }
        "parse-output" => {
            let settings = Settings::module("access_log");
            let topic = Filling::access_log(records(2_000_000));
            Rung::new(Contender::Wasm(settings), topic, Work::Parse, 4e5).with_output()
        }
        other => bail!("{other:?} cannot be profiled; choose noop, parse or parse-output"),
    })
}

/// The same contender under `perf record`.
fn recorded(contender: &Process, stacks: &str, data: &Path) -> Process {
    let mut arguments: Vec<String> = ["record", "--quiet", "--event", "cpu-clock", "--freq", FREQUENCY]
        .into_iter()
        .chain(["--call-graph", stacks, "--output"])
        .map(str::to_owned)
        .collect();
    arguments.extend([data.display().to_string(), "--".to_owned(), contender.program.display().to_string()]);
    arguments.extend(contender.arguments.iter().cloned());
    Process { program: "perf".into(), arguments, ..contender.clone() }
}

/// One line a stack: frames from the thread's name inwards, and the CPU time that was sampled in it, in nanoseconds.
fn folded(data: &Path) -> Result<String> {
    // Without --no-inline it asks addr2line for each frame, for minutes.
    let mut script = Command::new("perf")
        .args(["script", "--force", "--no-inline", "--input"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("perf cannot be started; install it: apt-get install linux-perf")?;
    let output = script.stdout.take().context("its output is piped")?;
    let mut options = FoldOptions::default();
    options.annotate_jit = true;
    let mut folded = Vec::new();
    Folder::from(options)
        .collapse(BufReader::new(output), &mut folded)
        .context("perf script says nothing usable")?;
    let status = script.wait()?;
    ensure!(status.success(), "perf script failed ({status}) on {}", data.display());
    ensure!(!folded.is_empty(), "perf took no samples");
    Ok(String::from_utf8_lossy(&folded).into_owned())
}

/// The samples that were taken in the handler, without the host's frames around them, and a title that says which
/// part of all they are.
fn handler_alone(folded: &str, workload: &str) -> Result<(String, String)> {
    let (mut all, mut own, mut lines) = (0_u64, 0_u64, String::new());
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').context("a folded line ends with its count")?;
        let count: u64 = count.parse().context("a folded line ends with its count")?;
        all += count;
        let frames: Vec<&str> = stack.split(';').collect();
        let compiled = |frame: &str| frame.ends_with(COMPILED);
        let Some(first) = frames.iter().position(|frame| compiled(frame)) else { continue };
        // The innermost frame tells whose time it was: else the handler asked the host for something.
        if frames.last().is_some_and(|frame| compiled(frame)) {
            own += count;
            let inner: Vec<&str> =
                frames[first..].iter().map(|frame| frame.trim_end_matches(COMPILED)).collect();
            lines.push_str(&format!("{} {count}\n", inner.join(";")));
        }
    }
    ensure!(own > 0, "of {all} ns none was sampled in the handler: does the engine write its map?");
    let percent = own as f64 / all as f64 * 100.0;
    Ok((format!("handler under {workload}: {percent:.0} % of all CPU time"), lines))
}

fn flame(title: &str, folded: &str) -> Result<Vec<u8>> {
    let mut options = FlameOptions::default();
    title.clone_into(&mut options.title);
    // What a sample stands for, as `perf script` has it: the period of the CPU's clock.
    "ns".clone_into(&mut options.count_name);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg)
        .context("the flame graph cannot be drawn")?;
    Ok(svg)
}

/// Names of compiled functions, by process.
fn maps() -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir("/tmp") else { return BTreeSet::new() };
    let is_map = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("perf-") && name.ends_with(".map")
    };
    entries.flatten().map(|entry| entry.path()).filter(is_map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_handler_lose_the_hosts_frames_and_its_calls_into_the_host_do_not_count() {
        let folded = "worker;run;call;handle_[j];parse_[j] 30\n\
                      worker;run;call;handle_[j];host_function 10\n\
                      worker;run 40\n\
                      worker;handle_[j] 20\n";
        let (title, lines) = handler_alone(folded, "parse").expect("it can be read");
        assert_eq!(lines, "handle;parse 30\nhandle 20\n");
        assert_eq!(title, "handler under parse: 50 % of all CPU time");
        assert!(handler_alone("worker;run 40\n", "parse").is_err());
    }

    #[test]
    fn a_graph_names_its_frames() {
        let svg = String::from_utf8(flame("a title", "main;work 3\nmain 1\n").expect("it can be drawn"))
            .expect("text");
        assert!(svg.contains("a title") && svg.contains("work (3 ns, 75.00%)"), "{svg}");
    }

    #[test]
    fn what_cannot_be_profiled_is_refused() {
        assert!(rung(Scale::Full, "wait").is_err());
        assert!(rung(Scale::Quick, "parse-output").is_ok_and(|rung| rung.output));
    }
}
