//! Connections: how many there may be, how long each may last, how much its requests may say.
//!
//! Whoever reaches the port may open connections without end, and send a byte a minute on each of them. So every
//! connection has a time for the head of a request, and a time for all it does; and where there are as many as there
//! may be, a new one takes the place of the oldest that waits for a request. A probe, which is new and short, so gets its answer beside any
//! number of connections that only wait. A request that is being answered outlives its connection's time: what it may take
//! is its route's to say.
//!
//! One task accepts and knows all connections; each of them is a task of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep, timeout};

use super::tls::Certificates;

/// Bytes of a request's first line and headers; browsers send a tenth of it.
const HEAD_BYTES: usize = 16 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes that are read ahead, and that wait to be written.
const BUFFER: usize = 64 << 10;
/// After an error of the system (no descriptors are left, for one) nothing is gained by trying again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether there is a new certificate.
const RELOAD: Duration = Duration::from_secs(10);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open ones.
    pub(super) connections: usize,
    /// From the end of one request, or from the beginning, until the next one's head was read.
    pub(super) head: Duration,
    /// From first to last, however many requests it carries.
    pub(super) life: Duration,
    /// For an answer that is on its way when the life is over.
    pub(super) end: Duration,
}

/// A scraper or a console opens a few connections, and a new one where the last was closed.
pub(super) const LIMITS: Limits = Limits {
    connections: 128,
    head: Duration::from_secs(10),
    life: Duration::from_secs(60),
    end: Duration::from_secs(5),
};

