//! How a module in a registry is written: `oci://registry.example/team/orders@sha256:…`.
//!
//! Registry and name are always written out: there is no default registry, no `library/` and no `latest`. What parses
//! here may stand in a URL as it is; the grammar is that of the OCI distribution specification 1.1.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wasm::{Digest, text};

/// What it begins with.
const SCHEME: &str = "oci://";
/// Before the digits of a digest.
const ALGORITHM: &str = "sha256:";
/// Bytes of all of it: more than its parts may have together.
const LONGEST: usize = 1 << 10;
/// Bytes of a host's name: RFC 1035.
const LONGEST_HOST: usize = 253;
/// Bytes of a repository's name, the most that registries take.
const LONGEST_REPOSITORY: usize = 255;
/// Bytes of a tag.
const LONGEST_TAG: usize = 128;
/// Bytes of a wrong one that are repeated to whoever wrote it.
const ECHO: usize = 128;

/// A module in a registry. Written with a digest it means one module for ever; with a tag, whatever the registry has
/// under that name when it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// In lower case, with the port if one is written.
    registry: String,
    repository: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Version {
    Digest(Digest),
    Tag(String),
}

/// A text that is no [`Reference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no module in a registry: {wrong}; write it like \"oci://registry.example/team/orders@sha256:…\" with \
     all 64 digits of the manifest's digest, or, to take whatever a tag means when it is deployed, \
     \"oci://registry.example/team/orders:v1\""
)]
pub struct ReferenceError {
    text: String,
    wrong: Wrong,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("it has more than {LONGEST} bytes")]
    Long,
    #[error("it does not begin with \"{SCHEME}\"")]
    Scheme,
    #[error("no name follows the registry's")]
    NoRepository,
    #[error("a login does not belong there")]
    Login,
    #[error(
        "the registry is not written as a host's name or address, with or without a port from 1 to 65535"
    )]
    Registry,
    #[error(
        "the repository's name may have lower-case letters and digits, in between `.`, `_`, `__` or hyphens, and `/` \
         between its parts, {LONGEST_REPOSITORY} bytes at most"
    )]
    Repository,
    #[error("it has neither a digest nor a tag")]
    NoVersion,
    #[error("it has both a tag and a digest, and only one of them can count")]
    Both,
    #[error("a digest is written `{ALGORITHM}` and 64 hexadecimal digits in lower case")]
    Digest,
    #[error(
        "a tag has letters, digits, `_`, `.` and `-`, begins with none of the last two, {LONGEST_TAG} bytes at most"
    )]
    Tag,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|wrong| {
            // Who is before the `@` of a host may have a password there.
            let host = text.strip_prefix(SCHEME).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            let shown = match host.rsplit_once('@') {
                Some((login, _)) => text.replacen(login, "<redacted>", 1),
                None => text.to_owned(),
            };
            ReferenceError { text: text::head(&shown, ECHO).to_owned(), wrong }
        })
    }
}

fn parse(text: &str) -> Result<Reference, Wrong> {
    if text.len() > LONGEST {
        return Err(Wrong::Long);
    }
    let rest = text.strip_prefix(SCHEME).ok_or(Wrong::Scheme)?;
    let (registry, rest) = rest.split_once('/').ok_or(Wrong::NoRepository)?;
    // Who is who before the `@` differs between readers of URLs.
    if registry.contains('@') {
        return Err(Wrong::Login);
    }
    let registry = registry.to_ascii_lowercase();
    if !is_registry(&registry) {
        return Err(Wrong::Registry);
    }
    let (repository, version) = match (rest.split_once('@'), rest.split_once(':')) {
        (Some((name, _)), _) if name.contains(':') => return Err(Wrong::Both),
        (Some((name, digest)), _) => (name, Version::Digest(parse_digest(digest).ok_or(Wrong::Digest)?)),
        (None, Some((name, tag))) if is_tag(tag) => (name, Version::Tag(tag.to_owned())),
        (None, Some(_)) => return Err(Wrong::Tag),
        (None, None) if rest.is_empty() => return Err(Wrong::NoRepository),
        (None, None) => return Err(Wrong::NoVersion),
    };
    if !is_repository(repository) {
        return Err(Wrong::Repository);
    }
    Ok(Reference { registry, repository: repository.to_owned(), version })
}

/// A digest as registries write it: `sha256:` and 64 digits in lower case.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    let digits = text.strip_prefix(ALGORITHM)?;
    // Only one way of writing it, as it stands in paths.
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    digits.parse().ok()
}

