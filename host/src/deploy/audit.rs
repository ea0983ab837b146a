//! Who asked for what, and what became of it: an append-only log as JSON lines.
//!
//! A line is on the disk before the action that it tells of begins, and a second one when the action has ended. What
//! cannot be written is not done: [`Audit::write`] returns the error, and its caller refuses.
//!
//! A line is one `write` to the end of the file. Several hosts may share the file: each locks it for a line, and looks
//! before whether it still is the one at its path, as another host, or a person, may have moved it away. At its
//! largest the file gets the ending `.1`, in place of the one before, and a new one begins.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::config::Role;

/// Bytes of the file before it is moved away. The one before it is as large.
const MOST_BYTES: u64 = 16 << 20;
/// Bytes of a text in an entry, before what JSON adds.
const TEXT_BYTES: usize = 1 << 10;
/// Stands at the end of a text that was longer.
const CUT: char = '…';
/// Bytes that [`Audit::tail`] reads.
const TAIL_BYTES: u64 = 1 << 20;

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It begins.
    Asked,
    /// It ended as it was meant to.
    Done,
    /// It did not begin, or ended otherwise.
    Refused,
}

/// One line. Texts are cut at 1 KiB; fields that are none are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The token's name; none if no known one came.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The token's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The address at the other end of the connection; that of a proxy, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SocketAddr>,
    /// What was asked for: `deploy`, `rollback`.
    #[serde(serialize_with = "cut")]
    pub action: String,
    /// The pipeline's name, as it was asked for.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Where a module comes from, as it was written.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// How it begins, if not in the place of what runs.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The module's.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The module's number in its pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What became of it.
    pub result: Stage,
    /// Why it was refused.
    #[serde(serialize_with = "cut_some", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn cut<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.len() <= TEXT_BYTES {
        return serializer.serialize_str(text);
    }
    let head = &text[..text.floor_char_boundary(TEXT_BYTES - CUT.len_utf8())];
    serializer.collect_str(&format_args!("{head}{CUT}"))
}

fn cut_some<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    cut(text.as_deref().unwrap_or_default(), serializer)
}

/// JSON in one line, without what moves a terminal's cursor or turns its text around: the log is read with `cat` too.
struct Plain;

impl serde_json::ser::Formatter for Plain {
    /// JSON itself escapes what is below a space.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let moves = |character: char| {
            character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let mut from = 0;
        for (at, character) in fragment.match_indices(moves) {
            writer.write_all(&fragment.as_bytes()[from..at])?;
            for unit in character.encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + character.len();
        }
        writer.write_all(&fragment.as_bytes()[from..])
    }
}

/// The open log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: Mutex<File>,
    most_bytes: u64,
}

impl Audit {
    /// Opens the log, and makes its file if need be; its folder has to be there.
    ///
    /// # Errors
    /// If it is no file, belongs to another user, or others may write to it; if it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path).map_err(|error| named(path, &error))?;
        Ok(Audit { path: path.to_owned(), file: Mutex::new(file), most_bytes: MOST_BYTES })
    }

    /// Adds a line, which is on the disk then. Blocks for as long as the disk takes, and while another host writes.
    ///
    /// # Errors
    /// If it may not be on the disk. A part of it may be; readers skip that.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        let mut line = b"\n".to_vec();
        entry.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Plain))?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        self.append(&mut file, &line).map_err(|error| named(&self.path, &error))
    }

    /// Adds `line`, which begins and ends with the end of a line.
    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        loop {
            file.lock()?;
            let appended = self.append_locked(file, line);
            // Whatever comes next: other hosts wait for it.
            let unlocked = file.unlock();
            if appended? {
                return unlocked;
            }
            *file = open(&self.path)?;
        }
    }

    /// False if the file is no longer the one to write to.
    fn append_locked(&self, file: &mut File, line: &[u8]) -> io::Result<bool> {
        let data = file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (data.dev(), data.ino()) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(false),
        }
        let size = data.len();
        if size > 0 && size + line.len() as u64 > self.most_bytes {
            fs::rename(&self.path, old(&self.path))?;
            return Ok(false);
        }
        // A line that was cut off, by a full disk for one, ends here.
        let whole = size == 0 || last_byte(file, size)? == b'\n';
        let line = if whole { &line[1..] } else { line };
        let written = loop {
            match file.write(line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        if written < line.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part of a line was written"));
        }
        file.sync_data()?;
        Ok(true)
    }

    /// The newest `lines`, in the order in which they were written, as far as they are in the last MiB. Damaged ones
    /// are skipped and not counted.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn tail(&self, lines: usize) -> io::Result<Vec<Value>> {
        let read = || {
            let (mut newest, left) = tail(&self.path, lines, TAIL_BYTES)?;
            if newest.len() < lines && left > 0 {
                let (mut values, _) = tail(&old(&self.path), lines - newest.len(), left)?;
                values.append(&mut newest);
                newest = values;
            }
            Ok(newest)
        };
        read().map_err(|error: io::Error| named(&self.path, &error))
    }
}

