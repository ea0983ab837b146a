//! Why there is no module, in words for people.
//!
//! The client's errors say what it was doing; the operator needs to know whose turn it is. What the registry itself said
//! is repeated cut and escaped, as anybody may have written it.

use std::error::Error;
use std::fmt;
use std::io;

use oci_client::errors::OciErrorCode as Code;
use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};
use serde::{Deserialize, Serialize};

use super::pull::{NOWHERE, Request};
use crate::wasm::text;

/// Bytes of what a registry said that are repeated.
const ECHO: usize = 256;

/// What kind of reason it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The name of a host means nothing.
    UnknownHost,
    /// Nobody answers there, or the connection broke.
    Unreachable,
    /// The server is not who it should be, or speaks no TLS.
    Tls,
    /// The registry wants a login, or another one.
    Unauthorized,
    /// The registry has no such name, tag or digest.
    NotFound,
    /// The registry asks to come back later, or is broken.
    Busy,
    /// More bytes than are allowed.
    TooLarge,
    /// Something else than a module.
    NotWasm,
    /// More or fewer layers than one.
    Layers,
    /// A list of manifests.
    Index,
    /// Other bytes than the digest says.
    Digest,
    /// Not done in time.
    Time,
    /// An answer that makes no sense.
    Broken,
    /// What was asked for cannot be done here.
    Setup,
}

/// What went wrong; where it did is not said yet.
pub(super) type Trouble = (Kind, String);

/// Why a module cannot be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}")]
pub struct PullError {
    /// For programs.
    pub kind: Kind,
    /// For people: what, where, and what to do.
    pub sentence: String,
}

impl PullError {
    pub(super) fn new(request: &Request, (kind, what): Trouble) -> Self {
        PullError { kind, sentence: format!("{} cannot be pulled: {what}", request.reference) }
    }
}

/// Bytes as people read them.
pub(super) fn mebibytes(bytes: u64) -> String {
    if bytes >> 20 == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}

/// What an error of the client means for whoever asked.
pub(super) fn explain(error: OciDistributionError, request: &Request) -> Trouble {
    use OciDistributionError as E;
    match error {
        E::UnauthorizedError { .. } => unauthorized(request, None),
        E::AuthenticationFailure(said) => unauthorized(request, Some(&said)),
        E::RegistryError { envelope, .. } => of_registry(&envelope, request),
        E::ServerError { code, message, .. } => of_status(code, &message, request),
        E::DigestError(error) => of_digest(&error),
        E::RequestError(error) => of_transport(&error, request),
        E::IoError(error) => of_transport(&error, request),
        other => {
            (Kind::Broken, format!("the registry's answer makes no sense: {}", clean(&other.to_string())))
        }
    }
}

/// The same while a layer is read.
pub(super) fn explain_body(error: &io::Error, request: &Request) -> Trouble {
    match causes(error).find_map(<dyn Error>::downcast_ref) {
        Some(error) => of_digest(error),
        None => of_transport(error, request),
    }
}

fn unauthorized(request: &Request, said: Option<&str>) -> Trouble {
    let registry = request.reference.registry();
    let said = said.filter(|said| !said.trim().is_empty()).map(|said| format!(" ({})", clean(said)));
    let said = said.unwrap_or_default();
    let what = match &request.login {
        Some(login) => format!(
            "{registry} refuses the login of {:?}{said}; check its name and password, and that it may read \"{}\"",
            login.user,
            request.reference.repository()
        ),
        None => format!(
            "{registry} asks for a login{said}, and none is configured for it; give one, and check the name as well: \
             some registries say this of names that do not exist"
        ),
    };
    (Kind::Unauthorized, what)
}

fn of_registry(envelope: &OciEnvelope, request: &Request) -> Trouble {
    let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
    let said =
        || match envelope.errors.iter().map(|error| error.message.as_str()).find(|text| !text.is_empty()) {
            Some(message) => message.to_owned(),
            None => envelope.errors.first().map(|error| format!("{:?}", error.code)).unwrap_or_default(),
        };
    if has(&[Code::Unauthorized, Code::Denied]) {
        return unauthorized(request, Some(&said()));
    }
    if has(&[Code::Toomanyrequests]) {
        return of_status(429, &said(), request);
    }
    if has(&[Code::NameUnknown, Code::ManifestUnknown, Code::BlobUnknown, Code::NotFound]) {
        return of_status(404, &said(), request);
    }
    (Kind::Broken, format!("{} refuses the request: \"{}\"", request.reference.registry(), clean(&said())))
}

