//! Any bytes on a connection to the host's HTTP port leave a server that answers.
//!
//! The bytes are sent as they are, in a few pieces, on a connection of their own; then the sender says that no more
//! comes. The server has to close in time, never with an error of its own (not ready is none), none of its threads may
//! panic, and whoever asks next gets an answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastrand::Rng;
use sandmill::config::{Pipeline, Reads, Role};
use sandmill::http::{Admin, Server, Tokens};
use sandmill::telemetry::{Allowance, PipelineEntry, Registry};
use sandmill::wasm::MemoryBudget;
use sandmill::worker::Workers;

use crate::{kind_of, panics, sandbox};

/// What is larger only takes longer.
const LARGEST: usize = 256 << 10;
/// A connection that stays open for so long after its end was said stays open.
const LONG: Duration = Duration::from_secs(5);
/// The thread that answers.
const THREAD: &str = "http";
/// Bytes of answers to one input; the pages of the host are small here.
const ANSWERS: usize = 16 << 20;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(bytes: &[u8]) -> String {
    if bytes.len() > LARGEST {
        return "too large to be tried".to_owned();
    }
    let address = server();
    let before = panics::of_thread(THREAD);
    let answers = exchange(address, bytes);
    let mut said: Vec<String> = statuses(&answers)
        .map(|status| {
            let ready = bytes.windows(7).any(|part| part == b"/readyz");
            assert!(!status.starts_with('5') || (status == "503" && ready), "an error of its own: {status}");
            status.to_owned()
        })
        .collect();
    assert_eq!(panics::of_thread(THREAD), before, "a thread panicked");
    let alive = exchange(address, b"GET /healthz HTTP/1.1\r\nHost: mill\r\nConnection: close\r\n\r\n");
    let alive = String::from_utf8_lossy(&alive);
    assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("\r\n\r\nalive\n"), "{alive}");
    said.dedup();
    said.truncate(4);
    // Header names tell ways of answering apart, their values do not.
    let head = String::from_utf8_lossy(&answers);
    let names = head
        .split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .lines()
        .skip(1)
        .map(|line| kind_of(line.split(':').next().unwrap_or_default()));
    said.extend(names);
    said.join(" ")
}

/// The host's own server, with two pipelines that are not ready, one of them of a difficult name.
fn server() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let registry = Arc::new(Registry::default());
        for name in ["orders", "a\"b\\c\nd{}\u{202e}"] {
            let entry = PipelineEntry::new(
                name.to_owned(),
                format!("sandmill-{name}"),
                "key",
                vec![name.to_owned()],
                allowance(name),
            );
            entry.deployed("handler", &format!("sha256:{}", "0".repeat(64)));
            registry.add(Arc::new(entry));
        }
        let address = "127.0.0.1:0".parse().expect("it is one");
        let token = ("fuzz".to_owned(), Role::Read, "0123456789abcdef0123456789abcdef".to_owned());
        let tokens = Tokens::new([token]).expect("it is a token");
        // Routes of deploys are there, and admit nobody: what a stranger reaches of them.
        let admin = Arc::new(Admin::new(tokens, Reads::Open, 1 << 20));
        Server::start(address, registry, "50", Some(admin), None).expect("a port is free")
    });
    server.address()
}

fn allowance(name: &str) -> Allowance {
    let Pipeline { limits, allow, max_instances, .. } = Pipeline::default();
    let memory = Arc::new(MemoryBudget::new(1 << 20));
    let settings = Arc::new(sandbox::settings(LONG, &memory));
    let room = Workers::start(1).expect("the machine gives a thread").room(name);
    Allowance { limits, allow, max_instances, settings, room }
}

