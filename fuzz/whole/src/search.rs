//! The endless look for inputs: drawn, checked, and kept if the host said something that it had not said before.
//!
//! Everything follows from the seed but what depends on time: a call that meets its deadline in one run may end in the
//! next. An input that breaks a promise is saved as it is, so nothing has to be drawn again.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::Target;

/// What is kept is changed later; of more each would come up too seldom.
const KEPT: usize = 2_000;
/// Time between two lines that say how far it is.
const PULSE: Duration = Duration::from_secs(30);
/// Bytes of memory that this process may take; nothing that is tried is larger than a few hundred KiB.
const MEMORY: u64 = 2 << 30;

/// How it went.
#[derive(Debug, Default)]
pub struct Found {
    /// Inputs that were tried.
    pub inputs: u64,
    /// What the host said, and how often.
    pub said: BTreeMap<String, u64>,
    /// Inputs that broke a promise, as files.
    pub broken: Vec<PathBuf>,
    /// The longest check.
    pub slowest: Duration,
}

/// Tries inputs until the time is over, or until one breaks a promise; that is saved in `folder`, whose files are tried
/// first. New kinds of inputs go to `corpus`, if there is one, and are where the next search begins.
///
/// # Errors
/// If a folder cannot be read or written.
pub fn run(
    target: &Target,
    seed: u64,
    time: Duration,
    folder: &Path,
    corpus: Option<&Path>,
) -> Result<Found> {
    let mut random = Rng::with_seed(seed);
    let mut found = Found::default();
    let since = Instant::now();
    let mut pulse = since;
    let mut waiting = files(folder)?;
    if let Some(corpus) = corpus {
        fs::create_dir_all(corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
        waiting.extend(files(corpus)?);
    }
    let known = waiting.len();
    waiting.reverse();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    while since.elapsed() < time {
        let input = waiting.pop().unwrap_or_else(|| (target.draw)(&mut random, &kept));
        let begun = Instant::now();
        let said = panic::catch_unwind(AssertUnwindSafe(|| (target.check)(&input)));
        found.inputs += 1;
        found.slowest = found.slowest.max(begun.elapsed());
        let memory = resident();
        let Some(said) = said.ok().filter(|_| memory <= MEMORY) else {
            let path = save(folder, &input)?;
            println!("a promise is broken ({memory} bytes of memory) by {}", path.display());
            found.broken.push(path);
            break;
        };
        let times = found.said.entry(said).or_default();
        *times += 1;
        if *times == 1 && kept.len() < KEPT {
            if let Some(corpus) = corpus.filter(|_| found.inputs > known as u64) {
                save(corpus, &input)?;
            }
            kept.push(input);
        }
        if pulse.elapsed() > PULSE {
            pulse = Instant::now();
            println!("#{} {} kinds, slowest {:?}", found.inputs, found.said.len(), found.slowest);
        }
    }
    Ok(found)
}

/// The files of a folder in the order of their names; none if it is not there.
///
/// # Errors
/// If one cannot be read.
pub fn files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    paths.iter().map(read).collect()
}

fn save(folder: &Path, input: &[u8]) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Bytes of memory that this process has; zero where the system does not say.
pub fn resident() -> u64 {
    let page = 4_096;
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * page
}
