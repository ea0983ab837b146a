//! The folder of compiled code.
//!
//! To load compiled code is to run it. So nobody but this user may write to the folder, which is checked when it is
//! opened, and nothing in it counts without a seal under the folder's own key. Hosts may share it: a file is written
//! beside its place and put there whole, and whoever comes second replaces it by the same.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::private::{beside, ours, prepare};
use crate::wasm::{About, Digest, Key};

/// Bytes of all files together, after each one that is added: those that were used longest ago go.
const MOST_BYTES: u64 = 2 << 30;
/// Ending of compiled code.
const ENDING: &str = "compiled";
/// The file of the key.
const KEY: &str = "key";
/// A file that was not put in its place for so long never will be.
const STALE: Duration = Duration::from_secs(3_600);

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the cache of compiled code at {} cannot be used: {reason}", path.display())]
pub struct CacheError {
    path: PathBuf,
    reason: io::Error,
}

/// What a file is called: which module, and compiled for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub digest: Digest,
    pub fingerprint: u64,
}

impl Name {
    /// True if this is what it should be called.
    pub fn is_of(&self, about: &About) -> bool {
        (self.digest, self.fingerprint) == (about.digest, about.fingerprint)
    }

    fn file(&self) -> String {
        format!("{}-{:016x}.{ENDING}", self.digest, self.fingerprint)
    }
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    most_bytes: u64,
}

impl Cache {
    /// Opens the folder, and makes it and its key if need be.
    pub fn open(path: &Path) -> Result<(Self, Key), CacheError> {
        let failed = |reason| CacheError { path: path.to_owned(), reason };
        let folder = prepare(path).map_err(failed)?;
        let key = key(&folder).map_err(failed)?;
        Ok((Cache { folder, most_bytes: MOST_BYTES }, key))
    }

    /// What is kept under this name, whatever it is.
    pub fn get(&self, name: &Name) -> Option<Vec<u8>> {
        let path = self.folder.join(name.file());
        let mut file = OpenOptions::new().read(true).open(path).ok()?;
        // Says that it is in use. A file system that keeps no times forgets in another order.
        let _ = file.set_modified(SystemTime::now());
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Keeps these bytes.
    pub fn put(&self, name: &Name, bytes: &[u8]) -> io::Result<()> {
        let beside = beside(&self.folder, &name.file(), bytes)?;
        fs::rename(&beside, self.folder.join(name.file())).inspect_err(|_| drop(fs::remove_file(&beside)))?;
        self.forget_oldest()
    }

    /// Removes what was used longest ago, until the rest is small enough, and what a host that died left half written.
    fn forget_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another host may have removed it.
            let Ok(data) = entry.metadata() else { continue };
            if entry.path().extension().is_some_and(|ending| ending == ENDING) {
                files.push((data.modified()?, data.len(), entry.path()));
            } else if entry.file_name() != KEY && data.modified()?.elapsed().is_ok_and(|age| age > STALE) {
                let _ = fs::remove_file(entry.path());
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if bytes <= self.most_bytes {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => bytes -= size,
            }
        }
        Ok(())
    }
}

/// The folder's key, made by whoever comes first.
fn key(folder: &Path) -> io::Result<Key> {
    let path = folder.join(KEY);
    loop {
        match fs::File::open(&path) {
            Ok(mut file) => {
                let data = file.metadata()?;
                if data.mode() & 0o077 != 0 || data.uid() != ours() {
                    let (mode, user) = (data.mode() & 0o777, data.uid());
                    let reason = format!("others may read its key (mode {mode:o}, user {user}); remove it");
                    return Err(io::Error::other(reason));
                }
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                if let Ok(bytes) = bytes.try_into() {
                    return Ok(Key::from_bytes(bytes));
                }
                // It costs what lies in the folder, which is compiled again.
                tracing::warn!(key = %path.display(), "the key of compiled code is damaged; there is a new one");
                fs::remove_file(&path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let beside = beside(folder, KEY, Key::random()?.as_bytes())?;
                // Of two hosts that start at once, one is first; both read what is there then.
                let linked = fs::hard_link(&beside, &path);
                fs::remove_file(&beside)?;
                linked.or_else(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(error),
                })?;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder is made")
    }

    fn name(of: u8) -> Name {
        Name { digest: Digest::of(&[of]), fingerprint: 7 }
    }

    #[test]
    fn what_is_kept_is_found_again_under_its_own_name_alone() {
        let folder = folder();
        let (cache, key) = Cache::open(&folder.path().join("deep/er")).expect("it is made");
        cache.put(&name(1), b"code").expect("there is room");
        assert_eq!(cache.get(&name(1)).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get(&name(2)), None);
        assert_eq!(cache.get(&Name { fingerprint: 8, ..name(1) }), None, "compiled for another host");
        // Another host finds the same, and the same key.
        let (other, same) = Cache::open(&folder.path().join("deep/er")).expect("it is there");
        assert_eq!(other.get(&name(1)).as_deref(), Some(&b"code"[..]));
        assert!(same == key);
        let left = fs::read_dir(folder.path().join("deep/er")).expect("it is there").count();
        assert_eq!(left, 2, "the key, the code, and nothing that was written beside them");
    }

    #[test]
    fn hosts_that_open_it_at_once_have_one_key() {
        let folder = folder();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let hosts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Cache::open(folder.path()).expect("it is made").1)).collect();
            hosts.into_iter().map(|host| host.join().expect("no host panics")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = folder();
        let (cache, _) = Cache::open(folder.path()).expect("it is made");
        let cache = Cache { most_bytes: 250, ..cache };
        for (of, age) in [(1, 300), (2, 200)] {
            cache.put(&name(of), &[0; 100]).expect("there is room");
            let file =
                OpenOptions::new().write(true).open(folder.path().join(name(of).file())).expect("it is kept");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("it has a time");
        }
        assert!(cache.get(&name(1)).is_some(), "the older one is used");
        cache.put(&name(3), &[0; 100]).expect("there is room");
        let there = [1, 2, 3].map(|of| cache.get(&name(of)).is_some());
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn a_folder_or_a_key_that_is_open_to_others_is_not_used() {
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        let folder = folder();
        open(folder.path(), 0o777);
        let error = Cache::open(folder.path()).expect_err("anybody could write there").to_string();
        assert!(error.contains("mode 777") && error.contains("chmod go-w"), "{error}");
        open(folder.path(), 0o755);
        drop(Cache::open(folder.path()).expect("others may look"));
        open(&folder.path().join("key"), 0o644);
        let error = Cache::open(folder.path()).expect_err("anybody could seal").to_string();
        assert!(error.contains("mode 644"), "{error}");
        fs::write(folder.path().join("key"), b"short").expect("it is ours");
        open(&folder.path().join("key"), 0o600);
        let (_, new) = Cache::open(folder.path()).expect("half a key is none: there is a new one");
        assert!(Cache::open(folder.path()).is_ok_and(|(_, key)| key == new));
    }

    #[test]
    fn what_was_left_half_written_goes_in_time_and_the_key_stays() {
        let folder = folder();
        let (cache, _) = Cache::open(folder.path()).expect("it is made");
        let path = |name: &str| folder.path().join(name);
        for (name, age) in [("a.compiled.0123", 7_200), ("b.compiled.4567", 60), (KEY, 7_200)] {
            let file = OpenOptions::new().create(true).append(true).open(path(name)).expect("it is made");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("it has a time");
        }
        cache.put(&name(1), b"code").expect("there is room");
        let there = ["a.compiled.0123", "b.compiled.4567", KEY].map(|name| path(name).exists());
        assert_eq!(there, [false, true, true]);
    }
}
