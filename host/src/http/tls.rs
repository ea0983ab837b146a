//! TLS of the server: its certificate and key, which are replaced while it runs.
//!
//! Certificates end every few weeks, so whoever renews them only writes two files: a poller asks
//! [`Certificates::reload_if_changed`], and connections that come later get the new pair. Those that are open keep
//! theirs. A pair that cannot be used changes nothing; between two files that are written one after the other there is
//! always a moment when they do not fit, so it is tried again until they do.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read the {what} {}: {reason}; it has to be a PEM file that this user may read", path.display()
    )]
    Read {
        /// `certificate` or `key`.
        what: &'static str,
        /// Of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: pem::Error,
    },
    /// A file without a certificate.
    #[error(
        "{} holds no certificate; the file begins with the server's own, as `-----BEGIN CERTIFICATE-----`, and \
         those that signed it follow", path.display()
    )]
    NoCertificate {
        /// Of the file.
        path: PathBuf,
    },
    /// A file without a key.
    #[error(
        "{} holds no private key; the file has one as `-----BEGIN PRIVATE KEY-----`, and no password", path.display()
    )]
    NoKey {
        /// Of the file.
        path: PathBuf,
    },
    /// Two files that are not a pair.
    #[error(
        "the key {} does not fit the certificate {}; the server's own certificate has to be the first in its file",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// Of the certificate's file.
        certificate: PathBuf,
        /// Of the key's file.
        key: PathBuf,
    },
    /// A certificate or key of a kind that is not known.
    #[error(
        "the certificate {} with the key {} cannot be used: {reason}; keys are RSA, ECDSA (P-256, P-384) or Ed25519",
        certificate.display(), key.display()
    )]
    Unusable {
        /// Of the certificate's file.
        certificate: PathBuf,
        /// Of the key's file.
        key: PathBuf,
        /// What the TLS library says.
        reason: rustls::Error,
    },
}

/// A certificate and its key: always a pair that fits.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    /// Sessions belong to it, so nobody comes back to an old certificate with an old ticket.
    config: ArcSwap<ServerConfig>,
    seen: Mutex<Seen>,
}

/// The files as they were when they were last read.
struct Seen {
    files: [Option<Stamp>; 2],
    /// They could be used.
    used: bool,
}

/// Tells a file from what was there before: device, number, size, and when content and file changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64, u64),
    changed: [(i64, i64); 2],
}

impl Stamp {
    /// None if there is nothing.
    fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(Stamp {
            file: (data.dev(), data.ino(), data.size()),
            changed: [(data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec())],
        })
    }
}

