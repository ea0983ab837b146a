//! Requests of guests to servers outside: who may be asked, how much, how long, how many at once.
//!
//! A worker hands a request over and waits for its answer like for a timer: connecting, writing and reading happen on a
//! runtime of their own, so a slow server holds no core and a spinning guest delays no answer. An answer is read to
//! its end, within the pipeline's bound, before the guest sees any of it: so its connection is given back in a bounded
//! time, whatever the guest does. Its place among the pipeline's open ones it keeps until the guest lets go of it, so
//! that what all answers of a pipeline hold is bounded; what a handler hoards, its own pipeline lacks.
//!
//! | file | does |
//! |---|---|
//! | `allow.rs` | PURE: the allow-list of origins and methods |
//! | `address.rs` | PURE: which addresses are everybody's |
//! | `connect.rs` | resolves, checks, connects |
//! | `network.rs` | the threads, and connections in time |
//! | `open.rs` | what lives as long as a request |
//! | `mod.rs` | one pipeline's client and its bounds |

mod address;
mod allow;
mod connect;
mod network;
mod open;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use allow::{Allowed, Origin, OriginError};
use connect::ConnectError;
pub use network::Network;
use network::Timely;
pub use open::Held;
use open::{Counted, OF_INSTANCE, Place, Stopped, Task, Tied};

use crate::telemetry::{Asked, Requests};

/// Connections to one server that are kept for the next request.
const IDLE: usize = 32;
/// How long one is kept.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Bytes of an answer's head.
const HEAD: usize = 64 << 10;
/// Bytes of a path with its query.
const PATH: usize = 8 << 10;

/// A body of any kind, and the errors of whoever makes it.
type Body<E> = UnsyncBoxBody<Bytes, E>;

/// How much one pipeline may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests that are open at once, or whose answer a guest holds; more wait for their turn.
    pub open: usize,
    /// Bytes of a request's body.
    pub request: usize,
    /// Bytes of an answer's body.
    pub response: usize,
    /// From the first byte asked for to the last one read, waiting for a turn included.
    pub time: Duration,
}

/// Why there is no answer. The guest learns its kind; the words are for the operator.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refused {
    #[error("`allow.http` does not name {method} {origin}")]
    Denied { method: String, origin: String },
    #[error("{0}")]
    Prohibited(String),
    #[error("{0}")]
    Resolve(String),
    #[error("{0}")]
    Connect(io::ErrorKind, String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no answer within {0:?}")]
    Time(Duration),
    #[error("the request's body has more than {0} bytes (`limits.http_request_bytes`)")]
    RequestSize(usize),
    #[error("the answer's body has more than {0} bytes (`limits.http_response_bytes`)")]
    ResponseSize(usize),
    #[error("the path has more than {PATH} bytes, or is none")]
    Path,
    #[error("the instance has {OF_INSTANCE} requests open, or answers that it did not let go of")]
    TooMany,
    #[error("{0}")]
    Protocol(String),
}

impl Refused {
    /// Its kind, as a label value.
    fn kind(&self) -> Asked {
        match self {
            Refused::Denied { .. } | Refused::Prohibited(_) | Refused::Path | Refused::TooMany => {
                Asked::Denied
            }
            Refused::Time(_) => Asked::Timeout,
            Refused::RequestSize(_) | Refused::ResponseSize(_) => Asked::TooLarge,
            Refused::Resolve(_) | Refused::Connect(..) | Refused::Tls(_) => Asked::Unreachable,
            Refused::Protocol(_) => Asked::Broken,
        }
    }
}

/// Why a pipeline can ask nobody.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread.
    #[error("cannot start the runtime of outgoing HTTP: {0}")]
    Runtime(io::Error),
    /// Nobody could be trusted.
    #[error(
        "`allow.http` names a server of https, but this machine has no root certificates: install its package \
         `ca-certificates`, or say with SSL_CERT_FILE where they are ({0})"
    )]
    Roots(String),
}

/// The client of one pipeline.
pub struct Outgoing {
    allowed: Arc<Allowed>,
    bounds: Bounds,
    client: Client<Timely, Body<Stopped>>,
    turns: Arc<Semaphore>,
    requests: Arc<Requests>,
    network: Arc<Network>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("allowed", &self.allowed).field("bounds", &self.bounds).finish()
    }
}

impl Outgoing {
    /// A client that keeps to `allowed` and `bounds`.
    ///
    /// # Errors
    /// If somebody is to be asked over TLS and nobody can be trusted.
    pub fn new(network: &Arc<Network>, allowed: Allowed, bounds: Bounds) -> Result<Self, StartError> {
        let allowed = Arc::new(allowed);
        let connector = Timely::new(&allowed, bounds.time)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .http1_max_buf_size(HEAD)
            .build(connector);
        let targets = allowed.origins.iter().map(ToString::to_string).collect();
        Ok(Outgoing {
            requests: Arc::new(Requests::new(targets)),
            turns: Arc::new(Semaphore::new(bounds.open)),
            allowed,
            bounds,
            client,
            network: network.clone(),
        })
    }

