//! Adds to each record what a server knows about its key.
//!
//! For the record with key `k` it asks `GET {url}/k`, and emits `{"record":…,"found":…}`: the record's value as a string
//! of JSON, and the server's answer as it is, which should be JSON. A key that the server does not know (404) is emitted
//! with `null`. Whatever else the server says (it is busy, or down) makes the record fail, to be tried again.
//!
//! | `config` | default | |
//! |---|---|---|
//! | `url` | | where to ask, without the key |
//! | `post` | `false` | hands the record's value over with the question: `POST` |
//!
//! The pipeline allows the server (`allow.http`), may keep a secret called `token`, which is sent as a bearer token, and
//! may declare a counter `lookups` with the label `status`.

use sandmill_guest::http::Request;
use sandmill_guest::metrics::{self, Series};
use sandmill_guest::{Config, Failure, Handler, Outputs, Record, ResultExt, StartError, secrets};

struct Enrich {
    url: String,
    post: bool,
    token: Option<String>,
    found: Option<Series>,
    unknown: Option<Series>,
}

#[sandmill_guest::handler]
impl Handler for Enrich {
    fn start(config: &Config) -> Result<Self, StartError> {
        let lookups = |status| metrics::series("lookups", &[status]).ok();
        Ok(Enrich {
            url: config.require("url")?.trim_end_matches('/').to_owned(),
            post: config.parse_or("post", false)?,
            token: secrets::get("token"),
            found: lookups("found"),
            unknown: lookups("unknown"),
        })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let key = record.key().ok_or(Failure::reject("no-key", "there is nothing to ask for"))?;
        let url = format!("{}/{}", self.url, encoded(key));
        let mut request = match record.value() {
            Some(value) if self.post => Request::post(url, value),
            _ => Request::get(url),
        };
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send().or_retry("lookup")?;
        let (found, counted) = match answer.status() {
            200 => (answer.body(), self.found),
            404 => (&b"null"[..], self.unknown),
            status => return Err(Failure::retry("status", format!("the server answers {status}"))),
        };
        if let Some(counted) = counted {
            counted.record(1.0);
        }
        let mut output = out.record();
        output.extend_from_slice(b"{\"record\":");
        output.push_json(record.value().unwrap_or_default());
        output.extend_from_slice(b",\"found\":");
        output.extend_from_slice(found);
        output.push(b'}');
        output.emit();
        Ok(())
    }
}

/// A key as a part of a path.
fn encoded(key: &[u8]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::with_capacity(key.len()), |mut path, &byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte))
            }
            _ => drop(write!(path, "%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use sandmill_guest::http::Response;
    use sandmill_guest::testing::{Harness, Input, set_http, set_secrets, take_metrics};

    use super::*;

    fn ask(
        server: impl Fn(&str) -> u16 + 'static,
    ) -> (Harness<Enrich>, std::rc::Rc<std::cell::RefCell<Vec<Request>>>) {
        let asked = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = asked.clone();
        set_http(move |request| {
            let status = server(&request.url);
            seen.borrow_mut().push(request);
            Ok(Response::new(status, r#"{"name":"Ann"}"#))
        });
        (Harness::start([("url", "http://a.b/users/")]).expect("it starts"), asked)
    }

    #[test]
    fn what_the_server_knows_is_added_and_counted() {
        set_secrets([("token", "hunter2")]);
        let (mut handler, asked) = ask(|url| if url.ends_with("%2Fa") { 200 } else { 404 });
        let answer = handler.run([Input::new("say \"hi\"").key("/a"), Input::new("b").key("b")]);
        let values: Vec<_> = answer
            .outputs()
            .map(|output| String::from_utf8(output.value.clone().unwrap()).unwrap())
            .collect();
        assert_eq!(
            values,
            [r#"{"record":"say \"hi\"","found":{"name":"Ann"}}"#, r#"{"record":"b","found":null}"#]
        );
        let first = &asked.borrow()[0];
        assert_eq!((first.method.as_str(), first.url.as_str()), ("GET", "http://a.b/users/%2Fa"));
        assert_eq!(first.headers, [("authorization".to_owned(), b"Bearer hunter2".to_vec())]);
        let counted: Vec<_> =
            take_metrics().into_iter().map(|one| (one.labels[0].clone(), one.values)).collect();
        assert_eq!(counted, [("found".to_owned(), vec![1.0]), ("unknown".to_owned(), vec![1.0])]);
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_record_without_key_never() {
        let (mut handler, _) = ask(|_| 503);
        let answer = handler.run([Input::new("a").key("a"), Input::new("b")]);
        assert_eq!(answer.failure(0).unwrap().code(), "status");
        assert_eq!(answer.failure(1).unwrap().code(), "no-key");
        assert_eq!(answer.outputs().count(), 0);
    }
}
