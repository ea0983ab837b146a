//! Resolves a name, checks every address, and connects to a checked one.
//!
//! One step must not be two: whoever resolves a name to check it, and lets a library resolve it again to connect, is
//! led elsewhere by a name that answers differently the second time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::allow::Allowed;

/// Names that are looked up at once, for one pipeline: a look-up holds a thread.
const LOOK_UPS: usize = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("the name leads to no address")]
    NoAddress,
    #[error("{0} is not for guests: name it, or its network, in `allow.http_networks`")]
    Prohibited(IpAddr),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
}

/// What makes the connections of one pipeline.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    allowed: Arc<Allowed>,
    look_ups: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(allowed: Arc<Allowed>) -> Self {
        Connector { allowed, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<IpAddr> = match bare.parse() {
            Ok(literal) => vec![literal],
            Err(_) => self.look_up(host, port).await?,
        };
        self.reach(host, port, &found).await
    }

    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, ConnectError> {
        let turn = self.look_ups.clone().acquire_owned().await.expect("the semaphore is never closed");
        let host = host.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            // As long as the thread is taken, whoever asked may be gone.
            let _turn = turn;
            (host.as_str(), port).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        let found = looked_up.await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        found.map_err(ConnectError::Resolve)
    }

    /// Connects to the first of `found` that may be reached and answers.
    async fn reach(
        &self,
        host: &str,
        port: u16,
        found: &[IpAddr],
    ) -> Result<TokioIo<TcpStream>, ConnectError> {
        let mut failed = ConnectError::NoAddress;
        for &address in found {
            if !self.allowed.may_connect(host, address) {
                failed = ConnectError::Prohibited(address);
                continue;
            }
            let address = SocketAddr::new(address, port);
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Requests are small, and nobody waits to fill a packet.
                    let _ = stream.set_nodelay(true);
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => failed = ConnectError::Connect(address, error),
            }
        }
        Err(failed)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(networks: &[&str]) -> Connector {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Connector::new(Arc::new(Allowed { networks, ..Allowed::default() }))
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed_unless_its_network_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let uri: Uri = format!("http://localhost:{port}/").parse().unwrap();
        let refused = connector(&[]).connect(uri.clone()).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Prohibited(address) if address.is_loopback()), "{refused}");
        connector(&["127.0.0.0/8"]).connect(uri).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_addresses_only_those_that_are_allowed_are_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (inside, named) = ("169.254.169.254".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let connector = connector(&["127.0.0.1/32"]);
        connector.reach("rebound.example", port, &[inside, named]).await.unwrap();
        let refused = connector.reach("rebound.example", port, &[inside]).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Prohibited(address) if address == inside), "{refused}");
    }
}
