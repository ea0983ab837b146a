//! What the host answers over HTTP: metrics, health, status, and whoever wants to deploy. The only part that names `axum`
//! and `hyper`.
//!
//! The server has a small runtime of its own, so it answers whatever the pipelines do, and reads nothing but
//! snapshots. Its socket is bound before anything else is started: a taken port refuses the start.
//!
//! | file | does |
//! |---|---|
//! | `mod.rs` | the server |
//! | `connections.rs`, `tls.rs` | connections, and what each may take; TLS |
//! | `routes.rs`, `openapi.rs` | the table of routes, and the document made of it |
//! | `look.rs`, `status.rs`, `health.rs` | routes that anybody may ask |
//! | `admin.rs` | routes of deploys |
//! | `auth.rs`, `rate.rs` | tokens, and how often each may ask |
//! | `problem.rs` | why a request is not served |
//! | `client/` | the other end, for the command line |

mod admin;
mod auth;
pub mod client;
mod connections;
mod health;
mod look;
mod openapi;
mod problem;
mod rate;
mod routes;
mod status;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::telemetry::Registry;

pub use ::http::Method;
pub use admin::{Admin, MODULES, SIGNATURE};
pub use auth::{TokenError, Tokens, read_or_make};
use connections::From;
use problem::Problem;
use routes::{Call, Route};
pub use status::StatusReport;
pub use tls::{Certificates, TlsError};

/// Version of the host.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on http://{address}: {reason}; choose another address with `--listen` or `[http] listen`, \
         or switch HTTP off with `--listen off`"
    )]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The system gives no runtime.
    #[error("cannot start the HTTP server: {0}")]
    Runtime(std::io::Error),
}

/// The running server; ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    runtime: Option<Runtime>,
    stop: Option<watch::Sender<()>>,
}

impl Server {
    /// Binds `address` and answers from then on.
    ///
    /// # Errors
    /// If the address cannot be bound, or there is no runtime.
    pub fn start(
        address: SocketAddr,
        registry: Arc<Registry>,
        wasmtime: &'static str,
        admin: Option<Arc<Admin>>,
        tls: Option<Certificates>,
    ) -> Result<Server, Error> {
        let bind = |reason| Error::Bind { address, reason };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(bind)?
        };
        let (stop, stopped) = watch::channel(());
        let routes = router(&Arc::new(Shared { registry, wasmtime, admin }));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tls = tls.map(Arc::new);
        runtime.spawn(connections::serve(listener, routes, connections::LIMITS, stopped, tls));
        Ok(Server { address: bound, scheme, runtime: Some(runtime), stop: Some(stop) })
    }

    /// The address and port on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as `http://127.0.0.1:9095`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
    }
}

/// What routes look at.
struct Shared {
    registry: Arc<Registry>,
    wasmtime: &'static str,
    /// None: there are no routes of deploys.
    admin: Option<Arc<Admin>>,
}

/// A router of the table. Each route admits before it serves.
fn router(shared: &Arc<Shared>) -> Router {
    let mut router: Router<Arc<Shared>> = Router::new();
    for route in routes::all() {
        if route.always || shared.admin.is_some() {
            let route: &'static Route = Box::leak(Box::new(route));
            router = router.route(route.path, served(route));
        }
    }
    router.fallback(unknown).method_not_allowed_fallback(other_method).with_state(shared.clone())
}

fn served(route: &'static Route) -> MethodRouter<Arc<Shared>> {
    let method = MethodFilter::try_from(route.method.clone()).expect("the table has common methods");
    on(
        method,
        async move |State(shared): State<Arc<Shared>>,
                    part: Option<Path<String>>,
                    RawQuery(query): RawQuery,
                    request: Request| {
            let (parts, body) = request.into_parts();
            let from = parts.extensions.get::<From>().map(|from| from.0);
            let asker = match &shared.admin {
                Some(admin) => admin.admit(route, &parts.headers, from),
                None => Ok(None),
            };
            let answered = match asker {
                Ok(asker) => {
                    let part = part.map_or_else(String::new, |Path(part)| part);
                    let query = decode(query.as_deref().unwrap_or_default());
                    (route.serve)(shared, Call { part, query, headers: parts.headers, body, asker }).await
                }
                Err(problem) => Err(problem),
            };
            answered.unwrap_or_else(Problem::into_response)
        },
    )
}

/// Names and values of a query. `+` is a space there, and `%2B` a plus.
fn decode(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    let (high, low) = (digit(), digit());
                    // What is no digit is nothing that a route knows.
                    u8::try_from(high.unwrap_or(15) * 16 + low.unwrap_or(15)).unwrap_or(u8::MAX)
                }
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

async fn unknown(State(shared): State<Arc<Shared>>) -> Response {
    let known: Vec<&str> = routes::all()
        .iter()
        .filter(|route| route.always || shared.admin.is_some())
        .map(|route| route.path)
        .collect();
    let text = format!("no such page; there are {}", known.join(", "));
    Problem::new(StatusCode::NOT_FOUND, text).into_response()
}

async fn other_method() -> Response {
    let text = "this page has other methods; /api/v1/openapi.json says which";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}