/// The same, written.
pub(super) fn show_digest(digest: &Digest) -> String {
    format!("{ALGORITHM}{digest}")
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address without a port ends in a bracket.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    // A port written `+80` or `080` is another text for a known one.
    let is_port = |text: &str| !text.starts_with(['0', '+']) && text.parse::<u16>().is_ok();
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= LONGEST_HOST && text.split('.').all(is_label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
fn is_repository(text: &str) -> bool {
    text.len() <= LONGEST_REPOSITORY && text.split('/').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let mut rest = text;
    loop {
        let after = rest.trim_start_matches(is_plain);
        if after.len() == rest.len() {
            return false;
        }
        if after.is_empty() {
            return true;
        }
        rest = after.trim_start_matches(|character| !is_plain(character));
        if !is_separator(&after[..after.len() - rest.len()]) {
            return false;
        }
    }
}

fn is_tag(text: &str) -> bool {
    text.len() <= LONGEST_TAG
        && !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl Reference {
    /// Whom to ask: a host, with a port if one is written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// What the registry calls it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The manifest's digest; `None`: it is named by a tag.
    pub fn digest(&self) -> Option<Digest> {
        match self.version {
            Version::Digest(digest) => Some(digest),
            Version::Tag(_) => None,
        }
    }

    /// The tag; `None`: it is named by a digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Digest(_) => None,
            Version::Tag(tag) => Some(tag),
        }
    }

    /// The same name with the digest that its tag has come to mean.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Reference { version: Version::Digest(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Digest(digest) => write!(f, "@{ALGORITHM}{digest}"),
            Version::Tag(tag) => write!(f, ":{tag}"),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGITS: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn its_parts_are_those_that_are_written() {
        let reference: Reference =
            format!("oci://Registry.Example:5000/team/orders@sha256:{DIGITS}").parse().unwrap();
        assert_eq!(reference.registry(), "registry.example:5000");
        assert_eq!(reference.repository(), "team/orders");
        assert_eq!(reference.digest(), Some(DIGITS.parse().unwrap()));
        assert_eq!(reference.tag(), None);

        let tagged: Reference = "oci://[::1]:5000/a:v1.0_x-Y".parse().unwrap();
        assert_eq!((tagged.registry(), tagged.repository()), ("[::1]:5000", "a"));
        assert_eq!((tagged.tag(), tagged.digest()), (Some("v1.0_x-Y"), None));
        assert_eq!(
            tagged.at(DIGITS.parse().unwrap()).to_string(),
            format!("oci://[::1]:5000/a@sha256:{DIGITS}")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let digest = |start: &str, digits: &str| format!("oci://{start}@sha256:{digits}");
        let long = "a".repeat(256);
        for (text, wrong) in [
            (String::new(), Wrong::Scheme),
            ("registry.example/a:v1".to_owned(), Wrong::Scheme),
            ("https://registry.example/a:v1".to_owned(), Wrong::Scheme),
            ("OCI://registry.example/a:v1".to_owned(), Wrong::Scheme),
            ("oci://registry.example".to_owned(), Wrong::NoRepository),
            ("oci://registry.example/".to_owned(), Wrong::NoRepository),
            ("oci:///a:v1".to_owned(), Wrong::Registry),
            ("oci://ci:secret@registry.example/a:v1".to_owned(), Wrong::Login),
            ("oci://registry.example:0/a:v1".to_owned(), Wrong::Registry),
            ("oci://registry.example:/a:v1".to_owned(), Wrong::Registry),
            ("oci://registry.example:080/a:v1".to_owned(), Wrong::Registry),
            ("oci://registry.example:65536/a:v1".to_owned(), Wrong::Registry),
            ("oci://registry..example/a:v1".to_owned(), Wrong::Registry),
            ("oci://-a.example/a:v1".to_owned(), Wrong::Registry),
            ("oci://a?b/a:v1".to_owned(), Wrong::Registry),
            ("oci://[::1/a:v1".to_owned(), Wrong::Registry),
            ("oci://ä.example/a:v1".to_owned(), Wrong::Registry),
            ("oci://a.example/A:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/../b:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a//b:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a/:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a.-b:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a___b:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a%2fb:v1".to_owned(), Wrong::Repository),
            ("oci://a.example/a?b:v1".to_owned(), Wrong::Repository),
            (format!("oci://a.example/{long}:v1"), Wrong::Repository),
            ("oci://a.example/a".to_owned(), Wrong::NoVersion),
            ("oci://a.example/a:".to_owned(), Wrong::Tag),
            ("oci://a.example/a:.b".to_owned(), Wrong::Tag),
            ("oci://a.example/a:b/c".to_owned(), Wrong::Tag),
            ("oci://a.example/a:v1\n".to_owned(), Wrong::Tag),
            (format!("oci://a.example/a:{long}"), Wrong::Tag),
            (digest("a.example/a:v1", DIGITS), Wrong::Both),
            (digest("a.example/a", &DIGITS[1..]), Wrong::Digest),
            (digest("a.example/a", &DIGITS.to_uppercase()), Wrong::Digest),
            ("oci://a.example/a@sha512:00".to_owned(), Wrong::Digest),
            (format!("oci://{}", "a".repeat(LONGEST)), Wrong::Long),
        ] {
            assert_eq!(text.parse::<Reference>().map_err(|error| error.wrong), Err(wrong), "{text}");
        }
    }

    #[test]
    fn an_error_says_how_it_is_written_and_repeats_no_more_than_needed() {
        let error = format!("oci://{}", "a".repeat(10_000)).parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("oci://registry.example/team/orders@sha256:…"), "{error}");
        assert!(error.len() < 700, "{error}");
    }

    #[test]
    fn a_repository_may_be_called_what_the_specification_allows() {
        for name in ["a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c", "a1/b-2/c_3.4"] {
            assert!(is_repository(name), "{name}");
        }
        for name in ["", "/", "-a", "a-", "a..b", "a._b", "a-_b", "a/-b", "ab/", "a b", "é"] {
            assert!(!is_repository(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_reference_is_written_as_it_was_read(
            host in "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?){0,3}",
            port in prop::option::of(1u16..),
            repository in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}){0,4}",
            version in "(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}|@sha256:[0-9a-f]{64})",
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let text = format!("oci://{host}{port}/{repository}{version}");
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.to_string(), text);
        }

        /// Whatever is written: what passes holds nothing that a URL reads otherwise.
        #[test]
        fn what_parses_can_stand_in_a_url(text in "oci://[a-zA-Z0-9.:/@_%?# -]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:/_-[]".contains(&byte);
                prop_assert!(reference.registry().bytes().chain(reference.repository().bytes()).all(plain));
                prop_assert!(reference.repository().split('/').all(|part| part != "." && part != ".."));
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "\\PC*", after in "\\PC*") {
            drop(text.parse::<Reference>());
            drop(format!("oci://{after}").parse::<Reference>());
            drop(format!("oci://a.example/{after}").parse::<Reference>());
        }
    }
}
