//! Whom a guest may ask: origins, methods and networks, as the configuration names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::{Authority, Scheme};
use http::{Method, Uri};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address;

/// Bytes of a name: RFC 1035 has no longer ones.
const LONGEST_NAME: usize = 253;

/// One entry of the allow-list: a scheme, a host and a port. Written `https://api.example.com`,
/// `http://10.0.0.5:8080`, or, for all names below one, `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    is_https: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    /// In lower case.
    Name(String),
    /// Everything that ends so; begins with a dot.
    Below(String),
    Address(IpAddr),
}

/// A text that is no [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a server; write it like \"https://api.example.com\", \"http://10.0.0.5:8080\" or, for all names \
     below one, \"https://*.example.com\", without a path"
)]
pub struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let wrong = || OriginError(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        // The star is no part of a name, so the rest is read without it.
        let (is_below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let authority = rest.parse().map_err(|_| wrong())?;
        let (host, port) = place(&authority, is_https).ok_or_else(wrong)?;
        let host = match (host, is_below) {
            (Host::Name(name), true) => Host::Below(format!(".{name}")),
            (Host::Address(_) | Host::Below(_), true) => return Err(wrong()),
            (host, false) => host,
        };
        Ok(Origin { is_https, host, port })
    }
}

/// Host and port of a URL, if it says them plainly.
fn place(authority: &Authority, is_https: bool) -> Option<(Host, u16)> {
    let text = authority.as_str();
    // Who is who before the `@` differs between readers of URLs.
    if text.contains('@') {
        return None;
    }
    let port = match text.rsplit_once(':') {
        // An IPv6 address without a port ends in a bracket.
        Some((_, port)) if !port.ends_with(']') => port.parse().ok()?,
        _ if is_https => 443,
        _ => 80,
    };
    Some((host(authority.host())?, port))
}

/// A host as a URL names it.
fn host(text: &str) -> Option<Host> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Some(Host::Address(address));
    }
    // A name may end in a dot, which says that it is complete; it is the same name.
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > LONGEST_NAME {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!name.is_empty() && name.bytes().all(legal)).then_some(Host::Name(name))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_https { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(name) => write!(f, "*{name}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(IpAddr::V4(address)) => address.fmt(f)?,
        }
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> String {
        origin.to_string()
    }
}

impl Origin {
    /// True if it stands for many names.
    pub(super) fn is_many(&self) -> bool {
        matches!(self.host, Host::Below(_))
    }

    /// True for `https`.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    fn covers(&self, other: &Origin) -> bool {
        let host = match (&self.host, &other.host) {
            (Host::Below(end), Host::Name(name)) => name.len() > end.len() && name.ends_with(end),
            (one, other) => one == other,
        };
        host && (self.is_https, self.port) == (other.is_https, other.port)
    }
}

/// What the configuration allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Whom a guest may ask.
    pub origins: Vec<Origin>,
    /// With which methods.
    pub methods: Vec<Method>,
    /// Networks that are not everybody's, and into which names may lead all the same.
    pub networks: Vec<IpNet>,
}

impl Allowed {
    /// The place of the entry that allows this request, and whom it asks, written as the client shall read it; none
    /// does: `None`.
    pub(super) fn find(&self, method: &Method, uri: &Uri) -> Option<(usize, Origin)> {
        if !self.methods.contains(method) {
            return None;
        }
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let (host, port) = place(uri.authority()?, is_https)?;
        let asked = Origin { is_https, host, port };
        let place = self.origins.iter().position(|origin| origin.covers(&asked))?;
        Some((place, asked))
    }

    /// True if a connection may be made to `address`, which `asked` led to. An address that the list itself names is
    /// named.
    pub(super) fn may_connect(&self, asked: &str, address: IpAddr) -> bool {
        match host(asked) {
            Some(Host::Address(literal)) => literal == address,
            _ => address::may_reach(address, &self.networks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str]) -> Allowed {
        Allowed {
            origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
            methods: vec![Method::GET],
            networks: Vec::new(),
        }
    }

    #[test]
    fn origins_are_written_as_they_are_read() {
        for (text, shown) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.example.com.:443", "https://api.example.com"),
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), shown);
            assert_eq!(shown.parse(), Ok(origin));
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://a.b",
            "https://",
            "https://a.b/path",
            "https://a.b?x",
            "https://u@a.b",
            "https://*",
            "https://a.*.b",
            "https://*.10.0.0.1",
            "https://a.b:",
            "https://a.b:99999",
            "https://a b",
            "https://*.",
            "https://ä.de",
            "HTTPS://a.b",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_passes_only_with_scheme_host_and_port() {
        let list =
            allowed(&["https://api.example.com", "http://*.inner.example:8080", "http://127.0.0.1:9000"]);
        for (uri, place) in [
            ("https://api.example.com/a?b=c", Some(0)),
            ("https://API.EXAMPLE.COM:443/", Some(0)),
            ("https://api.example.com./", Some(0)),
            ("http://a.inner.example:8080/", Some(1)),
            ("http://a.b.inner.example:8080/", Some(1)),
            ("http://127.0.0.1:9000/", Some(2)),
            ("http://api.example.com/", None),
            ("https://api.example.com:8443/", None),
            ("https://evil.example/", None),
            ("https://xapi.example.com/", None),
            ("https://api.example.com.evil.example/", None),
            ("http://inner.example:8080/", None),
            ("http://.inner.example:8080/", None),
            ("http://a.inner.example/", None),
            ("http://127.0.0.1/", None),
            ("http://127.1:9000/", None),
            ("http://[::ffff:127.0.0.1]:9000/", None),
            ("https://api.example.com@evil.example/", None),
            ("https://evil.example@api.example.com/", None),
            ("/api.example.com", None),
        ] {
            let found = list.find(&Method::GET, &uri.parse().unwrap());
            assert_eq!(found.map(|(place, _)| place), place, "{uri}");
        }
        let uri = "https://api.example.com/".parse().unwrap();
        for method in [Method::POST, Method::CONNECT, Method::from_bytes(b"get").unwrap()] {
            assert_eq!(list.find(&method, &uri), None, "{method}");
        }
    }

    #[test]
    fn one_server_is_asked_under_one_name_however_it_is_written() {
        let list = allowed(&["https://api.example.com", "http://127.0.0.1:9000"]);
        for (uri, written) in [
            ("https://API.example.com.:00443/x", "https://api.example.com"),
            ("http://127.0.0.1:09000/", "http://127.0.0.1:9000"),
            ("http://[127.0.0.1]:9000/", "http://127.0.0.1:9000"),
        ] {
            let Ok(uri) = uri.parse() else { continue };
            let found = list.find(&Method::GET, &uri).map(|(_, asked)| asked.to_string());
            assert_eq!(found.as_deref(), Some(written), "{uri}");
        }
        let long = format!("http://{}/", "a".repeat(10_000));
        assert_eq!(allowed(&["http://*.a"]).find(&Method::GET, &long.parse().unwrap()), None);
    }

    #[test]
    fn a_name_never_leads_inside_and_a_named_address_leads_to_itself() {
        let list = allowed(&["http://127.0.0.1:9000", "http://api.example.com"]);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(list.may_connect("127.0.0.1", loopback));
        assert!(!list.may_connect("api.example.com", loopback));
        assert!(!list.may_connect("127.0.0.1", IpAddr::from([127, 0, 0, 2])));
        assert!(list.may_connect("api.example.com", IpAddr::from([93, 184, 216, 34])));
    }
}
