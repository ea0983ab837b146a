//! Requests to servers that the pipeline allows: `allow.http`.
//!
//! ```no_run
//! use sandmill_guest::http::Request;
//! use sandmill_guest::{Failure, Outputs, Record, ResultExt};
//!
//! #[sandmill_guest::handler]
//! fn look_up(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
//!     let key = std::str::from_utf8(record.key().unwrap_or_default()).or_reject("key")?;
//!     let answer = Request::get(format!("https://api.example.com/users/{key}")).send().or_retry("lookup")?;
//!     if answer.status() == 200 {
//!         out.record().value(answer.body()).emit();
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A handler that waits for an answer holds no core of the host: other records run meanwhile. The host decides who may
//! be asked, how much, and for how long; an answer is there whole, within its bound, or not at all. Redirects are not
//! followed: [`Response::header`] says where one leads.
//!
//! Outside of Wasm requests go to what [`testing::set_http`](crate::testing::set_http) was given.

use std::fmt;

/// A request, to be sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As `GET`.
    pub method: String,
    /// As `https://api.example.com/path?query`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// None if it is empty.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError(String);

impl HttpError {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        HttpError(words.into())
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HttpError {}

impl Request {
    /// A request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Request { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Asks for what lies there.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Hands something over.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Request { body: body.into(), ..Self::new("POST", url) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sends it, and waits until the answer is there.
    ///
    /// # Errors
    /// If the host refuses it, or the server does not answer in time or in full. Any status is an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        #[cfg(target_arch = "wasm32")]
        return wasi::send(self);
        #[cfg(not(target_arch = "wasm32"))]
        return crate::testing::host::ask(self);
    }
}

impl Response {
    /// For tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Response { status, headers: Vec::new(), body: body.into() }
    }

    /// As 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name, in whatever case it is written.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(target_arch = "wasm32")]
mod wasi {
    use wasip2::http::outgoing_handler::{self, OutgoingRequest};
    use wasip2::http::types::{Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, Scheme};
    use wasip2::io::streams::StreamError;

    use super::{HttpError, Request, Response};

    /// Bytes of a body that are read at once.
    const PIECE: u64 = 64 << 10;

    pub(super) fn send(request: Request) -> Result<Response, HttpError> {
        let (is_https, authority, path) = split(&request.url)
            .ok_or_else(|| HttpError(format!("{:?} is no URL of http or https", request.url)))?;
        let wrong = |what: &str| HttpError(format!("{what} of the request to {authority:?} is not valid"));
        let mut headers = request.headers;
        if !request.body.is_empty() {
            // Many servers take no body whose length they do not know beforehand.
            headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
        }
        let fields = Fields::from_list(&headers).map_err(|error| HttpError(format!("a header: {error}")))?;
        let asked = OutgoingRequest::new(fields);
        asked.set_method(&method(request.method)).map_err(|()| wrong("the method"))?;
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        asked.set_scheme(Some(&scheme)).map_err(|()| wrong("the scheme"))?;
        asked.set_authority(Some(authority)).map_err(|()| wrong("the server"))?;
        asked.set_path_with_query(Some(path)).map_err(|()| wrong("the path"))?;
        let body = asked.body().map_err(|()| wrong("the body"))?;
        let failed = |error| HttpError(format!("{authority}: {error}"));
        let coming = outgoing_handler::handle(asked, None).map_err(failed)?;
        if !request.body.is_empty() {
            let stream = body.write().map_err(|()| wrong("the body"))?;
            // If the server does not take all of it, its answer says why.
            let _ = write(&stream, &request.body);
        }
        OutgoingBody::finish(body, None).map_err(failed)?;
        coming.subscribe().block();
        let answer = coming.get().expect("it is ready").expect("it is taken once").map_err(failed)?;
        read(&answer).map_err(|error| HttpError(format!("{authority}: {error}")))
    }

    fn write(stream: &wasip2::io::streams::OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
        for piece in bytes.chunks(4096) {
            stream.blocking_write_and_flush(piece)?;
        }
        Ok(())
    }

    fn read(answer: &IncomingResponse) -> Result<Response, String> {
        let status = answer.status();
        let headers = answer.headers().entries();
        let body = answer.consume().map_err(|()| "the answer has no body")?;
        let mut bytes = Vec::new();
        {
            let stream = body.stream().map_err(|()| "the answer's body cannot be read")?;
            loop {
                match stream.blocking_read(PIECE) {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(StreamError::Closed) => break,
                    Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
                }
            }
        }
        drop(IncomingBody::finish(body));
        Ok(Response { status, headers, body: bytes })
    }

    fn split(url: &str) -> Option<(bool, &str, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        (!authority.is_empty()).then_some((is_https, authority, if path.is_empty() { "/" } else { path }))
    }

    fn method(name: String) -> Method {
        match name.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            _ => Method::Other(name),
        }
    }
}
