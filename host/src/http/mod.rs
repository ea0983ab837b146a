//! What the host answers over HTTP: metrics, health, status. The only part that names `axum` and `hyper`.
//!
//! The server has a small runtime of its own, so it answers whatever the pipelines do, and reads nothing but
//! snapshots. Its socket is bound before anything else is started: a taken port refuses the start.

mod connections;
mod health;
mod status;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::telemetry::{Registry, exposition};

pub use status::StatusReport;

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
        let routes = routes(Shared { registry, wasmtime });
        runtime.spawn(connections::serve(listener, routes, connections::LIMITS, stopped));
        Ok(Server { address: bound, runtime: Some(runtime), stop: Some(stop) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    wasmtime: &'static str,
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/api/v1/status", get(status_report))
        .fallback(unknown)
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = exposition::text(&shared.registry, VERSION, shared.wasmtime);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(shared): State<Shared>) -> Response {
    let reasons = health::not_ready(&shared.registry);
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let mut page = String::from("not ready\n");
    for reason in reasons {
        page.push_str(&reason);
        page.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, page).into_response()
}

async fn status_report(State(shared): State<Shared>) -> Response {
    axum::Json(StatusReport::of(&shared.registry, shared.wasmtime)).into_response()
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "no such page; there are /metrics, /healthz, /readyz and /api/v1/status\n")
}