impl Certificates {
    /// Reads both files, in PEM: the certificate with those that signed it, and its key.
    ///
    /// # Errors
    /// If one cannot be read or holds nothing of the kind, or if the key does not fit the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen the next time.
        let files = [certificate, key].map(Stamp::of);
        let config = read(certificate, key)?;
        Ok(Certificates {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            config: ArcSwap::from_pointee(config),
            seen: Mutex::new(Seen { files, used: true }),
        })
    }

    /// Reads both files again if one of them has changed; true if connections get a new pair from now on.
    ///
    /// # Errors
    /// If the new pair cannot be used: the old one stays. Said once for every change, and tried again each time.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = [&self.certificate, &self.key].map(|path| Stamp::of(path));
        let changed = files != seen.files;
        // A file may be written twice within one tick of the clock that stamps it, so a bad pair may be a good one now.
        if !changed && seen.used {
            return Ok(false);
        }
        let config = read(&self.certificate, &self.key);
        *seen = Seen { files, used: config.is_ok() };
        match config {
            Ok(config) => {
                self.config.store(Arc::new(config));
                Ok(true)
            }
            Err(error) if changed => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// The handshake of a connection. Its caller says how long it may take: nothing here does.
    ///
    /// # Errors
    /// If the other end gives up, speaks no TLS, or neither HTTP/1.1 nor without saying what.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Certificates");
        shown.field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

/// What connections are accepted with.
fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unreadable = |reason| TlsError::Read { what: "certificate", path: certificate.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: certificate.to_owned() });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: key.to_owned() },
        reason => TlsError::Read { what: "key", path: key.to_owned(), reason },
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            reason => TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), reason },
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// A folder with a pair of files.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Files(tempfile::tempdir().expect("a folder is made"))
        }

        fn certificate(&self) -> PathBuf {
            self.0.path().join("host.crt")
        }

        fn key(&self) -> PathBuf {
            self.0.path().join("host.key")
        }

        fn load(&self) -> Result<Certificates, TlsError> {
            Certificates::load(&self.certificate(), &self.key())
        }

        /// Puts a new pair there, and returns its certificate.
        fn renew(&self) -> CertificateDer<'static> {
            let made = made();
            put(&self.certificate(), &made.cert.pem());
            put(&self.key(), &made.signing_key.serialize_pem());
            made.cert.der().clone()
        }
    }

    fn made() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is signed")
    }

    /// As careful programs do: the file is another one.
    fn put(path: &Path, text: &str) {
        let beside = path.with_extension("new");
        fs::write(&beside, text).expect("there is room");
        fs::rename(beside, path).expect("it is the same folder");
    }

    /// What a client that trusts `trusted` sees: the server's certificate and the protocol that was agreed on.
    async fn handshake(
        certificates: &Certificates,
        trusted: CertificateDer<'static>,
        protocols: &[&str],
    ) -> io::Result<(CertificateDer<'static>, Option<Vec<u8>>)> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).expect("it is a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = async { certificates.accept(listener.accept().await?.0).await };
        let client = async {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").expect("it is a name");
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let (accepted, connected) = tokio::join!(server, client);
        let connected = connected?;
        accepted?;
        let (_, session) = connected.get_ref();
        let sent = session.peer_certificates().expect("a server shows one")[0].clone();
        Ok((sent, session.alpn_protocol().map(<[u8]>::to_vec)))
    }

    fn error(result: Result<impl fmt::Debug, TlsError>, words: &[&str]) {
        let error = result.expect_err("it cannot be used").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_certificate_is_served_http_1() {
        let files = Files::new();
        let trusted = files.renew();
        let certificates = files.load().expect("they fit");
        for protocols in [&["h2", "http/1.1"][..], &["http/1.1"]] {
            let (sent, protocol) =
                handshake(&certificates, trusted.clone(), protocols).await.expect("it is trusted");
            assert_eq!((sent, protocol.as_deref()), (trusted.clone(), Some(&b"http/1.1"[..])));
        }
        let (_, protocol) =
            handshake(&certificates, trusted.clone(), &[]).await.expect("HTTP/1.1 is assumed");
        assert_eq!(protocol, None);
        handshake(&certificates, trusted, &["h2"]).await.expect_err("there is no HTTP/2");
        let other = made().cert.der().clone();
        handshake(&certificates, other, &[]).await.expect_err("another one is trusted");
    }

    #[tokio::test]
    async fn new_connections_get_what_lies_there_now() {
        let files = Files::new();
        let first = files.renew();
        let certificates = files.load().expect("they fit");
        assert!(!certificates.reload_if_changed().expect("nothing happened"));
        let second = files.renew();
        let (sent, _) = handshake(&certificates, first.clone(), &[]).await.expect("nobody looked yet");
        assert_eq!(sent, first);
        assert!(certificates.reload_if_changed().expect("they fit"));
        assert!(!certificates.reload_if_changed().expect("nothing happened"));
        let (sent, _) = handshake(&certificates, second.clone(), &[]).await.expect("it is trusted");
        assert_eq!(sent, second);
    }

    #[tokio::test]
    async fn a_damaged_pair_leaves_the_old_one_and_is_said_once() {
        let files = Files::new();
        let first = files.renew();
        let certificates = files.load().expect("they fit");
        let second = made();
        // Half of a renewal: the key is still the old one.
        put(&files.certificate(), &second.cert.pem());
        error(certificates.reload_if_changed(), &["host.key", "does not fit", "host.crt"]);
        assert!(!certificates.reload_if_changed().expect("it was said"));
        fs::remove_file(files.key()).expect("it is ours");
        error(certificates.reload_if_changed(), &["cannot read the key", "host.key"]);
        let (sent, _) = handshake(&certificates, first.clone(), &[]).await.expect("it is still there");
        assert_eq!(sent, first);
        put(&files.key(), &second.signing_key.serialize_pem());
        assert!(certificates.reload_if_changed().expect("they fit"));
        let (sent, _) =
            handshake(&certificates, second.cert.der().clone(), &[]).await.expect("it is trusted");
        assert_eq!(sent, *second.cert.der());
    }

    #[test]
    fn what_is_no_pair_is_refused_with_its_path() {
        let files = Files::new();
        error(files.load(), &["cannot read the certificate", "host.crt"]);
        files.renew();
        fs::write(files.key(), made().signing_key.serialize_pem()).expect("there is room");
        error(files.load(), &["host.key", "does not fit", "host.crt"]);
        fs::write(files.key(), made().cert.pem()).expect("there is room");
        error(files.load(), &["host.key", "no private key"]);
        fs::write(files.certificate(), "").expect("there is room");
        error(files.load(), &["host.crt", "no certificate"]);
        let damaged = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        fs::write(files.certificate(), damaged).expect("there is room");
        error(files.load(), &["cannot read the certificate", "host.crt"]);
        // Base64 it is, and no certificate.
        files.renew();
        fs::write(files.certificate(), damaged.replace('!', "AAAA")).expect("there is room");
        error(files.load(), &["host.crt", "cannot be used"]);
    }

    #[test]
    fn the_key_is_not_shown() {
        let files = Files::new();
        files.renew();
        let shown = format!("{:?}", files.load().expect("they fit"));
        assert!(shown.contains("host.key") && shown.len() < 300, "{shown}");
    }
}
