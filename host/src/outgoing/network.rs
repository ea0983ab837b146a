//! The threads on which requests run, and how a connection is made: checked, encrypted, in time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use tokio::runtime::{Handle, Runtime};
use tower_service::Service;

use super::StartError;
use super::allow::{Allowed, Origin};
use super::connect::Connector;

/// Threads that look up names, at most; each waits for the network only, and a pipeline has few of them.
const LOOK_UP_THREADS: usize = 256;

/// Threads on which requests run: one for all pipelines, and those that look up names.
#[derive(Debug)]
pub struct Network(Option<Runtime>);

impl Network {
    /// Starts them.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOOK_UP_THREADS)
            .thread_name("outgoing")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        Ok(Network(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A look-up that hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// Connects, encrypts, and gives up in time, also where nobody waits for the connection any more.
#[derive(Clone)]
pub(super) struct Timely {
    connector: HttpsConnector<Connector>,
    time: Duration,
}

impl Service<Uri> for Timely {
    type Response = <HttpsConnector<Connector> as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, time) = (self.connector.call(uri), self.time);
        Box::pin(async move { tokio::time::timeout(time, connecting).await? })
    }
}

impl Timely {
    /// Makes connections for requests that `allowed` lets through.
    ///
    /// # Errors
    /// If somebody is to be asked over TLS and nobody can be trusted.
    pub(super) fn new(allowed: &Arc<Allowed>, time: Duration) -> Result<Self, StartError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(allowed)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(allowed.clone()));
        Ok(Timely { connector, time })
    }
}

fn tls(allowed: &Allowed) -> Result<rustls::ClientConfig, StartError> {
    let mut roots = rustls::RootCertStore::empty();
    if allowed.origins.iter().any(Origin::is_https) {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(StartError::Roots(errors.join(", ")));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
