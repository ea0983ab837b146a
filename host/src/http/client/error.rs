//! What went wrong between the command line and the host, as sentences for the person at the terminal.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use super::ANSWER_BYTES;

/// Why there is no answer. `at` is the address as it was given.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{at:?} is no address of a host: {reason}; give one like http://127.0.0.1:9095")]
    Address {
        /// As given, without a password.
        at: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be sent.
    #[error(
        "the token has a character that is no visible ASCII; is it the right file, and only the token in it?"
    )]
    Token,
    /// Everybody on the way could read the token.
    #[error(
        "{at} is not this machine, and without TLS everybody on the way could read the token; use https://, or \
         `--insecure` where the network is trusted"
    )]
    Insecure {
        /// The address.
        at: String,
    },
    /// The certificates to trust cannot be read.
    #[error("cannot read certificates from {}: {reason}; it has to be a PEM file", path.display())]
    Ca {
        /// Of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody to trust.
    #[error("this machine trusts no certificates ({0}); give the one to trust with `--ca`")]
    Roots(String),
    /// The request cannot be put into words of HTTP.
    #[error("cannot ask for {path:?}: {reason}")]
    Request {
        /// With its query.
        path: String,
        /// What is wrong with it or its headers.
        reason: http::Error,
    },
    /// The name has no address.
    #[error("cannot find {host:?}: {reason}; is the name right?")]
    Resolve {
        /// As in the address.
        host: String,
        /// What the resolver says.
        reason: io::Error,
    },
    /// Nothing is there.
    #[error("nothing listens at {at}; is the host running, and with `[http] listen` at this address?")]
    Refused {
        /// The address.
        at: String,
    },
    /// It cannot be reached.
    #[error("cannot reach {at}: {reason}")]
    Connect {
        /// The address.
        at: String,
        /// What the system says.
        reason: io::Error,
    },
    /// No TLS, or with somebody who is not trusted.
    #[error("cannot speak TLS with {at}: {reason}; {todo}")]
    Tls {
        /// The address.
        at: String,
        /// What the TLS library says.
        reason: io::Error,
        /// What to do.
        todo: &'static str,
    },
    /// What comes is no HTTP.
    #[error("what listens at {at} does not answer in HTTP; {todo}")]
    NoHttp {
        /// The address.
        at: String,
        /// What to do.
        todo: &'static str,
    },
    /// The connection ended.
    #[error("the connection to {at} ended before the answer did: {reason}; the host's log may say why")]
    Broken {
        /// The address.
        at: String,
        /// What the HTTP library says.
        reason: String,
    },
    /// It takes too long.
    #[error("{at} did not answer within {timeout:?}; what was asked for may still be done")]
    Time {
        /// The address.
        at: String,
        /// How long it might have taken.
        timeout: Duration,
    },
    /// It says too much.
    #[error("the answer of {at} is larger than {} MiB; is it a Sandmill host?", ANSWER_BYTES >> 20)]
    TooLarge {
        /// The address.
        at: String,
    },
    /// Somebody else should be asked.
    #[error(
        "{at} sends elsewhere ({status}, to {location:?}), and tokens do not follow; give the right address"
    )]
    Redirect {
        /// The address.
        at: String,
        /// Of the answer.
        status: u16,
        /// Where to; the server's words.
        location: String,
    },
    /// The system gives no event queue.
    #[error("cannot start the HTTP client: {0}")]
    Runtime(io::Error),
}

/// What to do about a handshake that failed.
pub(super) fn todo(reason: &io::Error) -> &'static str {
    let tls = reason.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "give the certificate of who signed the host's with `--ca`",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "use the name that the host's certificate is for",
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "make the host's certificate with `-addext basicConstraints=critical,CA:FALSE`"
        }
        Some(rustls::Error::InvalidCertificate(_)) => "look at the host's certificate",
        _ => "has its `[http]` a certificate? Without one its address begins with http://",
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}
