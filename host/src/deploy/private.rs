//! Folders and files that nobody else may write to, or read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::wasm::Key;

/// Writes a file of a name that nobody else has.
pub(super) fn beside(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let random = Key::random()?;
    let random = u64::from_le_bytes(*random.as_bytes().first_chunk().expect("a key is longer"));
    let path = folder.join(format!("{name}.{random:016x}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    // On the disk before it has its name: a machine that loses power must not find half of it there.
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| drop(fs::remove_file(&path)))?;
    Ok(path)
}

/// The user that this process is.
pub(super) fn ours() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes the folder if need be, and checks that it belongs to this user alone.
pub(super) fn prepare(path: &Path) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let path = path.canonicalize()?;
    let folder = fs::metadata(&path)?;
    let ours = ours();
    if folder.uid() != ours {
        return Err(io::Error::other(format!(
            "it belongs to user {}, not to this one ({ours})",
            folder.uid()
        )));
    }
    if folder.mode() & 0o022 != 0 {
        let mode = folder.mode() & 0o777;
        return Err(io::Error::other(format!("others may write there (mode {mode:o}); run `chmod go-w`")));
    }
    Ok(path)
}