    /// Counters of its requests.
    pub fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Sends a request and reads its answer. Dropping the future ends both.
    pub fn send<E>(
        self: &Arc<Self>,
        request: Request<Body<E>>,
        of_instance: &Arc<AtomicUsize>,
    ) -> impl Future<Output = Result<Response<Held>, Refused>> + Send + use<E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let open = self
            .admit(request, of_instance)
            .map(|(request, target, held)| (request, held, Counted::new(self.requests.clone(), target)));
        let outgoing = self.clone();
        async move {
            let (request, held, counted) = open?;
            let asking = outgoing.clone();
            let answer = Task(outgoing.network.handle().spawn(async move { asking.ask(request).await }));
            let result = answer.await.unwrap_or_else(|gone| Err(Refused::Protocol(gone.to_string())));
            counted.finish(match &result {
                Ok((response, _)) => Asked::of_status(response.status().as_u16()),
                Err(refused) => refused.kind(),
            });
            result.map(|(response, turn)| response.map(|bytes| Held { bytes, _held: (held, turn) }))
        }
    }

    /// The request as the client shall read it, what counts it, and its place among those of its instance.
    fn admit<E>(
        &self,
        mut request: Request<Body<E>>,
        of_instance: &Arc<AtomicUsize>,
    ) -> Result<(Request<Body<E>>, usize, Place), Refused> {
        let denied = |refused: Refused| {
            self.requests.denied();
            refused
        };
        let (target, asked) = self.allowed.find(request.method(), request.uri()).ok_or_else(|| {
            let uri = request.uri();
            let origin = format!(
                "{}://{}",
                uri.scheme_str().unwrap_or("?"),
                uri.authority().map_or("?", |a| a.as_str())
            );
            denied(Refused::Denied { method: request.method().to_string(), origin })
        })?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if path.len() > PATH {
            return Err(denied(Refused::Path));
        }
        // A server has one name for the client, so that its connections are kept under one, and their number is bounded;
        // those of servers that share an entry are not kept, since there may be any number of them.
        let origin = asked.to_string();
        let uri = format!("{origin}{path}").parse();
        let authority = origin.split_once("://").and_then(|(_, authority)| authority.parse().ok());
        let (Ok(uri), Some(authority)) = (uri, authority) else { return Err(denied(Refused::Path)) };
        *request.uri_mut() = uri;
        request.headers_mut().insert(http::header::HOST, authority);
        if self.allowed.origins[target].is_many() {
            request.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        let place = Place::take(of_instance).ok_or_else(|| denied(Refused::TooMany))?;
        Ok((request, target, place))
    }

    async fn ask<E>(
        &self,
        request: Request<Body<E>>,
    ) -> Result<(Response<Bytes>, OwnedSemaphorePermit), Refused>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let asking = async {
            let turn = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
            // The server may answer before it has the whole body; then nobody waits for the rest, and the connection goes.
            let (_until, over) = oneshot::channel();
            let request = request.map(|body| {
                Tied { body: Limited::new(body, self.bounds.request).map_err(Stopped).boxed_unsync(), over }
                    .boxed_unsync()
            });
            let response = self.client.request(request).await.map_err(|error| self.refused(&error))?;
            let (head, mut incoming) = response.into_parts();
            let mut body = Vec::new();
            while let Some(frame) = incoming.frame().await {
                let frame = frame.map_err(|error| Refused::Protocol(chain(&error)))?;
                // Trailers are nobody's.
                let Ok(bytes) = frame.into_data() else { continue };
                if body.len() + bytes.len() > self.bounds.response {
                    return Err(Refused::ResponseSize(self.bounds.response));
                }
                body.extend_from_slice(&bytes);
            }
            Ok((Response::from_parts(head, Bytes::from(body)), turn))
        };
        tokio::time::timeout(self.bounds.time, asking).await.unwrap_or(Err(Refused::Time(self.bounds.time)))
    }

    /// What an error of the client means.
    fn refused(&self, error: &hyper_util::client::legacy::Error) -> Refused {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(connect) = this.downcast_ref::<ConnectError>() {
                let words = connect.to_string();
                return match connect {
                    ConnectError::Resolve(_) | ConnectError::NoAddress => Refused::Resolve(words),
                    ConnectError::Prohibited(_) => Refused::Prohibited(words),
                    ConnectError::Connect(_, error) => Refused::Connect(error.kind(), words),
                };
            }
            if let Some(Stopped(stopped)) = this.downcast_ref::<Stopped>() {
                return if stopped.is::<LengthLimitError>() {
                    Refused::RequestSize(self.bounds.request)
                } else {
                    Refused::Protocol(chain(&**stopped))
                };
            }
            if let Some(tls) = this.downcast_ref::<rustls::Error>() {
                return Refused::Tls(tls.to_string());
            }
            // An error of input and output that wraps another one does not name it as its source.
            cause = match this.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => this.source(),
            };
        }
        Refused::Protocol(chain(error))
    }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        words.push_str(": ");
        words.push_str(&this.to_string());
        cause = this.source();
    }
    words
}
