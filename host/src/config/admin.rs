//! `[http]` and `[modules]`: who may look, who may deploy, and what.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Findings;
use super::host::Listen;
use super::properties::{Sources, of_file_or_variable};
use super::tree::{Node, Step};

/// The HTTP server: metrics, health, status, API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// Whether there are routes that change something.
    pub admin: bool,
    /// Who may look.
    pub reads: Reads,
    /// The host's own token.
    pub token_file: Option<PathBuf>,
    /// Tokens of others: name, role, token.
    pub tokens: Vec<(String, Role, Text)>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What the host calls itself, and parts of itself, where others are called by their tokens.
const OWN_NAMES: [&str; 4] = ["host", "file", "sandmill", "demo"];
/// Characters of a token, at least.
const TOKEN: usize = 32;

/// A text that nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What a token allows. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at versions and deploys.
    Read,
    /// Change what runs.
    Deploy,
    /// Read who changed what.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Read => "read",
            Role::Deploy => "deploy",
            Role::Admin => "admin",
        })
    }
}

/// Who may look at versions and deploys. Metrics, health and status need no token in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// Everybody who reaches the address.
    #[default]
    Open,
    /// Who has a token of any role.
    Token,
}

/// `[http]` as it is written; [`Http`] is what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpTable {
    /// Address and port of metrics, health, status and API; `"off"` opens no socket.
    pub listen: Listen,
    /// Routes of versions and deploys. Each that changes something needs a token.
    pub admin: bool,
    /// Who may look at versions and deploys. Metrics, health and status need no token in any case.
    pub reads: Reads,
    /// The file of the host's own token, whose role is `admin`. Relative: to the file's folder. Without it, on a loopback
    /// address: `token` in `host.data_dir`, made at the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub token_file: Option<PathBuf>,
    /// The server's certificate and those that signed it, as PEM; with `tls_key`. Relative: to the file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key, as PEM. Relative: to the file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub tls_key: Option<PathBuf>,
    /// Tokens of people and programs, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, Token>,
}

impl Default for HttpTable {
    fn default() -> Self {
        HttpTable {
            listen: Listen::default(),
            admin: true,
            reads: Reads::default(),
            token_file: None,
            tls_certificate: None,
            tls_key: None,
            tokens: BTreeMap::new(),
        }
    }
}

/// A token: what it may do, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    /// What it may do: `read`, `deploy` or `admin`; each includes those before it.
    pub role: Role,
    /// The file that holds it. Relative: to the configuration file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub env: Option<String>,
}

/// Which modules may run, and where they are fetched from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Modules {
    /// Keys of `keys` that have to have signed a module before it runs; 0 lets every module run. Without it: 1 if there are
    /// keys, else 0.
    pub signatures: u32,
    /// Public keys of minisign, by name: the line of letters of its file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, String>,
    /// Registries that modules may be fetched from, by host: `ghcr.io`, or `registry:5000`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub registries: BTreeMap<String, Registry>,
}

/// A registry of modules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// Who asks. Without it: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub user: Option<String>,
    /// The file of his password. Relative: to the configuration file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// The environment variable of his password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub env: Option<String>,
    /// It is asked without TLS.
    pub plain_http: bool,
    /// Whose certificates are believed, as PEM, beside those that the machine believes. Relative: to the file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub ca_file: Option<PathBuf>,
    /// The password, once it was read.
    #[serde(skip)]
    pub password: Option<Text>,
}

