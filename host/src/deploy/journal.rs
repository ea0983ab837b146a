//! The history of a pipeline's versions on the disk, where a restart finds it.
//!
//! One JSON file a pipeline, written beside its place and put there whole. A file that makes no sense is reported and set
//! aside: the host starts with the handler's file, and what was there can still be looked at. Of hosts that share the
//! folder and run the same pipeline one keeps the history, who comes first; the others forget theirs when they end.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::private::{beside, prepare};

/// Of the file's form. A file of another is set aside.
const SCHEMA: u32 = 1;

/// Where one pipeline's history is kept. Only this process has it.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    name: String,
    /// Held as long as it is open.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Page<H> {
    schema: u32,
    pipeline: String,
    history: H,
}

impl Journal {
    /// Opens the history of `pipeline` in `folder`, which is made if need be. Without a journal: another host has it, and
    /// this is how it was a moment ago.
    ///
    /// # Errors
    /// If the folder cannot be used, or others may write there.
    pub fn open(folder: &Path, pipeline: &str) -> io::Result<(Option<Journal>, History)> {
        let folder = prepare(folder)?;
        let lock = File::create(folder.join(format!("{pipeline}.lock")))?;
        let is_ours = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let journal = Journal { name: pipeline.to_owned(), folder, _lock: lock };
        let history = journal.read(is_ours)?;
        Ok((is_ours.then_some(journal), history))
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    fn read(&self, is_ours: bool) -> io::Result<History> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            Err(error) => return Err(error),
        };
        let wrong = match serde_json::from_slice::<Page<History>>(&bytes) {
            Ok(page) if page.schema != SCHEMA => {
                format!("it has schema {}, this host writes {SCHEMA}", page.schema)
            }
            Ok(page) if page.pipeline != self.name => format!("it is that of pipeline {:?}", page.pipeline),
            Ok(page) if !page.history.is_sound() => "its versions contradict each other".to_owned(),
            Ok(page) => return Ok(page.history),
            Err(error) => error.to_string(),
        };
        if !is_ours {
            return Ok(History::default());
        }
        let aside = self.folder.join(format!("{}.json.damaged", self.name));
        fs::rename(self.path(), &aside)?;
        tracing::error!(
            pipeline = self.name,
            aside = %aside.display(),
            reason = wrong,
            "the history of its versions is damaged and was set aside: the handler's file runs, and there is nothing \
             to go back to"
        );
        Ok(History::default())
    }

    /// Keeps what the history is now. On the disk when this returns.
    ///
    /// # Errors
    /// What the system says; what was kept before is still there then.
    pub fn write(&self, history: &History) -> io::Result<()> {
        let page = Page { schema: SCHEMA, pipeline: self.name.clone(), history };
        let bytes = serde_json::to_vec_pretty(&page)?;
        let beside = beside(&self.folder, &format!("{}.json", self.name), &bytes)?;
        fs::rename(&beside, self.path()).inspect_err(|_| drop(fs::remove_file(&beside)))?;
        // The name is on the disk once its folder is.
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::history::{Brought, Source};
    use crate::wasm::Digest;

    fn history() -> History {
        let mut history = History::default();
        history.run(Brought {
            digest: Digest::of(b"module"),
            handler: "stamp".to_owned(),
            source: Source::Upload,
            from: None,
            by: "ci".to_owned(),
            unix_ms: 7,
        });
        history
    }

    #[test]
    fn a_history_is_found_again_and_one_host_has_it() {
        let folder = tempfile::tempdir().expect("a folder is made");
        let open = || Journal::open(folder.path(), "orders").expect("the folder can be used");
        let (journal, empty) = open();
        let journal = journal.expect("nobody has it");
        assert_eq!(empty, History::default());
        journal.write(&history()).expect("there is room");
        // Another sees it, and cannot write.
        assert!(matches!(open(), (None, seen) if seen == history()));
        assert!(Journal::open(folder.path(), "others").expect("the folder can be used").0.is_some());
        drop(journal);
        assert!(matches!(open(), (Some(_), seen) if seen == history()));
    }

    #[test]
    fn what_makes_no_sense_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder is made");
        let path = folder.path().join("orders.json");
        let (journal, _) = Journal::open(folder.path(), "orders").expect("it can be used");
        let journal = journal.expect("it is free");
        journal.write(&history()).expect("there is room");
        drop(journal);
        let whole = fs::read_to_string(&path).expect("it was written");
        for damaged in [
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"schema\": 1", "\"schema\": 99"),
            whole.replace("\"orders\"", "\"others\""),
            whole.replace("\"running\"", "\"before\""),
        ] {
            assert_ne!(damaged, whole);
            fs::write(&path, &damaged).expect("it is ours");
            let (_, history) = Journal::open(folder.path(), "orders").expect("no error");
            assert_eq!(history, History::default());
            let aside = fs::read_to_string(folder.path().join("orders.json.damaged"));
            assert_eq!(aside.expect("it can be looked at"), damaged);
        }
    }
}
