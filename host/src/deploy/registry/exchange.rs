//! What host and child tell each other.
//!
//! ```text
//! stdin    length:8  the request, as JSON
//! stdout   module  its digest and signature, as JSON  their length:8  0
//!       |  why it cannot be pulled, as JSON  1
//!       |  why the child cannot work  2
//! ```
//! What kind of answer it is comes last, so that an answer that was cut is none. The login goes this way and no other:
//! arguments and environment of a process can be read by others.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::error::PullError;
use super::pull::{Pulled, Request};
use crate::wasm::{Digest, text};

/// Last byte of an answer: a module is before it.
const PULLED: u8 = 0;
/// Last byte of an answer: why there is no module is before it.
const REFUSED: u8 = 1;
/// Last byte of an answer: why the child cannot do its work is before it.
const UNABLE: u8 = 2;
/// Bytes of a request. The certificates of everybody have a few hundred KiB.
const REQUEST: u64 = 4 << 20;
/// Bytes of an answer beside the module's own.
const REST: u64 = 64 << 10;
/// Bytes of a sentence that the child made.
const SENTENCE: usize = 2 << 10;

/// What follows a module.
#[derive(Serialize, Deserialize)]
struct About {
    manifest_digest: Digest,
    signature: Option<String>,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It cannot be read.
    #[error("the answer cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The child cannot work.
    #[error("{0}")]
    Unable(String),
    /// It was cut, has more than was asked for, or makes no sense: the child died or was made to say that.
    #[error("the answer makes no sense")]
    Nonsense,
}

/// Asks.
///
/// # Errors
/// If the child does not listen.
pub fn write_request(output: &mut impl Write, request: &Request) -> io::Result<()> {
    let json = serde_json::to_vec(request)?;
    output.write_all(&(json.len() as u64).to_le_bytes())?;
    output.write_all(&json)?;
    output.flush()
}

/// What is asked.
///
/// # Errors
/// If the host is gone, or asks for what this program does not know.
pub fn read_request(input: &mut impl Read) -> io::Result<Request> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > REQUEST {
        return Err(io::Error::other("the request is too long"));
    }
    let mut json = Vec::new();
    input.take(length).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Answers; `Err(Err(…))` is why the child cannot work.
///
/// # Errors
/// If the host is gone.
pub fn write_answer(
    output: &mut impl Write,
    answer: &Result<Pulled, Result<PullError, String>>,
) -> io::Result<()> {
    let kind = match answer {
        Ok(Pulled { manifest_digest, module, signature }) => {
            let about = About { manifest_digest: *manifest_digest, signature: signature.clone() };
            let about = serde_json::to_vec(&about)?;
            output.write_all(module)?;
            output.write_all(&about)?;
            output.write_all(&(about.len() as u64).to_le_bytes())?;
            PULLED
        }
        Err(Ok(error)) => {
            output.write_all(&serde_json::to_vec(error)?)?;
            REFUSED
        }
        Err(Err(reason)) => {
            output.write_all(reason.as_bytes())?;
            UNABLE
        }
    };
    output.write_all(&[kind])?;
    output.flush()
}

/// Bytes of an answer to `request`, at most.
pub fn most(request: &Request) -> u64 {
    request.size.saturating_add(REST)
}

