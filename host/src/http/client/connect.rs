//! How the host is reached: its address, whom to trust there, and the connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::todo;
use super::{Client, ClientError};

impl Client {
    /// A connection to the host, on which the token may be sent.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let Address { host, port, .. } = &self.address;
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![(address, *port).into()],
            Err(_) => tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|reason| ClientError::Resolve { host: host.clone(), reason })?
                .collect(),
        };
        // What the name stands for counts, and what is looked at here is what is connected to.
        let near = found.iter().all(|address| address.ip().to_canonical().is_loopback());
        if self.tls.is_none() && self.token.is_some() && !near && !self.insecure {
            return Err(ClientError::Insecure { at: self.at() });
        }
        let stream = TcpStream::connect(&found[..]).await.map_err(|reason| match reason.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Refused { at: self.at() },
            _ => ClientError::Connect { at: self.at(), reason },
        })?;
        // Slower without, and no more.
        let _ = stream.set_nodelay(true);
        let stream = Patient { stream, closed: false };
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).expect("it was one when the address was read");
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(reason) => Err(ClientError::Tls { at: self.at(), todo: todo(&reason), reason }),
        }
    }
}

/// What carries a connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where the host is.
pub(super) struct Address {
    pub(super) tls: bool,
    /// As it was written, with the port if there was one.
    pub(super) authority: String,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let wrong = |reason| ClientError::Address { at: text.to_owned(), reason };
        if text.contains('@') {
            // Nor is it shown: a password may stand there.
            return Err(ClientError::Address { at: "…@…".to_owned(), reason: "it has a user" });
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(wrong("something follows its host and port"));
        }
        let written = authority.host();
        let port = match authority.as_str()[written.len()..].strip_prefix(':') {
            None if tls => 443,
            None => 80,
            Some(port) => port.parse().map_err(|_| wrong("its port is no number up to 65535"))?,
        };
        let host = written.trim_start_matches('[').trim_end_matches(']').to_owned();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(wrong("its host is neither a name nor an IP address"));
        }
        Ok(Address { tls, authority: authority.to_string(), host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// A connection on which writing waits where the other end has closed, instead of failing.
///
/// A host that refuses a module answers and closes before all of it came. What is written then fails, while the answer
/// lies there to be read: whoever fails at once never hears why. Reading ends in any case, as the other end has closed.
struct Patient {
    stream: TcpStream,
    closed: bool,
}

impl Patient {
    fn wait(&mut self, cx: &Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.closed = true;
                // Whoever reads looks once more, and is woken by what comes or by the end.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => written,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Whom to trust: the certificates in `ca`, or the machine's.
pub(super) fn roots(ca: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let failed = |reason: String| ClientError::Ca { path: path.to_owned(), reason };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        return if roots.is_empty() { Err(failed("there is none".to_owned())) } else { Ok(roots) };
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(ClientError::Roots(errors.join(", ")));
    }
    Ok(roots)
}

pub(super) fn connector(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}
