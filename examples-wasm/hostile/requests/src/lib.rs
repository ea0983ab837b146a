//! Asks servers that it may not ask, or too many at once, on marked records (`!…`); every record comes out unchanged,
//! unless somebody answered who should not have: then it is rejected with his address.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `inside` (default) | loopback, private networks, the metadata of clouds, and other spellings of them; ports and methods that are not allowed |
//! | `many` | a hundred requests to `url` at once, whose answers it never looks at and never lets go of |
//!
//! | config | |
//! |---|---|
//! | `url` | the server that the pipeline allows |

use sandmill_guest::http::Request;
use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

struct Requests {
    url: String,
    many: bool,
}

/// What nobody may reach, whoever is allowed.
const INSIDE: [&str; 15] = [
    "http://127.0.0.1",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0.0.0.0",
    "http://localhost",
    "http://a.localhost",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
    "http://10.0.0.1",
    "http://192.168.0.1",
    "http://169.254.169.254",
    "http://metadata.google.internal",
    "http://[fe80::1]",
    "http://[64:ff9b::7f00:1]",
];

#[sandmill_guest::handler]
impl Handler for Requests {
    fn start(config: &Config) -> Result<Self, StartError> {
        let many = match config.get("how").unwrap_or("inside") {
            "inside" => false,
            "many" => true,
            other => return Err(format!("config key `how` is {other:?}: expected inside or many").into()),
        };
        Ok(Self { url: config.require("url")?.to_owned(), many })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            if self.many { hold_many(&self.url) } else { self.look_inside()? }
        }
        out.forward(record);
        Ok(())
    }
}

impl Requests {
    fn look_inside(&self) -> Result<(), Failure> {
        let port = self.url.rsplit_once(':').map_or("80", |(_, port)| port);
        let server = self.url.trim_start_matches("http://");
        let inside = INSIDE.iter().map(|origin| Request::get(format!("{origin}:{port}/secret")));
        let others = [
            Request::new("DELETE", format!("{}/", self.url)),
            Request::new("get", format!("{}/", self.url)),
            Request::get(format!("https://{server}/")),
            Request::get(format!("http://{server}@localhost:{port}/")),
            Request::get(format!("http://localhost:{port}@{server}/")),
            Request::get(format!("http://{server}.localhost/")),
        ];
        for request in inside.chain(others) {
            let asked = format!("{} {}", request.method, request.url);
            // The server's own address is allowed as it is written there, and not in any other way.
            if !asked.starts_with(&format!("GET {}/", self.url)) && request.send().is_ok() {
                return Err(Failure::reject("reached", asked));
            }
        }
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
fn hold_many(url: &str) {
    use wasip2::http::outgoing_handler::{OutgoingRequest, handle};
    use wasip2::http::types::{Fields, Scheme};

    for _ in 0..100 {
        let request = OutgoingRequest::new(Fields::new());
        let authority = url.trim_start_matches("http://");
        let set = request.set_scheme(Some(&Scheme::Http)).and(request.set_authority(Some(authority)));
        if set.and(request.set_path_with_query(Some("/"))).is_ok() {
            std::mem::forget(handle(request, None));
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn hold_many(url: &str) {
    for _ in 0..100 {
        drop(Request::get(url).send());
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::http::{HttpError, Response};
    use sandmill_guest::testing::{Harness, set_http};

    use super::Requests;

    #[test]
    fn whoever_answers_is_named() {
        set_http(|_| Err(HttpError::new("denied")));
        let config = [("url", "http://127.0.0.1:80")];
        let mut requests = Harness::<Requests>::start(config).expect("the config is right");
        assert_eq!(requests.run(["!a", "b"]).texts(), ["!a", "b"]);
        set_http(|request| {
            if request.url.contains("169.254") {
                Ok(Response::new(200, ""))
            } else {
                Err(HttpError::new("denied"))
            }
        });
        let answer = requests.run(["!a"]);
        let failure = answer.failure(0).expect("it is rejected");
        assert_eq!((failure.code(), failure.message()), ("reached", "GET http://169.254.169.254:80/secret"));
    }
}
