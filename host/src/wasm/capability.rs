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
}

impl Grants {
    /// Everything that can be granted.
    pub const ALL: Grants = Grants { log: true, config: true };

    /// True if `capability` is granted.
    pub const fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Nothing => true,
            Capability::Log => self.log,
            Capability::Config => self.config,
        }
    }
}

impl Default for Grants {
    /// Only `config`: it holds what the operator wrote for this handler.
    fn default() -> Self {
        Grants { log: false, config: true }
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
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::Nothing => "nothing",
            Capability::Log => "log",
            Capability::Config => "config",
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
        assert_eq!(of_import("wasi:cli/environment@0.2.3"), Some(Capability::Nothing));
        for unknown in [
            "wasi:http/outgoing-handler@0.2.0",
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
        assert!(
            grants.has(Capability::Config) && grants.has(Capability::Nothing) && !grants.has(Capability::Log)
        );
    }
}
