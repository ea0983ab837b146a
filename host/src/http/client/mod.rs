//! The command line's side of the admin API: one request, one answer, one connection for each.
//!
//! It does little on purpose. It follows no redirect, so its token reaches nobody but the address that a person gave;
//! it asks no proxy; and over a network without TLS it sends no token, unless it is told to. Every error is a sentence
//! for the person at the terminal.

mod connect;
mod error;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use connect::{Address, connector, roots};
use error::chain;

pub use error::ClientError;

/// Bytes of an answer's body.
const ANSWER_BYTES: usize = 16 << 20;
/// Characters of a text of the server's that an error shows.
const SHOWN: usize = 200;

/// Asks one host. Blocks, so it is not for code that runs on tokio.
pub struct Client {
    address: Address,
    token: Option<HeaderValue>,
    /// None for plain HTTP.
    tls: Option<TlsConnector>,
    insecure: bool,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl Client {
    /// A client of the host at `base`, which is `http://` or `https://` with a host and perhaps a port, as the bearer
    /// of `token`. Over TLS it trusts the certificates in the file `ca` alone; without one, those that the machine trusts.
    ///
    /// # Errors
    /// If the address or the token cannot be used, or nobody can be trusted over TLS.
    pub fn new(base: &str, token: Option<&str>, ca: Option<&Path>) -> Result<Self, ClientError> {
        let address = Address::parse(base)?;
        let token = token.map(bearer).transpose()?;
        let tls = if address.tls { Some(connector(roots(ca)?)) } else { None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = Some(runtime.map_err(ClientError::Runtime)?);
        Ok(Client { address, token, tls, insecure: false, runtime })
    }

    /// Sends the token without TLS to other machines too.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Sends a request and returns the status and the body of its answer, whatever the status is, unless it sends
    /// elsewhere. All of it may take `timeout`; the body may have 16 MiB.
    ///
    /// # Errors
    /// If there is no answer. The request may have been carried out even so, unless nothing could be reached.
    pub fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        timeout: Duration,
    ) -> Result<(u16, Bytes), ClientError> {
        let failed = |reason| ClientError::Request { path: path_and_query.to_owned(), reason };
        let uri = Uri::builder().path_and_query(path_and_query).build().map_err(failed)?;
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(header::HOST, &self.address.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(failed)?;
        let runtime = self.runtime.as_ref().expect("it is there until this is dropped");
        let answer = async { tokio::time::timeout(timeout, self.exchange(request)).await };
        runtime.block_on(answer).unwrap_or_else(|_| Err(ClientError::Time { at: self.at(), timeout }))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), ClientError> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| self.broken(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
            let status = answer.status();
            if status.is_redirection() {
                let location = answer.headers().get(header::LOCATION).map_or(&b""[..], HeaderValue::as_bytes);
                let location = String::from_utf8_lossy(location).chars().take(SHOWN).collect();
                return Err(ClientError::Redirect { at: self.at(), status: status.as_u16(), location });
            }
            match Limited::new(answer.into_body(), ANSWER_BYTES).collect().await {
                Ok(body) => Ok((status.as_u16(), body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge { at: self.at() }),
                Err(error) => Err(ClientError::Broken { at: self.at(), reason: chain(&*error) }),
            }
        };
        // The connection moves the bytes of the answer, whose own errors say what became of it.
        let moving = async {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = moving => never,
        }
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        if error.is_parse() {
            let todo = if self.address.tls { "is it the right port?" } else { "does it want https://?" };
            return ClientError::NoHttp { at: self.at(), todo };
        }
        ClientError::Broken { at: self.at(), reason: chain(error) }
    }

    fn at(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A resolver that hangs is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Token);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).expect("visible characters and a space");
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::http::tls::Certificates;

    /// Nothing here takes so long unless it never ends.
    const LONG: Duration = Duration::from_secs(20);
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// Reads the head of each request, answers with these bytes, and closes. Returns where, and what heads came.
    fn server(answer: Vec<u8>) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let at = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut head = Vec::new();
                // A head of HTTP, or the first byte of TLS.
                while !head.ends_with(b"\r\n\r\n") && head != [0x16] {
                    let mut byte = [0];
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => break,
                    }
                }
                // The client may have gone.
                let _ = stream.write_all(&answer);
                if sender.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                    break;
                }
            }
        });
        (at, heads)
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn client(at: &str) -> Client {
        Client::new(at, Some(TOKEN), None).expect("it can be made")
    }

    fn get(client: &Client) -> Result<(u16, Bytes), ClientError> {
        client.send(Method::GET, "/api/v1/deploys/7", &[], Bytes::new(), LONG)
    }

    fn error(result: Result<impl fmt::Debug, ClientError>, words: &[&str]) {
        let error = result.expect_err("it cannot be done").to_string();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains(TOKEN), "{error}");
    }

    #[test]
    fn a_request_goes_out_whole_and_its_answer_comes_back() {
        let (at, heads) = server(answer("202 Accepted", "", b"{\"id\": 7}"));
        let client = client(&format!("{at}/"));
        let headers = [("content-type", "application/wasm"), ("sandmill-signature", "c2ln")];
        let path = "/api/v1/pipelines/orders/deploy?canary=10";
        let (status, body) = client
            .send(Method::POST, path, &headers, Bytes::from_static(b"module"), LONG)
            .expect("it answers");
        assert_eq!((status, &body[..]), (202, &b"{\"id\": 7}"[..]));
        let head = heads.recv_timeout(LONG).expect("it came").to_lowercase();
        let host = format!("host: {}\r\n", at.trim_start_matches("http://"));
        let bearer = format!("authorization: bearer {TOKEN}\r\n");
        assert!(head.starts_with("post /api/v1/pipelines/orders/deploy?canary=10 http/1.1\r\n"), "{head}");
        for line in [&host, &bearer, "content-length: 6\r\n", "sandmill-signature: c2ln\r\n"] {
            assert!(head.contains(line), "{line:?} in {head}");
        }
        assert_eq!(get(&client).expect("it answers again").0, 202);
    }

    #[test]
    fn a_refusal_is_heard_though_most_of_the_body_was_never_read() {
        let (at, _heads) = server(answer("401 Unauthorized", "", b"no"));
        let client = client(&at);
        let body = Bytes::from(vec![0; 32 << 20]);
        for _ in 0..50 {
            let answer = client.send(Method::POST, "/", &[], body.clone(), LONG).expect("it is heard");
            assert_eq!((answer.0, &answer.1[..]), (401, &b"no"[..]));
        }
        let (at, _folder, ca) = tls_server("127.0.0.1");
        let client = trusting(&at, &ca);
        for _ in 0..20 {
            let answer = client.send(Method::POST, "/", &[], body.clone(), LONG).expect("it is heard");
            assert_eq!((answer.0, &answer.1[..]), (200, &b"safe"[..]));
        }
    }

    #[test]
    fn a_token_goes_nowhere_else() {
        let (elsewhere, asked) = server(answer("200 OK", "", b""));
        let (at, _heads) = server(answer("307 Temporary", &format!("Location: {elsewhere}/\r\n"), b""));
        error(get(&client(&at)), &[&at, "307", &elsewhere]);
        assert!(asked.try_recv().is_err(), "nobody asked there");
    }

    #[test]
    fn a_token_leaves_the_machine_over_tls_alone() {
        // An address of documentation: nothing is there, and nothing goes there.
        let far = client("http://192.0.2.1:9095");
        error(get(&far), &["http://192.0.2.1:9095", "https://", "--insecure"]);
        let insecure = far.insecure();
        let sent = insecure.send(Method::GET, "/", &[], Bytes::new(), Duration::from_millis(50));
        assert!(!matches!(sent, Err(ClientError::Insecure { .. })), "{sent:?}");
        let (at, _heads) = server(answer("200 OK", "", b""));
        let mapped = at.replace("127.0.0.1", "[::ffff:127.0.0.1]");
        for near in [at.replace("127.0.0.1", "localhost"), mapped] {
            let sent = get(&client(&near));
            assert!(!matches!(sent, Err(ClientError::Insecure { .. })), "{sent:?}");
        }
    }

    #[test]
    fn what_does_not_answer_is_said_in_words_to_act_on() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let at = format!("http://{}", free.local_addr().expect("it is bound"));
        // It listens and never accepts.
        let silent = client(&at).send(Method::GET, "/", &[], Bytes::new(), Duration::from_millis(50));
        error(silent, &[&at, "50ms"]);
        drop(free);
        error(get(&client(&at)), &["nothing listens at", &at, "`[http] listen`"]);
        let (at, _heads) = server(b"\x15\x03\x01\x00\x02\x02\x46".to_vec());
        error(get(&client(&at)), &[&at, "does not answer in HTTP", "https://"]);
        let (at, _heads) = server(Vec::new());
        error(get(&client(&at)), &[&at, "ended before"]);
        let (at, _heads) = server(answer("200 OK", "", &vec![0; ANSWER_BYTES + 1]));
        error(get(&client(&at)), &[&at, "larger than 16 MiB"]);
        let path = client(&at).send(Method::GET, "/a b", &[], Bytes::new(), LONG);
        error(path, &["\"/a b\""]);
    }

    #[test]
    fn addresses_and_tokens_that_are_none_are_refused() {
        for (base, word) in [
            ("127.0.0.1:9095", "http://"),
            ("localhost", "http://"),
            ("ftp://localhost", "neither"),
            ("http://localhost/api", "follows"),
            ("http://localhost?x", "follows"),
            ("http://localhost/#x", "follows"),
            ("http://localhost:99999", "port"),
            ("http://local host", "no URL"),
            ("http://a_b$c", "neither a name"),
            ("", "no URL"),
        ] {
            error(Client::new(base, None, None), &[word]);
        }
        let user = Client::new("http://ci:hunter2@localhost", None, None).expect_err("a password");
        assert!(!user.to_string().contains("hunter2"), "{user}");
        for (base, host, port) in [
            ("https://mill.example", "mill.example", 443),
            ("http://[::1]:9095", "::1", 9095),
            ("HTTP://MILL/", "MILL", 80),
        ] {
            let address = Address::parse(base).expect("it is one");
            assert_eq!((address.host.as_str(), address.port), (host, port));
        }
        for token in ["", "two words", "line\n", "ä"] {
            error(Client::new("http://localhost", Some(token), None), &["the token"]);
        }
        assert!(!format!("{:?}", client("http://localhost")).contains(TOKEN));
    }

    /// Answers over TLS without reading a body, as `name`. Returns where, and a folder with the certificate to trust.
    fn tls_server(name: &str) -> (String, tempfile::TempDir, PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("it is signed");
        let folder = tempfile::tempdir().expect("a folder is made");
        let (certificate, key) = (folder.path().join("host.crt"), folder.path().join("host.key"));
        std::fs::write(&certificate, made.cert.pem()).expect("there is room");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("there is room");
        let certificates = Certificates::load(&certificate, &key).expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let at = format!("https://{}", listener.local_addr().expect("it is bound"));
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.expect("the machine gives an event queue").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(stream) = certificates.accept(stream).await else { continue };
                    let service = hyper::service::service_fn(async |_| {
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from("safe"))))
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        });
        (at, folder, certificate)
    }

    fn trusting(at: &str, ca: &Path) -> Client {
        Client::new(at, Some(TOKEN), Some(ca)).expect("it can be made")
    }

    #[test]
    fn over_tls_the_given_certificate_is_trusted_for_its_name_alone() {
        let (at, _folder, ca) = tls_server("127.0.0.1");
        let (status, body) = get(&trusting(&at, &ca)).expect("it is trusted");
        assert_eq!((status, &body[..]), (200, &b"safe"[..]));
        let (at, _folder, ca) = tls_server("mill.example");
        error(get(&trusting(&at, &ca)), &[&at, "the name"]);
        let (at, _folder, _) = tls_server("127.0.0.1");
        error(get(&trusting(&at, &ca)), &[&at, "--ca"]);
        let (at, _heads) = server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
        error(get(&trusting(&at.replace("http:", "https:"), &ca)), &["cannot speak TLS", "http://"]);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().expect("a folder is made");
        let ca = folder.path().join("ca.crt");
        error(Client::new("https://localhost", None, Some(&ca)), &["ca.crt", "PEM"]);
        std::fs::write(&ca, "nothing").expect("there is room");
        error(Client::new("https://localhost", None, Some(&ca)), &["ca.crt", "there is none"]);
    }
}
