//! A server that handlers ask: it answers as it is told, at once or when a gate opens, and remembers who asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};

/// A request, as far as tests look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// As `GET`.
    pub method: String,
    /// As `/users/1`.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, if its length was said.
    pub body: Vec<u8>,
}

impl Asked {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server does about a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status and body.
    Now(u16, Vec<u8>),
    /// The same, once the gate is open.
    WhenOpen(u16, Vec<u8>),
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Sends these bytes and nothing more, ever.
    Hang(Vec<u8>),
}

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    open: usize,
    most: usize,
}

/// A running server on loopback; ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    gate: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers every request as `reply` says.
    ///
    /// # Panics
    /// When the machine gives no socket or no thread.
    #[must_use]
    pub fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(reply, None)
    }

    /// The same over TLS, as `localhost`, and the certificate of whom a client has to trust for that.
    ///
    /// # Panics
    /// As [`Server::start`].
    #[must_use]
    pub fn start_tls(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is signed");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it was just made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("key and certificate belong together");
        (Self::listen(reply, Some(TlsAcceptor::from(Arc::new(config)))), made.cert.pem())
    }

    fn listen(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (gate, gates) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let shared = seen.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.expect("the machine gives an event queue");
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it is a socket");
                let reply = Arc::new(reply);
                let accept = async {
                    loop {
                        let Ok((stream, _)) = listener.accept().await else { continue };
                        let (reply, seen, gate) = (reply.clone(), shared.clone(), gates.clone());
                        let tls = tls.clone();
                        tokio::spawn(async move {
                            match tls {
                                None => serve(stream, &*reply, &seen, gate).await,
                                // Who does not trust this server says so and goes.
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        serve(stream, &*reply, &seen, gate).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Server { address, seen, gate, stop: Some(stop), thread: Some(thread) }
    }

    /// As `http://127.0.0.1:4711`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Who asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.seen).asked.clone()
    }

    /// Requests that wait for an answer now, and the most that did so at once.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        let seen = lock(&self.seen);
        (seen.open, seen.most)
    }

    /// Answers those that wait for the gate, and all that follow.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics only where a test's own closure does, which the test then misses.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, until the other side closes it.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: &(impl Fn(&Asked) -> Reply + ?Sized),
    seen: &Mutex<Seen>,
    mut gate: watch::Receiver<bool>,
) {
    let mut bytes = Vec::new();
    while let Some(asked) = read(&mut stream, &mut bytes).await {
        let answer = reply(&asked);
        {
            let mut seen = lock(seen);
            seen.asked.push(asked);
            seen.open += 1;
            seen.most = seen.most.max(seen.open);
        }
        let (written, goes_on) = match answer {
            Reply::Now(status, body) => (message(status, &body), true),
            Reply::WhenOpen(status, body) => {
                // The gate is as old as the server, which outlives its connections.
                let _ = gate.wait_for(|open| *open).await;
                (message(status, &body), true)
            }
            Reply::Raw(bytes) => (bytes, false),
            Reply::Hang(bytes) => {
                let _ = stream.write_all(&bytes).await;
                // Until the other side has had enough.
                let _ = stream.read(&mut [0]).await;
                (Vec::new(), false)
            }
        };
        let sent = stream.write_all(&written).await;
        lock(seen).open -= 1;
        if sent.is_err() || !goes_on {
            return;
        }
    }
}

/// The next request of a connection; none if it is closed.
async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ');
            let headers = lines.filter_map(|line| line.split_once(": "));
            let mut asked = Asked {
                method: first.next()?.to_owned(),
                path: first.next()?.to_owned(),
                headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
                body: Vec::new(),
            };
            let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while bytes.len() < end + 4 + length {
                if stream.read_buf(bytes).await.ok()? == 0 {
                    return None;
                }
            }
            asked.body = bytes[end + 4..end + 4 + length].to_vec();
            bytes.drain(..end + 4 + length);
            return Some(asked);
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn message(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