impl HttpTable {
    /// What the table means; `None`: no socket.
    pub(super) fn resolve(
        &mut self,
        tree: &Node,
        sources: &Sources<'_>,
        findings: &mut Findings,
    ) -> Option<Http> {
        for (key, path) in [
            ("token_file", &mut self.token_file),
            ("tls_certificate", &mut self.tls_certificate),
            ("tls_key", &mut self.tls_key),
        ] {
            if let Some(path) = path {
                *path = placed(tree, &["http".into(), key.into()], path, sources);
            }
        }
        let mut tokens = Vec::new();
        for (name, token) in &mut self.tokens {
            let at = ["http".into(), "tokens".into(), Step::from(name.as_str())];
            if OWN_NAMES.contains(&name.as_str()) {
                let problem =
                    format!("{name:?} is what the host calls itself in the audit log; choose another name");
                report(tree, &at, &problem, findings);
            }
            let kept = of_file_or_variable(tree, &at, token.file.as_deref(), token.env.as_deref(), sources);
            if let Some(path) = &mut token.file {
                *path = placed(tree, &[&at[..], &["file".into()]].concat(), path, sources);
            }
            match kept {
                Ok(Some(value))
                    if value.len() < TOKEN || !value.bytes().all(|byte| byte.is_ascii_graphic()) =>
                {
                    let problem = format!(
                        "a token has at least {TOKEN} visible characters; `openssl rand -hex 32` makes one"
                    );
                    report(tree, &at, &problem, findings);
                }
                Ok(Some(value)) => tokens.push((name.clone(), token.role, Text(value))),
                Ok(None) => {
                    report(tree, &at, "says neither `file` nor `env`, where the token is kept", findings)
                }
                Err(problem) => report(tree, &at, &problem, findings),
            }
        }
        let tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (one, _) => {
                let (there, missing) = if one.is_some() {
                    ("tls_certificate", "tls_key")
                } else {
                    ("tls_key", "tls_certificate")
                };
                report(
                    tree,
                    &["http".into(), there.into()],
                    &format!("needs `{missing}` beside it"),
                    findings,
                );
                None
            }
        };
        let token_file = self.token_file.clone();
        let Listen::At(listen) = self.listen else { return None };
        if self.admin && !listen.ip().is_loopback() && tokens.is_empty() && token_file.is_none() {
            let problem = format!(
                "others can reach {listen}, and no token keeps them from deploying; add token_file = \"…\" or \
                 [http.tokens.NAME], or admin = false to leave out whatever changes something"
            );
            report(tree, &["http".into(), "listen".into()], &problem, findings);
        }
        Some(Http { listen, admin: self.admin, reads: self.reads, token_file, tokens, tls })
    }

    /// What would be written for `http`.
    pub(super) fn of(http: Option<&Http>, written: &HttpTable) -> HttpTable {
        let listen = http.map_or(Listen::Off, |http| Listen::At(http.listen));
        HttpTable { listen, ..written.clone() }
    }
}

impl Modules {
    /// Reads passwords, and holds what is written against itself.
    pub(super) fn resolve(&mut self, tree: &Node, sources: &Sources<'_>, findings: &mut Findings) {
        // Who names keys wants them to count.
        if tree.get(&["modules".into(), "signatures".into()]).is_none() && !self.keys.is_empty() {
            self.signatures = 1;
        }
        if self.signatures as usize > self.keys.len() {
            let problem = format!("{} signatures of {} keys can never be", self.signatures, self.keys.len());
            report(tree, &["modules".into(), "signatures".into()], &problem, findings);
        }
        for (host, registry) in &mut self.registries {
            let at = ["modules".into(), "registries".into(), Step::from(host.as_str())];
            if host.contains('/') || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                let problem =
                    "is a host in small letters, with a port or without: \"ghcr.io\", \"registry:5000\"";
                report(tree, &at, problem, findings);
            }
            if let Some(path) = &mut registry.ca_file {
                let key = [&at[..], &["ca_file".into()]].concat();
                *path = placed(tree, &key, path, sources);
            }
            let (file, env) = (registry.file.as_deref(), registry.env.as_deref());
            let kept = of_file_or_variable(tree, &at, file, env, sources);
            if let Some(path) = &mut registry.file {
                *path = placed(tree, &[&at[..], &["file".into()]].concat(), path, sources);
            }
            match kept {
                Ok(password) => registry.password = password.map(Text),
                Err(problem) => report(tree, &at, &problem, findings),
            }
            if registry.user.is_some() != registry.password.is_some() {
                report(tree, &at, "a login is `user`, and `file` or `env` for the password", findings);
            }
        }
    }
}

fn placed(tree: &Node, key: &[Step], path: &Path, sources: &Sources<'_>) -> PathBuf {
    super::resolve(path, &tree.origin(key), sources.folder)
}

fn report(tree: &Node, path: &[Step], problem: &str, findings: &mut Findings) {
    findings.add(tree.origin(path), format!("{}: {problem}", tree.key_name(path)));
}