/// Sends these bytes, and reads until the other end closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(LONG)).expect("the time-out is not zero");
    stream.set_write_timeout(Some(LONG)).expect("the time-out is not zero");
    let piece = bytes.len() / 3 + 1;
    for piece in bytes.chunks(piece) {
        // It may have heard enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    drop(stream.shutdown(Shutdown::Write));
    let mut answers = Vec::new();
    match stream.take(ANSWERS as u64).read_to_end(&mut answers) {
        Ok(read) => assert!(read < ANSWERS, "answers without end"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it was not closed: {error}"),
    }
    answers
}

/// The status of each answer; no page of the host has such a line in it.
fn statuses(answers: &[u8]) -> impl Iterator<Item = &str> {
    const START: &[u8] = b"HTTP/1.1 ";
    let starts = answers.windows(START.len()).enumerate().filter(|(_, part)| *part == START);
    starts
        .filter_map(|(at, _)| answers.get(at + START.len()..)?.get(..3))
        .filter_map(|status| str::from_utf8(status).ok())
}

const METHODS: [&str; 12] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI", "get", "G\0T"];
const PATHS: [&str; 20] = [
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/status",
    "/",
    "*",
    "//",
    "/../etc/passwd",
    "/healthz/",
    "/healthz?x=1",
    "/metrics#f",
    "/%2e%2e/%00",
    "/%zz",
    "http://other/healthz",
    "other:443",
    "/api//v1/status",
    "/ä",
    "/a b",
    "",
    "/healthz;a=b",
];
const VERSIONS: [&str; 7] = ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.9", "http/1.1", ""];
const HEADERS: [&str; 30] = [
    "Host: mill",
    "Host: a, b",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 99999999999999999999",
    "Content-Length: -1",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: \x0bchunked",
    "Expect: 100-continue",
    "Expect: else",
    "Range: bytes=0-0,5-",
    "TE: trailers",
    "Accept-Encoding: gzip",
    "Content-Type: application/json",
    "X: ",
    " folded",
    "no colon",
    ": no name",
    "X\0: y",
    "Accept: */*",
];
const BODIES: [&str; 9] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;ext=\"x\"\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    "ffffffffffffffff\r\nx",
    "-1\r\n",
    "0\r\n",
    "5\r\nhel",
    "\r\n\r\n\r\n",
];

/// Some requests on one connection, right or wrong in some part.
pub fn draw(random: &mut Rng, kept: &[Vec<u8>]) -> Vec<u8> {
    if !kept.is_empty() && random.u8(..3) == 0 {
        let mut input = kept[random.usize(..kept.len())].clone();
        crate::change(random, &mut input, kept);
        return input;
    }
    let mut input = Vec::new();
    for _ in 0..=random.usize(..3) {
        request(random, &mut input);
    }
    if random.u8(..4) == 0 {
        crate::change(random, &mut input, kept);
    }
    input
}

fn request(random: &mut Rng, input: &mut Vec<u8>) {
    // The first of each list is right.
    let mut one_of = |list: &[&'static str], wrong: u8| {
        if random.u8(..wrong) == 0 { list[random.usize(..list.len())] } else { list[0] }
    };
    let (method, version) = (one_of(&METHODS, 3), one_of(&VERSIONS, 8));
    let end = one_of(&["\r\n", "\n", "\r", "\r\n\r\n"], 20);
    input.extend(format!("{method} {}", PATHS[random.usize(..PATHS.len())]).bytes());
    long(random, input);
    input.extend(format!(" {version}{end}").bytes());
    for _ in 0..random.usize(..6) {
        input.extend(HEADERS[random.usize(..HEADERS.len())].bytes());
        long(random, input);
        input.extend(end.bytes());
    }
    if random.u8(..40) == 0 {
        let count = random.usize(..300);
        input.extend(format!("X-Many: x{end}").repeat(count).bytes());
    }
    input.extend(end.bytes());
    if random.bool() {
        input.extend(BODIES[random.usize(..BODIES.len())].bytes());
    }
}

/// Now and then more of it than anybody would send.
fn long(random: &mut Rng, input: &mut Vec<u8>) {
    if random.u8(..40) == 0 {
        let (byte, length) = (random.u8(0x20..), random.usize(..40_000));
        input.extend(std::iter::repeat_n(byte, length));
    }
}
