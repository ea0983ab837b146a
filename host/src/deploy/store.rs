//! The folder of modules, each under the name of its content.
//!
//! A rollback and a restart take modules from here: the file that one came from may be another by then. Whoever writes to
//! the folder chooses what runs, so it belongs to this user alone, and what is read is held against its name. Hosts may
//! share it: a file is written beside its place and put there whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::private::{beside, prepare};
use crate::wasm::Digest;

/// Ending of a module.
const MODULE: &str = "wasm";
/// Ending of its signature.
const SIGNATURE: &str = "minisig";
/// A module that no version of this host names is kept for so long: another host that shares the folder may name it, or
/// name it soon.
const UNNAMED: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The folder of modules.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A module and its signature, if it came with one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stored {
    pub module: Vec<u8>,
    pub signature: Option<String>,
}

impl Store {
    /// Opens the folder, and makes it if need be.
    ///
    /// # Errors
    /// If it cannot be made, or others may write there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Store { folder: prepare(folder)? })
    }

    /// Keeps a module.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&self, digest: &Digest, module: &[u8], signature: Option<&str>) -> io::Result<()> {
        if let Some(signature) = signature {
            self.write(&format!("{digest}.{SIGNATURE}"), signature.as_bytes())?;
        }
        let name = format!("{digest}.{MODULE}");
        match File::open(self.folder.join(&name)) {
            // Whether it is that module is looked at when it is read.
            Ok(known) if known.metadata()?.len() == module.len() as u64 => {
                let _ = known.set_modified(SystemTime::now());
                Ok(())
            }
            _ => self.write(&name, module),
        }
    }

    /// A module of at most `most` bytes.
    ///
    /// # Errors
    /// If it is not there, or its content is not what its name says.
    pub fn get(&self, digest: &Digest, most: usize) -> io::Result<Stored> {
        let path = self.folder.join(format!("{digest}.{MODULE}"));
        let mut module = Vec::new();
        File::open(&path)?.take(most as u64 + 1).read_to_end(&mut module)?;
        if Digest::of(&module) != *digest {
            let reason =
                format!("{} was changed: its content is not what its name says; remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut signature = String::new();
        let read = File::open(path.with_extension(SIGNATURE))
            .and_then(|file| file.take(64 << 10).read_to_string(&mut signature));
        Ok(Stored { module, signature: read.is_ok().then_some(signature) })
    }

    /// Removes modules that no history in the folder `versions` names, and that nobody has used for a week. Hosts that
    /// share the folder have their histories there, too.
    ///
    /// # Errors
    /// If a folder or a history cannot be read: nothing was removed then. A file that cannot be removed is left.
    pub fn tidy(&self, versions: &Path) -> io::Result<()> {
        let mut named = HashSet::new();
        for entry in fs::read_dir(versions)? {
            // Whatever it is called: also one that was set aside, or is being written.
            let bytes = fs::read(entry?.path())?;
            let digits = bytes.split(|byte| !byte.is_ascii_hexdigit());
            named.extend(digits.filter_map(|digits| str::from_utf8(digits).ok()?.parse::<Digest>().ok()));
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let digest: Option<Digest> =
                path.file_stem().and_then(|stem| stem.to_str()?.split('.').next()?.parse().ok());
            let Ok(modified) = entry.metadata().and_then(|data| data.modified()) else { continue };
            let is_named = digest.is_some_and(|digest| named.contains(&digest));
            if !is_named && modified.elapsed().is_ok_and(|age| age > UNNAMED) {
                // Another host may have removed it.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = beside(&self.folder, name, bytes)?;
        fs::rename(&beside, self.folder.join(name)).inspect_err(|_| drop(fs::remove_file(&beside)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder is made");
        let store = Store::open(&folder.path().join("modules")).expect("it is made");
        (folder, store)
    }

    #[test]
    fn a_module_is_found_again_with_its_signature_also_by_another_host() {
        let (folder, store) = store();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        store.put(&one, b"one", Some("signed")).expect("there is room");
        store.put(&two, b"two", None).expect("there is room");
        store.put(&two, b"two", None).expect("it is there");
        let other = Store::open(&folder.path().join("modules")).expect("it is there");
        let signature = Some("signed".to_owned());
        assert_eq!(other.get(&one, 100).expect("it is kept"), Stored { module: b"one".to_vec(), signature });
        assert_eq!(other.get(&two, 100).expect("it is kept").signature, None);
        let missing = other.get(&Digest::of(b"three"), 100).expect_err("nobody put it there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path().join("modules")).expect("it is there").count(), 3);
    }

    #[test]
    fn what_was_changed_is_not_taken_for_the_module() {
        let (folder, store) = store();
        let digest = Digest::of(b"module");
        store.put(&digest, b"module", None).expect("there is room");
        let path = folder.path().join(format!("modules/{digest}.wasm"));
        fs::write(&path, b"malice").expect("it is ours");
        let error = store.get(&digest, 100).expect_err("its content is another");
        assert!(error.to_string().contains("was changed"), "{error}");
        assert!(store.get(&digest, 3).is_err(), "no more is read than a module may have");
        // Another deploy of it mends what was cut short.
        fs::write(&path, b"mod").expect("it is ours");
        store.put(&digest, b"module", None).expect("there is room");
        assert!(store.get(&digest, 100).is_ok());
    }

    #[test]
    fn what_nobody_names_goes_in_time_and_the_rest_stays() {
        let (folder, store) = store();
        let digests = [b"a", b"b", b"c", b"d"].map(|module| {
            store.put(&Digest::of(module), module, Some("signed")).expect("there is room");
            Digest::of(module)
        });
        let age = |digest: &Digest, days: u64| {
            for ending in [MODULE, SIGNATURE] {
                let path = folder.path().join(format!("modules/{digest}.{ending}"));
                let file = OpenOptions::new().append(true).open(path).expect("it is kept");
                let then = SystemTime::now() - Duration::from_secs(days * 24 * 3_600);
                file.set_modified(then).expect("it has a time");
            }
        };
        age(&digests[0], 8);
        age(&digests[1], 8);
        age(&digests[2], 6);
        age(&digests[3], 30);
        // Of two pipelines, and what one of them had once.
        let versions = folder.path().join("versions");
        fs::create_dir(&versions).expect("it is made");
        fs::write(versions.join("orders.json"), format!("{{\"digest\": \"{}\"}}", digests[0])).expect("ours");
        fs::write(versions.join("users.json"), format!("[\"{}\"]", digests[3])).expect("ours");
        store.tidy(&versions).expect("it can be read");
        assert_eq!(digests.map(|digest| store.get(&digest, 10).is_ok()), [true, false, true, true]);
        let left = fs::read_dir(folder.path().join("modules")).expect("it is there").count();
        assert_eq!(left, 6, "signatures go with their modules");
    }

    #[test]
    fn a_folder_that_is_open_to_others_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder is made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let error = Store::open(folder.path()).expect_err("anybody could write there").to_string();
        assert!(error.contains("mode 777"), "{error}");
    }
}
