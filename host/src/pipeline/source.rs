//! Where modules come from, and reading their files.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::deploy::Stamp;
use crate::deploy::registry::{Reference, ReferenceError};
use crate::wasm::{Digest, FileLimits};
use crate::worker::NativeHandler;

/// Where a handler's module comes from.
#[derive(Clone, Debug)]
pub enum HandlerSource {
    /// A file.
    File(PathBuf),
    /// Bytes that somebody sent.
    Sent {
        /// What to call it.
        name: String,
        /// The module.
        bytes: Arc<[u8]>,
        /// Text of a minisign file.
        signature: Option<String>,
    },
    /// A module in a registry.
    Registry(Reference),
    /// A module of the host's own store.
    Stored {
        /// What to call it.
        name: String,
        /// Which.
        digest: Digest,
    },
    /// Bytes inside this program.
    Embedded {
        /// What to call it.
        name: &'static str,
        /// The module.
        bytes: &'static [u8],
    },
    /// Rust inside this program; only `bench` does that.
    Native {
        /// What to call it.
        name: &'static str,
        /// What is called.
        handler: Arc<dyn NativeHandler>,
    },
}

impl HandlerSource {
    /// A module in a registry, as `oci://…`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(HandlerSource::Registry).map_err(|error: ReferenceError| error.to_string())
    }

    /// The handler's name: the file's, without its ending.
    pub fn name(&self) -> String {
        match self {
            HandlerSource::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            HandlerSource::Sent { name, .. } | HandlerSource::Stored { name, .. } => name.clone(),
            HandlerSource::Registry(reference) => {
                // As long as other names may be.
                reference.repository().rsplit('/').next().unwrap_or_default().chars().take(63).collect()
            }
            HandlerSource::Embedded { name, .. } | HandlerSource::Native { name, .. } => (*name).to_owned(),
        }
    }

    /// What somebody wrote to name it.
    pub(super) fn written(&self) -> Option<String> {
        match self {
            HandlerSource::File(path) => Some(path.display().to_string()),
            HandlerSource::Registry(reference) => Some(reference.to_string()),
            _ => None,
        }
    }

    pub(super) fn place(&self) -> String {
        match self {
            HandlerSource::File(path) => path.display().to_string(),
            HandlerSource::Sent { name, .. } => format!("{name} (sent)"),
            HandlerSource::Registry(reference) => reference.to_string(),
            HandlerSource::Stored { name, digest } => format!("{name} (version {})", digest.short()),
            HandlerSource::Embedded { name, .. } | HandlerSource::Native { name, .. } => {
                format!("{name} (built in)")
            }
        }
    }
}

/// A module, before anything is known of it.
pub(super) struct Read {
    pub bytes: Arc<[u8]>,
    pub signature: Option<String>,
    /// What its file was like before, if it is from one.
    pub file: Option<Stamp>,
    pub from: Option<String>,
}

/// What a handler's file is like at the moment, and its signature; none if it is not there, or no file.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let of_file = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let times = |file: &std::fs::Metadata| {
        (nanos(file.mtime(), file.mtime_nsec()), nanos(file.ctime(), file.ctime_nsec()))
    };
    let module = of_file(path)?;
    let mut stamp =
        Stamp { file: (module.dev(), module.ino()), size: module.size(), changed: times(&module) };
    // One that comes later, or is mended, makes another of it.
    if let Some(signature) = of_file(&signature_of(path)) {
        let (modified, changed) = times(&signature);
        stamp.size += signature.size();
        stamp.changed = (stamp.changed.0.max(modified), stamp.changed.1.max(changed));
    }
    Some(stamp)
}

/// Where a module's signature lies.
fn signature_of(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// A size for people.
pub(super) fn size_for_people(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The signature beside a module's file, if there is one.
pub(super) fn read_signature(module: &Path) -> Option<String> {
    /// More than the policy looks at.
    const MOST: u64 = 64 << 10;
    let mut text = String::new();
    File::open(signature_of(module)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A module's file, unless it is larger than a module may be.
pub(super) fn read_module(path: &Path, limits: &FileLimits) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    limits.check_size(file.metadata()?.len()).map_err(std::io::Error::other)?;
    // It may grow while it is read.
    file.take(limits.size as u64 + 1).read_to_end(&mut bytes)?;
    limits.check_size(bytes.len() as u64).map_err(std::io::Error::other)?;
    Ok(bytes)
}