/// Answers with `routes` until the other end of `stopped` is gone; connections end on their own then.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
    tls: Option<Arc<Certificates>>,
) {
    let mut open = VecDeque::new();
    let mut reload = interval(RELOAD);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
            _ = reload.tick() => {
                reload_if_changed(tls.as_deref());
                continue;
            }
        };
        match accepted {
            Ok((stream, from)) => {
                make_room(&mut open, limits.connections);
                let busy = Arc::new(AtomicBool::new(false));
                let routes = TowerToHyperService::new(routes.clone());
                let answers = Answers { routes, busy: busy.clone(), from };
                let (stopped, tls) = (stopped.clone(), tls.clone());
                let connection = tokio::spawn(async move {
                    let Some(tls) = tls else { return connection(stream, answers, limits, stopped).await };
                    // Who does not come to an end of it is not heard.
                    if let Ok(Ok(stream)) = timeout(limits.head, tls.accept(stream)).await {
                        connection(stream, answers, limits, stopped).await;
                    }
                });
                open.push_back(Open { connection: connection.abort_handle(), busy });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that is open, or was when it was last looked at.
struct Open {
    connection: AbortHandle,
    /// A request of it is being answered.
    busy: Arc<AtomicBool>,
}

/// Forgets connections that have ended, and if there are too many all the same, ends the oldest one that waits for a
/// request: who is being answered goes only where all are.
fn make_room(open: &mut VecDeque<Open>, most: usize) {
    if open.len() < most {
        return;
    }
    open.retain(|open| !open.connection.is_finished());
    if open.len() >= most {
        let waits = open.iter().position(|open| !open.busy.load(Ordering::Relaxed));
        if let Some(oldest) = open.remove(waits.unwrap_or(0)) {
            oldest.connection.abort();
        }
    }
}

/// Looks whether there is a new certificate.
fn reload_if_changed(tls: Option<&Certificates>) {
    match tls.map(Certificates::reload_if_changed) {
        Some(Ok(true)) => tracing::info!("the HTTP server has a new certificate"),
        Some(Err(error)) => tracing::error!(%error, "the new certificate is not used: the one before is"),
        Some(Ok(false)) | None => {}
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct From(pub(super) SocketAddr);

/// The routes, and whether one of them is at work.
struct Answers {
    routes: TowerToHyperService<Router>,
    busy: Arc<AtomicBool>,
    from: SocketAddr,
}

impl Service<Request<Incoming>> for Answers {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(From(self.from));
        let (answer, busy) = (self.routes.call(request), self.busy.clone());
        busy.store(true, Ordering::Relaxed);
        Box::pin(async move {
            let answer = answer.await;
            busy.store(false, Ordering::Relaxed);
            answer
        })
    }
}

async fn connection<S>(stream: S, answers: Answers, limits: Limits, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let busy = answers.busy.clone();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        // Who has said all may say so, and still gets the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), answers);
    let mut served = pin!(served);
    // Whatever ended it: the other end knows as much as would be said here.
    tokio::select! {
        _ = served.as_mut() => return,
        () = end_of_life(limits, &busy) => {}
        _ = stopped.changed() => {}
    }
    served.as_mut().graceful_shutdown();
    drop(timeout(limits.end, served).await);
}

/// The end of a connection's time; of a request that is being answered then, its end.
async fn end_of_life(limits: Limits, busy: &AtomicBool) {
    sleep(limits.life).await;
    while busy.load(Ordering::Relaxed) {
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    /// Nothing here takes so long unless it never ends.
    const LONG: Duration = Duration::from_secs(20);
    /// More than the buffers of a connection hold.
    const LARGE: usize = 64 << 20;

    /// Lives as long as the test.
    struct Server {
        address: SocketAddr,
        runtime: tokio::runtime::Runtime,
        /// Answers of `/gate` that are asked for and not given yet, and the gate that they wait for.
        asked: Arc<AtomicUsize>,
        gate: watch::Sender<bool>,
        _stop: watch::Sender<()>,
    }

    fn server(limits: Limits) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the runtime is made");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let (gate, opened) = watch::channel(false);
        let counted = asked.clone();
        let when_open = move || {
            let (counted, mut opened) = (counted.clone(), opened.clone());
            async move {
                counted.fetch_add(1, Ordering::Relaxed);
                opened.wait_for(|open| *open).await.expect("the test holds it");
                "open"
            }
        };
        let routes = Router::new()
            .route("/gate", get(when_open))
            .route("/short", get(|| async { "short" }))
            .route("/large", get(|| async { vec![b'x'; LARGE] }));
        let (stop, stopped) = watch::channel(());
        runtime.spawn(serve(listener, routes, limits, stopped, None));
        Server { address, runtime, asked, gate, _stop: stop }
    }

    fn connect(server: &Server) -> TcpStream {
        let stream = TcpStream::connect(server.address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("the time-out is not zero");
        stream
    }

    /// All that still comes. Waits until the other end closes.
    fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("it was not closed: {error}"),
        }
        bytes
    }

    fn answer(server: &Server, request: &[u8]) -> String {
        let mut stream = connect(server);
        stream.write_all(request).expect("it is read");
        String::from_utf8_lossy(&rest(&mut stream)).into_owned()
    }

    const SHORT_REQUEST: &[u8] = b"GET /short HTTP/1.1\r\nHost: mill\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_head_that_comes_a_byte_at_a_time_does_not_hold_a_connection() {
        let server = server(Limits { head: SHORT, ..LIMITS });
        let mut stream = connect(&server);
        stream.set_read_timeout(Some(SHORT / 10)).expect("the time-out is not zero");
        let since = Instant::now();
        let mut head = b"GET /short HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
        loop {
            assert!(since.elapsed() < LONG, "it is still open");
            if stream.write_all(&[*head.next().expect("it has no end")]).is_err() {
                break;
            }
            match stream.read(&mut [0; 64]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        assert!(answer(&server, SHORT_REQUEST).ends_with("short"));
    }

    #[test]
    fn a_connection_that_says_nothing_is_closed() {
        let server = server(Limits { head: SHORT, ..LIMITS });
        assert_eq!(rest(&mut connect(&server)), b"");
        // Between two requests as before the first.
        let mut stream = connect(&server);
        stream.write_all(b"GET /short HTTP/1.1\r\nHost: mill\r\n\r\n").expect("it is read");
        assert!(rest(&mut stream).ends_with(b"short"));
    }

    #[test]
    fn a_connection_that_never_reads_its_answer_ends_with_its_life() {
        let server = server(Limits { life: SHORT, end: SHORT, ..LIMITS });
        let mut stream = connect(&server);
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: mill\r\n\r\n").expect("it is read");
        // Nothing is read before its task has ended, and the one that accepts is left.
        let since = Instant::now();
        assert_eq!(stream.peek(&mut [0]).expect("the answer began"), 1);
        while server.runtime.metrics().num_alive_tasks() > 1 {
            assert!(since.elapsed() < LONG, "it is still open");
            std::thread::park_timeout(SHORT / 10);
        }
        assert!(rest(&mut stream).len() < LARGE, "all of it came");
        assert!(answer(&server, SHORT_REQUEST).ends_with("short"));
    }

    #[test]
    fn beside_connections_without_end_a_new_one_is_answered() {
        let server = server(Limits { connections: 4, ..LIMITS });
        let mut waiting: Vec<_> = (0..40).map(|_| connect(&server)).collect();
        assert!(answer(&server, SHORT_REQUEST).ends_with("short"));
        // The oldest made way, and no other.
        assert_eq!(rest(&mut waiting[0]), b"");
        let last = waiting.last_mut().expect("there are forty");
        last.write_all(SHORT_REQUEST).expect("it is open");
        assert!(rest(last).ends_with(b"short"));
    }

    #[test]
    fn who_is_being_answered_does_not_make_way_for_those_who_only_wait() {
        let server = server(Limits { connections: 4, ..LIMITS });
        let mut scrape = connect(&server);
        let request = b"GET /gate HTTP/1.1\r\nHost: mill\r\nConnection: close\r\n\r\n";
        scrape.write_all(request).expect("it is read");
        while server.asked.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let _waiting: Vec<_> = (0..40).map(|_| connect(&server)).collect();
        assert!(answer(&server, SHORT_REQUEST).ends_with("short"), "all forty were accepted");
        server.gate.send_replace(true);
        assert!(rest(&mut scrape).ends_with(b"open"));
    }

    #[test]
    fn a_head_that_is_too_large_is_refused() {
        let server = server(LIMITS);
        let long = format!("GET /short HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let many = format!("GET /short HTTP/1.1\r\n{}\r\n", "X-Many: x\r\n".repeat(HEADERS + 1));
        for head in [long, many] {
            let answer = answer(&server, head.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[test]
    fn who_has_said_all_may_say_so_and_is_answered() {
        let server = server(LIMITS);
        for _ in 0..50 {
            let mut stream = connect(&server);
            stream.write_all(b"GET /short HTTP/1.1\r\nHost: mill\r\n\r\n").expect("it is read");
            stream.shutdown(std::net::Shutdown::Write).expect("it is open");
            assert!(rest(&mut stream).ends_with(b"short"));
        }
    }

    #[test]
    fn a_body_is_not_waited_for() {
        let server = server(LIMITS);
        let request = b"POST /short HTTP/1.1\r\nHost: mill\r\nContent-Length: 1000000000000\r\n\r\nbegins";
        let since = Instant::now();
        let answer = answer(&server, request);
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(since.elapsed() < LIMITS.life, "{:?}", since.elapsed());
    }
}
