//! A bad network: a TCP proxy before one node, which slows connections and cuts them in the middle of requests.
//!
//! It reads the requests of Kafka's protocol as far as their frames: four bytes of length, then the number of the
//! request's kind. So a connection can be cut after half of a request, which the broker then never sees whole, or
//! after all of it, so that the broker does what is asked and the client never learns of it.
//!
//! Two threads a connection; they end with it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long the reply to a request that shall stay unanswered is waited for, so that the broker has done it.
const UNANSWERED: Duration = Duration::from_secs(2);

/// A frame longer than any that a client sends: the broker's own bound.
const LONGEST_FRAME: usize = 100 << 20;

/// Kinds of requests in the middle of which a connection can be cut, by their number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Records for the broker.
    Produce = 0,
    /// Offsets and metadata of a group.
    OffsetCommit = 8,
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After half of the request: the broker does nothing.
    Half,
    /// Before the reply: the broker did what was asked.
    Unanswered,
}

/// What was ordered and is still to be done.
#[derive(Debug)]
struct Order {
    request: Request,
    cut: Cut,
    left: usize,
}

#[derive(Debug)]
struct State {
    upstream: u16,
    orders: Mutex<Vec<Order>>,
    cuts: AtomicUsize,
    /// Of each request, and of each piece of a reply, in microseconds.
    delay: AtomicU64,
    closed: AtomicBool,
}

/// A proxy before one node. Dropped: it takes no more connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on `port` and passes on to `upstream`, both on loopback.
    ///
    /// # Panics
    /// When the port is taken.
    pub(super) fn start(port: u16, upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("the proxy cannot listen on port {port}: {error}"));
        let state = Arc::new(State {
            upstream,
            orders: Mutex::default(),
            cuts: AtomicUsize::new(0),
            delay: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.closed.load(Ordering::Acquire) {
                    return;
                }
                // A node that is away refuses: so does the proxy, by dropping the connection.
                let _ = own.connect(client);
            }
        });
        Self { port, state }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts the connections of the next `times` requests of this kind.
    pub fn cut(&self, request: Request, cut: Cut, times: usize) {
        self.orders().push(Order { request, cut, left: times });
    }

    /// How many cuts were ordered and have not happened.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.orders().iter().map(|order| order.left).sum()
    }

    /// How many connections were cut so far.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }

    /// Holds each request, and each piece of a reply, back for so long.
    pub fn slow(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_micros()).expect("less than a lifetime");
        self.state.delay.store(delay, Ordering::Relaxed);
    }

    /// Passes everything on at once again.
    pub fn heal(&self) {
        self.orders().clear();
        self.slow(Duration::ZERO);
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, Vec<Order>> {
        self.state.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let node = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        client.set_nodelay(true)?;
        node.set_nodelay(true)?;
        let (client_back, node_back) = (client.try_clone()?, node.try_clone()?);
        let muted = Arc::new(AtomicBool::new(false));
        let (state, flag) = (Arc::clone(self), Arc::clone(&muted));
        thread::spawn(move || {
            let whole = state.requests(&client, &node, &flag);
            let _ = client.shutdown(Shutdown::Both);
            // While the broker is to do what nobody will hear of, its side stays open.
            if !flag.load(Ordering::Acquire) || whole.is_err() {
                let _ = node.shutdown(Shutdown::Both);
            }
        });
        let state = Arc::clone(self);
        thread::spawn(move || {
            let _ = state.replies(&node_back, &client_back, &muted);
            let _ = client_back.shutdown(Shutdown::Both);
            let _ = node_back.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Passes whole requests on until the client closes or its connection is cut.
    fn requests(&self, mut client: &TcpStream, mut node: &TcpStream, muted: &AtomicBool) -> io::Result<()> {
        let mut frame = Vec::new();
        loop {
            let mut head = [0; 4];
            client.read_exact(&mut head)?;
            let length = usize::try_from(u32::from_be_bytes(head)).expect("32 bits fit");
            if length > LONGEST_FRAME {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a request of Kafka's protocol"));
            }
            frame.clear();
            frame.extend(head);
            frame.resize(4 + length, 0);
            client.read_exact(&mut frame[4..])?;
            self.hold_back();
            match frame.get(4..6).and_then(|kind| self.order_for(i16::from_be_bytes([kind[0], kind[1]]))) {
                None => node.write_all(&frame)?,
                Some(Cut::Half) => return node.write_all(&frame[..frame.len() / 2]),
                Some(Cut::Unanswered) => {
                    node.set_read_timeout(Some(UNANSWERED))?;
                    muted.store(true, Ordering::Release);
                    return node.write_all(&frame);
                }
            }
        }
    }

    /// Passes replies on, or drops them once the connection is cut.
    fn replies(&self, mut node: &TcpStream, mut client: &TcpStream, muted: &AtomicBool) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = node.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            self.hold_back();
            if !muted.load(Ordering::Acquire) {
                client.write_all(&piece[..count])?;
            }
        }
    }

    /// Takes one cut off the orders, if this kind of request is to be cut.
    fn order_for(&self, kind: i16) -> Option<Cut> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let order = orders.iter_mut().find(|order| order.left > 0 && order.request as i16 == kind)?;
        order.left -= 1;
        self.cuts.fetch_add(1, Ordering::Relaxed);
        Some(order.cut)
    }

    #[expect(clippy::disallowed_methods, reason = "a network that takes its time is what is asked for")]
    fn hold_back(&self) {
        let delay = self.delay.load(Ordering::Relaxed);
        if delay > 0 {
            thread::sleep(Duration::from_micros(delay));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ports;

    /// A node that answers each request with its own bytes.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        port
    }

    fn ask(client: &mut TcpStream, kind: i16) -> Option<Vec<u8>> {
        let mut frame = 10_u32.to_be_bytes().to_vec();
        frame.extend(kind.to_be_bytes());
        frame.extend(b"12345678");
        client.write_all(&frame).ok()?;
        let mut reply = vec![0; frame.len()];
        client.read_exact(&mut reply).ok()?;
        assert_eq!(reply, frame);
        Some(reply)
    }

    #[test]
    fn requests_pass_and_only_the_ordered_kind_is_cut_so_often() {
        let proxy = Proxy::start(ports::free(), echo());
        let connect = || TcpStream::connect(proxy.address()).unwrap();
        for cut in [Cut::Half, Cut::Unanswered] {
            proxy.cut(Request::Produce, cut, 2);
            let mut bystander = connect();
            for _ in 0..2 {
                assert!(ask(&mut bystander, Request::OffsetCommit as i16).is_some(), "another kind passes");
                assert!(ask(&mut connect(), Request::Produce as i16).is_none(), "{cut:?}");
            }
            assert_eq!(proxy.cuts_left(), 0);
            assert!(ask(&mut connect(), Request::Produce as i16).is_some(), "no more were ordered");
        }
        assert_eq!(proxy.cuts(), 4);
    }
}
