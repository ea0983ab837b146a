//! What holds for the whole host: `[host]`, and where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::units::{Size, duration};

/// The host itself: its folder, its memory, its threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Folder of modules, their compiled code, the versions of pipelines, the audit log. Relative: to the file's folder.
    /// Without it: `sandmill` in `$XDG_CACHE_HOME`, else in `~/.cache`.
    #[serde(serialize_with = "lossy")]
    pub data_dir: PathBuf,
    /// Memory of all instances together. A call that finds it used up waits for room.
    pub guest_memory: Size,
    /// Wasm stack of one call, for every pipeline; a call that needs more traps.
    pub stack: Size,
    /// How long a module may take to compile, in the process that does so.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub compile_time: Duration,
    /// Memory that a module may take to compile: address space of the process that does so.
    pub compile_memory: Size,
    /// Size of a module's file. Beyond: refused unread.
    pub module_size: Size,
    /// Functions of a module. Beyond: refused.
    pub module_functions: u32,
    /// Worker threads, shared by all pipelines. Without it: one a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NonZeroUsize")]
    pub workers: Option<NonZeroUsize>,
    /// How long a stop or a revoke waits for calls that run before it interrupts them.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub drain_timeout: Duration,
    /// Writes down for a profiler where the functions of compiled modules lie. No key, variable or flag: only
    /// `bench-contender` sets it.
    #[serde(skip)]
    pub perf_map: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            // Depends on the environment: set when the configuration is loaded.
            data_dir: PathBuf::new(),
            guest_memory: Size::from_gib(4),
            stack: Size::from_mib(1),
            compile_time: Duration::from_secs(60),
            compile_memory: Size::from_gib(2),
            module_size: Size::from_mib(64),
            module_functions: 200_000,
            workers: None,
            drain_timeout: Duration::from_secs(10),
            perf_map: false,
        }
    }
}

/// Writes a path for people: what is no UTF-8 in it is replaced.
pub(super) fn lossy<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Where to listen, if at all. Written as `127.0.0.1:9095`, `[::1]:9095` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// No socket.
    Off,
    /// This address and port.
    At(SocketAddr),
}

impl Default for Listen {
    /// Loopback: nothing is open to the network unless someone says so.
    fn default() -> Self {
        Self::At(SocketAddr::from(([127, 0, 0, 1], 9095)))
    }
}

/// A text that is no [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address and port; write it like \"127.0.0.1:9095\" or \"[::1]:9095\", or \"off\"")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| ListenError(text.to_owned())),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListenVisitor;
        impl Visitor<'_> for ListenVisitor {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address and port like \"127.0.0.1:9095\", or \"off\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(ListenVisitor)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^off$|:[0-9]+$" })
    }
}
