//! What a guest may import, and what it needs for that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of the contract that this host speaks; modules of the same minor version fit.
pub const CONTRACT: &str = "0.1.0";

/// The interface that every handler exports, without its version.
pub(crate) const PROCESS: &str = "sandmill:handler/process";

/// Packages of WASI that language runtimes import; linked, but empty (see `wasi`).
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// What a pipeline allows its handler. Everything else is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grants {
    /// Writing to the host's log.
    pub log: bool,
    /// Reading the pipeline's `config` table.
    pub config: bool,
    /// Metrics of the handler's own, as declared.
    pub metrics: bool,
    /// Reading the pipeline's secrets.
    pub secrets: bool,
    /// Asking servers over HTTP.
    pub http: bool,
}

impl Grants {
    /// Everything that can be granted.
    pub const ALL: Grants = Grants { log: true, config: true, metrics: true, secrets: true, http: true };

    /// True if `capability` is granted.
    pub const fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Nothing => true,
            Capability::Log => self.log,
            Capability::Config => self.config,
            Capability::Metrics => self.metrics,
            Capability::Secrets => self.secrets,
            Capability::Http => self.http,
        }
    }
}

impl Default for Grants {
    /// Only `config`: it holds what the operator wrote for this handler.
    fn default() -> Self {
        Grants { log: false, config: true, metrics: false, secrets: false, http: false }
    }
}

/// What an import needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Types, and WASI basics that give access to nothing.
    Nothing,
    /// `allow.log`
    Log,
    /// `allow.config`
    Config,
    /// `[pipeline.metrics.NAME]`
    Metrics,
    /// `[pipeline.secrets]`
    Secrets,
    /// `allow.http`
    Http,
}

impl Capability {
    /// What an operator writes to grant it.
    pub const fn how_to_grant(self) -> &'static str {
        match self {
            Capability::Nothing => "nothing",
            Capability::Log => "`allow.log = true`",
            Capability::Config => "`allow.config = true`",
            Capability::Metrics => "a table `[pipeline.metrics.NAME]` for each of its metrics",
            Capability::Secrets => "its secrets in `[pipeline.secrets]`",
            Capability::Http => "`allow.http = [\"https://…\"]` with the servers that it asks",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::Nothing => "nothing",
            Capability::Log => "log",
            Capability::Config => "config",
            Capability::Metrics => "metrics",
            Capability::Secrets => "secrets",
            Capability::Http => "http",
        })
    }
}

/// What the import called `name` needs; `None`: this host has no such interface.
pub(crate) fn of_import(name: &str) -> Option<Capability> {
    let (interface, version) = name.split_once('@')?;
    match interface {
        "sandmill:handler/types" if speaks(version) => Some(Capability::Nothing),
        "sandmill:handler/log" if speaks(version) => Some(Capability::Log),
        "sandmill:handler/config" if speaks(version) => Some(Capability::Config),
        "sandmill:handler/metrics" if speaks(version) => Some(Capability::Metrics),
        "sandmill:handler/secrets" if speaks(version) => Some(Capability::Secrets),
        "wasi:http/types" | "wasi:http/outgoing-handler" if version.starts_with("0.2.") => {
            Some(Capability::Http)
        }
        _ => {
            let (package, _) = interface.split_once('/')?;
            (WASI.contains(&package) && version.starts_with("0.2.")).then_some(Capability::Nothing)
        }
    }
}

/// True if this host speaks `version` of the contract: records are frozen within a minor version while the
/// major one is 0.
pub(crate) fn speaks(version: &str) -> bool {
    let minor = |version: &str| {
        let mut parts = version.splitn(3, '.').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_))) => Some((major, minor)),
            _ => None,
        }
    };
    minor(version).is_some_and(|found| Some(found) == minor(CONTRACT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_versions_of_the_contract_fit_and_others_do_not() {
        assert!(speaks("0.1.0") && speaks("0.1.7"));
        for other in ["0.2.0", "1.1.0", "9.0.0", "0.1", "0.1.0-rc.1", "0.1.x", ""] {
            assert!(!speaks(other), "{other}");
        }
    }

    #[test]
    fn an_import_says_what_it_needs() {
        assert_eq!(of_import("sandmill:handler/log@0.1.0"), Some(Capability::Log));
        assert_eq!(of_import("sandmill:handler/config@0.1.3"), Some(Capability::Config));
        assert_eq!(of_import("sandmill:handler/types@0.1.0"), Some(Capability::Nothing));
        assert_eq!(of_import("sandmill:handler/metrics@0.1.0"), Some(Capability::Metrics));
        assert_eq!(of_import("sandmill:handler/secrets@0.1.0"), Some(Capability::Secrets));
        assert_eq!(of_import("wasi:http/outgoing-handler@0.2.4"), Some(Capability::Http));
        assert_eq!(of_import("wasi:cli/environment@0.2.3"), Some(Capability::Nothing));
        for unknown in [
            "wasi:http/incoming-handler@0.2.0",
            "wasi:http/outgoing-handler@0.3.0",
            "wasi:cli/stdout@0.3.0",
            "sandmill:handler/log@9.0.0",
            "env",
            "a:b/c",
        ] {
            assert_eq!(of_import(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn only_config_is_granted_by_default() {
        let grants = Grants::default();
        assert!(grants.has(Capability::Config) && grants.has(Capability::Nothing));
        for denied in [Capability::Log, Capability::Metrics, Capability::Secrets, Capability::Http] {
            assert!(!grants.has(denied), "{denied}");
        }
    }
}