/// The newest lines of one file within its last `most` bytes, and how many bytes of `most` are left.
fn tail(path: &Path, lines: usize, most: u64) -> io::Result<(Vec<Value>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), most)),
        Err(error) => return Err(error),
    };
    let start = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let left = most - bytes.len() as u64;
    let from = match bytes.iter().position(|byte| *byte == b'\n') {
        // The middle of a line, or all of one: nobody can tell.
        Some(end) if start > 0 => end,
        _ => 0,
    };
    let newest = bytes[from..].rsplit(|byte| *byte == b'\n').filter_map(|line| {
        // A line that another host writes right now has no end yet, and is damaged.
        serde_json::from_slice::<Value>(line).ok().filter(Value::is_object)
    });
    let mut values: Vec<_> = newest.take(lines).collect();
    values.reverse();
    Ok((values, left))
}

/// Opens the file to add to it, and makes it if need be.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::other("it is no file; choose another path"));
    }
    let ours = rustix::process::geteuid().as_raw();
    if data.uid() != ours {
        let reason = format!("it belongs to user {}, not to this one ({ours})", data.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    if data.mode() & 0o022 != 0 {
        let mode = data.mode() & 0o777;
        let reason = format!("others may write to it (mode {mode:o}); run `chmod go-w`");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    if data.len() == 0 {
        // A line in a file whose name is lost with the power would be lost as well.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

/// Where the file goes when it is full.
fn old(path: &Path) -> PathBuf {
    let mut old = path.as_os_str().to_owned();
    old.push(".1");
    PathBuf::from(old)
}

fn last_byte(file: &mut File, size: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(size - 1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    let words = format!("the audit log {} cannot be used: {error}", path.display());
    io::Error::new(error.kind(), words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Folder(tempfile::tempdir().expect("a folder is made"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("audit.jsonl")
        }

        fn open(&self) -> Audit {
            Audit::open(&self.path()).expect("it can be made")
        }
    }

    fn entry(version: u64) -> Entry {
        Entry {
            unix_ms: 1_790_000_000_000,
            who: Some("ci".to_owned()),
            role: Some(Role::Deploy),
            from: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
            action: "deploy".to_owned(),
            pipeline: Some("orders".to_owned()),
            module: None,
            mode: None,
            digest: None,
            version: Some(version),
            result: Stage::Asked,
            reason: None,
        }
    }

    fn versions(values: &[Value]) -> Vec<u64> {
        values.iter().map(|value| value["version"].as_u64().expect("each has one")).collect()
    }

    #[test]
    fn a_line_says_what_there_is_and_nothing_else() {
        let folder = Folder::new();
        let audit = folder.open();
        audit.write(&entry(4)).expect("there is room");
        assert_eq!(
            fs::read_to_string(folder.path()).expect("it is there"),
            "{\"unix_ms\":1790000000000,\"who\":\"ci\",\"role\":\"deploy\",\"from\":\"127.0.0.1:4711\",\
             \"action\":\"deploy\",\"pipeline\":\"orders\",\"version\":4,\"result\":\"asked\"}\n"
        );
        assert_eq!(fs::metadata(folder.path()).expect("it is there").mode() & 0o777, 0o600);
    }

    #[test]
    fn nobody_writes_lines_of_their_own_or_moves_a_cursor() {
        let folder = Folder::new();
        let audit = folder.open();
        let name = "a\n{\"who\":\"ops\"}\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\"ä😀";
        audit.write(&Entry { pipeline: Some(name.to_owned()), ..entry(1) }).expect("there is room");
        let text = fs::read_to_string(folder.path()).expect("it is there");
        assert_eq!(text.lines().count(), 1);
        let line = text.trim_end_matches('\n');
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}') && line.contains("ä😀"),
            "{line}"
        );
        assert_eq!(audit.tail(9).expect("it is there")[0]["pipeline"], name);
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let folder = Folder::new();
        let audit = folder.open();
        let (long, fits) = (format!("x{}", "ä".repeat(TEXT_BYTES)), "x".repeat(TEXT_BYTES));
        let cut = Entry { reason: Some(long.clone()), action: fits.clone(), ..entry(1) };
        audit.write(&cut).expect("there is room");
        let kept = audit.tail(1).expect("it is there").remove(0);
        let reason = kept["reason"].as_str().expect("it is text");
        assert!((TEXT_BYTES - 2..=TEXT_BYTES).contains(&reason.len()), "{}", reason.len());
        assert!(reason.strip_suffix(CUT).is_some_and(|head| long.starts_with(head)));
        assert_eq!(kept["action"], fits.as_str());
    }

    #[test]
    fn the_newest_lines_come_in_their_order_and_without_damaged_ones() {
        let folder = Folder::new();
        let audit = folder.open();
        assert_eq!(audit.tail(3).expect("it is there"), Vec::<Value>::new());
        for version in 1..=3 {
            audit.write(&entry(version)).expect("there is room");
        }
        let mut file = OpenOptions::new().append(true).open(folder.path()).expect("it is ours");
        file.write_all(b"\xff\xfe\n17\n\n{\"version\":").expect("there is room");
        assert_eq!(versions(&audit.tail(2).expect("it is there")), [2, 3]);
        // What comes after a line without an end is a line of its own.
        audit.write(&entry(4)).expect("there is room");
        assert_eq!(versions(&audit.tail(9).expect("it is there")), [1, 2, 3, 4]);
        assert_eq!(versions(&folder.open().tail(1).expect("it is there")), [4]);
        assert!(audit.tail(0).expect("it is there").is_empty());
    }

    #[test]
    fn of_a_large_log_the_end_is_read() {
        let folder = Folder::new();
        let audit = folder.open();
        audit.write(&entry(1)).expect("there is room");
        let file = OpenOptions::new().write(true).open(folder.path()).expect("it is ours");
        // A hole, which no disk has to hold.
        file.write_all_at(b"x\n", TAIL_BYTES * 4).expect("there is room");
        audit.write(&entry(2)).expect("there is room");
        assert_eq!(versions(&audit.tail(9).expect("it is there")), [2]);
    }

    #[test]
    fn a_full_log_is_moved_away_and_one_old_one_is_kept() {
        let folder = Folder::new();
        let mut audit = folder.open();
        audit.write(&entry(10)).expect("there is room");
        let line = fs::metadata(folder.path()).expect("it is there").len();
        audit.most_bytes = line * 3 + line / 2;
        for version in 11..=17 {
            audit.write(&entry(version)).expect("there is room");
        }
        assert_eq!(versions(&audit.tail(9).expect("it is there")), [13, 14, 15, 16, 17]);
        assert_eq!(versions(&audit.tail(3).expect("it is there")), [15, 16, 17]);
        let sizes = [folder.path(), old(&folder.path())].map(|path| fs::metadata(path).expect("it is there"));
        assert!(sizes.iter().all(|data| data.len() <= audit.most_bytes && data.mode() & 0o777 == 0o600));
        assert_eq!(fs::read_dir(folder.0.path()).expect("it is there").count(), 2);
    }

    #[test]
    fn hosts_that_share_a_log_lose_no_line() {
        let folder = Folder::new();
        let (hosts, each) = (4, 50);
        let line = {
            folder.open().write(&entry(0)).expect("there is room");
            let size = fs::metadata(folder.path()).expect("it is there").len();
            fs::remove_file(folder.path()).expect("it is ours");
            size
        };
        // It is moved away once, somewhere in the middle.
        let most_bytes = (line + 4) * (hosts * each) * 2 / 3;
        std::thread::scope(|scope| {
            for host in 0..hosts {
                let audit = Audit { most_bytes, ..folder.open() };
                scope.spawn(move || {
                    for index in 0..each {
                        audit.write(&entry(host * each + index)).expect("there is room");
                    }
                });
            }
        });
        assert!(old(&folder.path()).exists());
        let mut all = versions(&folder.open().tail(1_000).expect("it is there"));
        all.sort_unstable();
        assert_eq!(all, (0..hosts * each).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_was_taken_away_is_made_again() {
        let folder = Folder::new();
        let audit = folder.open();
        audit.write(&entry(1)).expect("there is room");
        fs::rename(folder.path(), folder.0.path().join("elsewhere")).expect("it is ours");
        audit.write(&entry(2)).expect("there is room");
        assert_eq!(versions(&audit.tail(9).expect("it is there")), [2]);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = Folder::new();
        let audit = folder.open();
        // The log with its folder is gone.
        drop(folder);
        let error = audit.write(&entry(1)).expect_err("no folder").to_string();
        assert!(error.contains("audit.jsonl"), "{error}");
    }

    #[test]
    fn a_log_that_others_may_write_to_is_refused() {
        let folder = Folder::new();
        folder.open().write(&entry(1)).expect("there is room");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o640)).expect("it is ours");
        folder.open().write(&entry(2)).expect("others may read it, if that is wanted");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o620)).expect("it is ours");
        let error = Audit::open(&folder.path()).expect_err("others may write").to_string();
        assert!(error.contains("mode 620") && error.contains("chmod go-w"), "{error}");
        assert!(Audit::open(folder.0.path()).is_err(), "a folder is no log");
    }
}
