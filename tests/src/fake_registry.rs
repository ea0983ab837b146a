//! A registry that answers as it is told and remembers who asked: hostile, broken, or honest.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use sandmill::deploy::registry::Request;
use sandmill::wasm::Digest;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::registry;

/// A module, as far as a registry looks at it.
pub const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// A request, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Path and query.
    pub uri: String,
    /// Whom the client means to ask, as `127.0.0.1:4711`.
    pub host: String,
    /// A login or a token.
    pub authorization: Option<String>,
}

impl Asked {
    /// Without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// A manifest is asked for.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        self.path().contains("/manifests/")
    }

    /// A layer is asked for.
    #[must_use]
    pub fn is_blob(&self) -> bool {
        self.path().contains("/blobs/")
    }

    /// Sends the client for a token to `/token` of the same registry; `rest` is what the challenge says besides.
    #[must_use]
    pub fn token_first(&self, rest: &str) -> Response {
        challenge(&format!("Bearer realm=\"http://{}/token\"{rest}", self.host))
    }
}

/// What an honest registry has, or nearly.
#[derive(Clone, Debug)]
pub struct Wasm {
    /// The layer.
    pub bytes: Vec<u8>,
    /// Its size as the manifest says it, if not the truth.
    pub size: Option<u64>,
    /// How often the manifest names it.
    pub layers: usize,
    /// Where it is to be had besides.
    pub urls: Vec<String>,
}

impl Default for Wasm {
    fn default() -> Self {
        Wasm { bytes: WASM.to_vec(), size: None, layers: 1, urls: Vec::new() }
    }
}

impl Wasm {
    /// What describes it.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        let mut layer = json!({
            "mediaType": "application/wasm",
            "digest": format!("sha256:{}", Digest::of(&self.bytes)),
            "size": self.size.unwrap_or(self.bytes.len() as u64),
        });
        if !self.urls.is_empty() {
            layer["urls"] = json!(self.urls);
        }
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": "sha256:0", "size": 2},
            "layers": vec![layer; self.layers],
        })
        .to_string()
        .into_bytes()
    }

    /// As it should be.
    #[must_use]
    pub fn serve(&self, asked: &Asked) -> Response {
        match asked.path() {
            "/v2/" => answer(200, "{}"),
            _ if asked.is_manifest() => answer(200, self.manifest()),
            _ if asked.is_blob() => answer(200, self.bytes.clone()),
            _ => answer(404, ""),
        }
    }
}

/// This status and body.
///
/// # Panics
/// When there is no such status.
#[must_use]
pub fn answer(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).expect("it is a status")
}

/// A body of JSON.
#[must_use]
pub fn json(body: &Value) -> Response {
    answer(200, body.to_string())
}

/// Sends the client elsewhere.
#[must_use]
pub fn redirect(to: &str) -> Response {
    with_header(answer(307, ""), "location", to)
}

/// Asks for a login in this way; in none, if that is empty.
#[must_use]
pub fn challenge(how: &str) -> Response {
    let response = answer(401, "");
    if how.is_empty() { response } else { with_header(response, "www-authenticate", how) }
}

/// The same with a header.
///
/// # Panics
/// When the value cannot stand in one.
#[must_use]
pub fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    response.headers_mut().insert(name, value.parse().expect("it can stand in a header"));
    response
}

/// As fast as it is read, for ever.
#[must_use]
pub fn endless(status: u16) -> Response {
    let part = Bytes::from(vec![b' '; 64 << 10]);
    answer(status, Body::from_stream(stream::repeat(part).map(Ok::<_, std::io::Error>)))
}

/// A byte every tenth of a second.
#[must_use]
pub fn drip() -> Response {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"\0")), ()))
    });
    answer(200, Body::from_stream(bytes))
}

/// A running registry on loopback; ends when it is dropped.
pub struct Fake {
    port: u16,
    ca: Option<String>,
    seen: Arc<Mutex<Vec<Asked>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Answers every request as `reply` says.
    ///
    /// # Panics
    /// When the machine gives no socket or no thread.
    #[must_use]
    pub fn start(reply: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        Self::listen(reply, None)
    }

    /// The same over TLS, under a certificate of its own for 127.0.0.1 and localhost.
    ///
    /// # Panics
    /// As [`Fake::start`].
    #[must_use]
    pub fn start_tls(reply: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("it is signed");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it was just made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("key and certificate belong together");
        Self::listen(reply, Some((TlsAcceptor::from(Arc::new(config)), made.cert.pem())))
    }

    fn listen(
        reply: impl Fn(&Asked) -> Response + Send + Sync + 'static,
        tls: Option<(TlsAcceptor, String)>,
    ) -> Self {
        // All addresses, so that there is another one of the same machine.
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("the machine has a free port");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tls, ca) = tls.unzip();
        let (stop, stopped) = oneshot::channel();
        let router = router(reply, seen.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the machine gives an event queue");
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it is a socket");
                let serve = async move {
                    match tls {
                        None => axum::serve(listener, router).await,
                        Some(tls) => axum::serve(Tls(listener, tls), router).await,
                    }
                };
                tokio::select! { _ = serve => {}, _ = stopped => {} }
            });
        });
        Fake { port, ca, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// As `127.0.0.1:4711`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it for a version of `team/orders`: `:v1`, or `@sha256:…`.
    #[must_use]
    pub fn request(&self, version: &str) -> Request {
        registry::request(&self.authority(), self.ca.as_deref(), &format!("team/orders{version}"))
    }

    /// Who asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A test's own closure panics in the task of its connection, and the test misses its answer.
            let _ = thread.join();
        }
    }
}

fn router(
    reply: impl Fn(&Asked) -> Response + Send + Sync + 'static,
    seen: Arc<Mutex<Vec<Asked>>>,
) -> Router {
    let reply = Arc::new(reply);
    Router::new().fallback(move |request: axum::extract::Request| {
        let header = |name: &str| {
            request.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        let asked = Asked {
            uri: request.uri().to_string(),
            host: header("host").unwrap_or_default(),
            authorization: header("authorization"),
        };
        let response = reply(&asked);
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        async move { response }
    })
}

struct Tls(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, from)) = self.0.accept().await else { continue };
            // Who does not trust it says so and goes.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
