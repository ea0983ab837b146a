//! Free ports that stay free while a node is down.
//!
//! A port that the kernel hands out comes from the range it also takes for outgoing connections: while
//! a killed broker is away, a client that reconnects may be given that very port and connect to itself.
//! So the ports lie below that range (32768 by default).

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// Runs at the same time begin at different places, so that they rarely meet.
static NEXT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new((std::process::id().wrapping_mul(131) % u32::from(COUNT)) as u16));

/// A loopback port on which nobody listens, handed out once.
pub(super) fn free() -> u16 {
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no loopback port between {FIRST} and {} is free", FIRST + COUNT);
}