/// The answer to `request`, of which `answer` is all. Trusts the child in nothing that can be looked at.
///
/// # Errors
/// If that is none.
pub fn parse_answer(
    mut answer: Vec<u8>,
    request: &Request,
) -> Result<Result<Pulled, PullError>, ExchangeError> {
    use ExchangeError::Nonsense;
    if answer.len() as u64 > most(request) {
        return Err(Nonsense);
    }
    match answer.pop() {
        Some(PULLED) => {
            let (rest, length) = answer.split_last_chunk().ok_or(Nonsense)?;
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Nonsense)?;
            let size = rest.len().checked_sub(length).ok_or(Nonsense)?;
            let About { manifest_digest, signature } =
                serde_json::from_slice(&rest[size..]).map_err(|_| Nonsense)?;
            let is_asked = request.reference.digest().is_none_or(|asked| asked == manifest_digest);
            if !is_asked || size as u64 > request.size {
                return Err(Nonsense);
            }
            answer.truncate(size);
            Ok(Ok(Pulled { manifest_digest, module: answer, signature }))
        }
        Some(REFUSED) => {
            let error: PullError = serde_json::from_slice(&answer).map_err(|_| Nonsense)?;
            Ok(Err(PullError { sentence: text::clean(&error.sentence, SENTENCE), ..error }))
        }
        Some(UNABLE) => Err(ExchangeError::Unable(text::clean_bytes(&answer, SENTENCE))),
        _ => Err(Nonsense),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::error::Kind;
    use super::super::pull::Login;
    use super::*;

    fn request(reference: &str) -> Request {
        Request {
            reference: reference.parse().unwrap(),
            plain_http: false,
            ca: Some("-----BEGIN".to_owned()),
            login: Some(Login { user: "ci".to_owned(), password: "secret".to_owned() }),
            size: 1000,
            time: Duration::from_millis(1500),
        }
    }

    fn written(answer: &Result<Pulled, Result<PullError, String>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_answer(&mut bytes, answer).unwrap();
        bytes
    }

    fn pulled(module: Vec<u8>) -> Pulled {
        let manifest_digest = Digest::of(b"manifest");
        Pulled { manifest_digest, module, signature: Some("c2ln".to_owned()) }
    }

    /// The answer to `request`, with all that follows it.
    fn read_answer(
        input: &mut impl Read,
        request: &Request,
    ) -> Result<Result<Pulled, PullError>, ExchangeError> {
        let mut answer = Vec::new();
        input.take(most(request).saturating_add(1)).read_to_end(&mut answer)?;
        parse_answer(answer, request)
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let request = request("oci://a.example/b:v1");
        let mut bytes = Vec::new();
        write_request(&mut bytes, &request).unwrap();
        assert_eq!(read_request(&mut &bytes[..]).unwrap(), request);
        assert!(read_request(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(read_request(&mut &[0xff; 16][..]).is_err());
    }

    #[test]
    fn a_refusal_arrives_and_steers_no_terminal() {
        let error = PullError { kind: Kind::NotFound, sentence: "no\x1b[2J such".to_owned() };
        let bytes = written(&Err(Ok(error)));
        let arrived = parse_answer(bytes, &request("oci://a.example/b:v1")).unwrap().unwrap_err();
        assert_eq!((arrived.kind, arrived.sentence.as_str()), (Kind::NotFound, "no\\u{1b}[2J such"));
    }

    #[test]
    fn a_child_that_cannot_work_says_why() {
        let bytes = written(&Err(Err("no limits".to_owned())));
        let error = parse_answer(bytes, &request("oci://a.example/b:v1")).unwrap_err();
        assert_eq!(error.to_string(), "no limits");
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let other = request(&format!("oci://a.example/b@sha256:{}", Digest::of(b"other")));
        assert!(matches!(parse_answer(written(&Ok(pulled(vec![0]))), &other), Err(ExchangeError::Nonsense)));
        let large = pulled(vec![0; 1001]);
        let request = request("oci://a.example/b:v1");
        assert!(matches!(parse_answer(written(&Ok(large)), &request), Err(ExchangeError::Nonsense)));
        let endless = read_answer(&mut io::repeat(0), &request);
        assert!(matches!(endless, Err(ExchangeError::Nonsense)));
    }

    proptest! {
        #[test]
        fn a_module_arrives_whole_or_not_at_all(
            module in prop::collection::vec(any::<u8>(), 0..500), cut in 0usize..500,
        ) {
            let request = request("oci://a.example/b:v1");
            let sent = pulled(module);
            let bytes = written(&Ok(sent.clone()));
            prop_assert_eq!(read_answer(&mut &bytes[..], &request).unwrap().unwrap(), sent.clone());
            // Cut anywhere it says something else or nothing, and never this with fewer bytes.
            let cut = bytes.len().saturating_sub(cut + 1);
            if let Ok(Ok(arrived)) = parse_answer(bytes[..cut].to_vec(), &request) {
                prop_assert_eq!(arrived, sent);
            }
        }

        #[test]
        fn nothing_that_a_child_says_makes_the_host_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..4) {
            let request = request("oci://a.example/b:v1");
            let bytes = [bytes, vec![kind]].concat();
            drop(parse_answer(bytes, &request));
        }
    }
}