fn of_status(code: u16, said: &str, request: &Request) -> Trouble {
    let reference = &request.reference;
    let registry = reference.registry();
    let said = if said.trim().is_empty() { String::new() } else { format!(" (\"{}\")", clean(said)) };
    match code {
        401 | 403 => unauthorized(request, None),
        404 => {
            let version = if reference.tag().is_some() { "tag" } else { "digest" };
            let what = format!(
                "{registry} has no \"{}\", or nothing with this {version}{said}; check both, and that it was pushed there",
                reference.repository()
            );
            (Kind::NotFound, what)
        }
        429 => (
            Kind::Busy,
            format!("{registry} has had too many requests{said}; try again later, or give a login"),
        ),
        500.. => {
            (Kind::Busy, format!("{registry} has trouble of its own: status {code}{said}; try again later"))
        }
        _ => (Kind::Broken, format!("{registry} answers with status {code}{said}")),
    }
}

fn of_digest(error: &DigestError) -> Trouble {
    let what = match error {
        DigestError::VerificationError { expected, actual } => format!(
            "the registry answered with other bytes: their digest is {}, not {}; it, or something before it, is damaged \
             or not to be trusted",
            clean(actual),
            clean(expected)
        ),
        other => format!("the registry's digest cannot be read: {}", clean(&other.to_string())),
    };
    (Kind::Digest, what)
}

/// Names, connections, encryption.
fn of_transport(error: &(dyn Error + 'static), request: &Request) -> Trouble {
    let http = causes(error).find_map(<dyn Error>::downcast_ref::<reqwest::Error>);
    // It may be a token service, or wherever the registry keeps its layers.
    let host = http.and_then(reqwest::Error::url).and_then(|url| url.host_str().map(str::to_owned));
    let host = clean(&host.unwrap_or_else(|| request.reference.registry().to_owned()));
    if let Some(error) = causes(error).find_map(<dyn Error>::downcast_ref) {
        return (Kind::Tls, of_tls(&host, error));
    }
    let innermost = clean(&causes(error).last().map(ToString::to_string).unwrap_or_default());
    if causes(error).any(|cause| cause.to_string().contains("dns error")) {
        return (
            Kind::UnknownHost,
            format!("nobody knows the host \"{host}\" ({innermost}); check how it is written"),
        );
    }
    if http.is_some_and(reqwest::Error::is_redirect) {
        return (Kind::Broken, format!("\"{host}\" sends its client in circles"));
    }
    if http.is_some_and(reqwest::Error::is_timeout) {
        return (Kind::Time, format!("\"{host}\" does not answer; check that it can be reached from here"));
    }
    if http.is_some_and(reqwest::Error::is_builder) {
        return (Kind::Setup, format!("the client cannot be set up: {innermost}"));
    }
    // Only there its address is said.
    if http.is_some_and(|error| format!("{error:?}").contains(&format!("{NOWHERE},"))) {
        let what =
            format!("\"{host}\" sends its client on over plain HTTP, and what begins with TLS stays there");
        return (Kind::Tls, what);
    }
    if http.is_some_and(reqwest::Error::is_connect) {
        let what =
            format!("\"{host}\" cannot be connected to ({innermost}); check the port, and that it runs");
        return (Kind::Unreachable, what);
    }
    (Kind::Unreachable, format!("the connection to \"{host}\" broke: {innermost}"))
}

fn of_tls(host: &str, error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error as E};
    match error {
        E::InvalidMessage(_) => {
            format!("\"{host}\" does not speak TLS; if it is a registry of plain HTTP, allow that for it")
        }
        E::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate of \"{host}\" is signed by nobody whom this machine trusts; give the certificate of who \
             signs it"
        ),
        other => format!("\"{host}\" cannot be trusted: {}", clean(&other.to_string())),
    }
}

/// An error and what is behind it. What an error of input or output wraps is one of them, which `source` passes over.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn clean(text: &str) -> String {
    text::clean(text.trim(), ECHO)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::UnknownHost => "unknown_host",
            Kind::Unreachable => "unreachable",
            Kind::Tls => "tls",
            Kind::Unauthorized => "unauthorized",
            Kind::NotFound => "not_found",
            Kind::Busy => "busy",
            Kind::TooLarge => "too_large",
            Kind::NotWasm => "not_wasm",
            Kind::Layers => "layers",
            Kind::Index => "index",
            Kind::Digest => "digest",
            Kind::Time => "time",
            Kind::Broken => "broken",
            Kind::Setup => "setup",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wrapped_error_wraps_is_found() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::other(inner.clone()));
        assert_eq!(causes(&error).find_map(<dyn Error>::downcast_ref::<rustls::Error>), Some(&inner));
    }

    #[test]
    fn a_kind_is_shown_as_it_is_serialised() {
        for kind in [Kind::UnknownHost, Kind::Tls, Kind::NotWasm, Kind::TooLarge, Kind::Setup] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }
}
