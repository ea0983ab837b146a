//! What all parts of one session share: the broker, the programs, how large everything is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sandmill::bench::{Cluster, Contender};
use sandmill_tests::host::Home;
use sandmill_tests::kafka::{Kafka, Options};

use crate::programs::Programs;
use crate::rung::Rung;
use crate::sizes::Sizes;

/// One session.
pub(crate) struct Session {
    pub kafka: Kafka,
    pub cluster: Cluster,
    /// Home of the hosts that parts start themselves: it keeps compiled code from run to run.
    pub home: Home,
    pub programs: Programs,
    pub sizes: Sizes,
    /// Where the micro benchmarks left their estimates.
    pub criterion: Option<PathBuf>,
}

impl Session {
    /// Starts the broker.
    pub(crate) fn start(programs: Programs, sizes: Sizes, criterion: Option<PathBuf>) -> Result<Self> {
        let options = Options {
            // A topic that was deleted gives its disk back at once, not after a minute.
            properties: vec![("log.segment.delete.delay.ms".to_owned(), "1000".to_owned())],
            ..Options::default()
        };
        let kafka = Kafka::start_with(1, &options);
        let cluster = Cluster::connect(&kafka.bootstrap(), &BTreeMap::new())
            .context("the broker that was just started cannot be used")?;
        Ok(Self { kafka, cluster, home: Home::new(), programs, sizes, criterion })
    }

    /// What runs a rung; modules that it compiles are kept from run to run, in no folder of the user's.
    pub(crate) fn contender(&self, rung: &Rung, failures: u64, extra: &[String]) -> Result<Contender> {
        let mut contender = self.programs.contender(rung, failures, extra)?;
        let cache = self.home.path().join("cache").display().to_string();
        contender.environment.push(("XDG_CACHE_HOME".to_owned(), cache));
        Ok(contender)
    }

    /// What the broker's folder takes of the disk at the moment.
    pub(crate) fn disk_bytes(&self) -> u64 {
        bytes_below(self.kafka.folder())
    }
}

/// Files may go away meanwhile: those count nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes_below(&entry.path()),
        Ok(file) => allocated(&file),
        Err(_) => 0,
    });
    sizes.sum()
}

/// What a file takes: indexes are made large and left empty.
fn allocated(file: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    file.blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_folders_are_added_up() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("a")).expect("a folder in it");
        fs::write(folder.path().join("a/b"), vec![1; 10_000]).expect("a file");
        let empty = fs::File::create(folder.path().join("sparse")).expect("a file");
        empty.set_len(1 << 30).expect("a hole");
        let bytes = bytes_below(folder.path());
        assert!((10_000..1 << 20).contains(&bytes), "{bytes}");
    }
}
