//! Routes of deploys, and who may ask for them.
//!
//! Whoever asks is known, and that he may, before a byte of the body is read. Bodies are bounded in size, in time without
//! progress, and in how many are read at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::auth::{Denied, Identity, Tokens};
use super::problem::Problem;
use super::rate::{Buckets, NOBODY, Rate};
use super::routes::{Answering, Call, Route};
use crate::config::Reads;
use crate::config::Role;
use crate::deploy::history::Mode;
use crate::deploy::story::Asker;
use crate::pipeline::{Ask, Deploys, HandlerSource, Sample};

/// Requests of one token: a command that waits asks ten times a second.
const EACH: Rate = Rate { burst: 200, every: Duration::from_millis(20) };
/// Of those, requests that change something, each of which is written down.
const CHANGES: Rate = Rate { burst: 20, every: Duration::from_millis(250) };
/// Requests without a token that is known, of everybody together.
const OF_NOBODY: Rate = Rate { burst: 100, every: Duration::from_millis(50) };
/// Modules that are read at once.
pub const MODULES: usize = 2;
/// Other bodies that are read at once.
const SMALL: usize = 16;
/// A body of which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// A body that is not whole after that is given up.
const WHOLE: Duration = Duration::from_secs(120);
/// Bytes of a sample.
const SAMPLE: usize = 1 << 20;
/// Bytes of a body that says where a module lies.
const REFERENCE: usize = 4 << 10;
/// Lines of the audit log, at most and without a word.
const LINES: (usize, usize) = (1_000, 100);
/// The header of a module's signature: base64 of a minisign file.
pub const SIGNATURE: &str = "sandmill-signature";

/// What the routes of deploys need.
#[derive(Debug)]
pub struct Admin {
    tokens: Tokens,
    buckets: Mutex<Asked>,
    since: Instant,
    reads: Reads,
    module_bytes: usize,
    modules: Semaphore,
    small: Semaphore,
    deploys: OnceLock<Deploys>,
}

/// How often tokens have asked.
#[derive(Debug)]
struct Asked {
    all: Buckets,
    changes: Buckets,
}

impl Admin {
    /// For these tokens, and modules of at most so many bytes.
    pub fn new(tokens: Tokens, reads: Reads, module_bytes: usize) -> Self {
        let buckets = Mutex::new(Asked {
            all: Buckets::new(tokens.len(), EACH, OF_NOBODY),
            changes: Buckets::new(tokens.len(), CHANGES, OF_NOBODY),
        });
        let (modules, small) = (Semaphore::new(MODULES), Semaphore::new(SMALL));
        let (since, deploys) = (Instant::now(), OnceLock::new());
        Admin { tokens, buckets, since, reads, module_bytes, modules, small, deploys }
    }

    /// From now on deploys can be asked for. Once; a second time says nothing.
    pub fn serve(&self, deploys: Deploys) {
        let _ = self.deploys.set(deploys);
    }

    fn deploys(&self) -> Result<&Deploys, Problem> {
        let starting = || {
            let text = "the host is starting; try again in a moment";
            Problem::later(StatusCode::SERVICE_UNAVAILABLE, text, Duration::from_secs(1))
        };
        self.deploys.get().ok_or_else(starting)
    }

    /// Who asks, if he may ask this.
    pub(super) fn admit(
        &self,
        route: &Route,
        headers: &HeaderMap,
        from: Option<SocketAddr>,
    ) -> Result<Option<Asker>, Problem> {
        let Some(needs) = route.needs else { return Ok(None) };
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        // Several of them, or one that is no text, are as good as a wrong one.
        let authorization = match (sent.next(), sent.next()) {
            (None, _) => None,
            (Some(one), None) => Some(one.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Some(""),
        };
        let who = self.tokens.who(authorization);
        let place = who.map_or(NOBODY, Identity::place);
        let mut asked = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.since.elapsed();
        let taken = asked.all.take(place, now);
        let taken =
            taken.and_then(|()| if route.is_change() { asked.changes.take(place, now) } else { Ok(()) });
        drop(asked);
        taken.map_err(|after| {
            Problem::later(StatusCode::TOO_MANY_REQUESTS, "too many requests; ask more slowly", after)
        })?;
        if route.is_read && self.reads == Reads::Open && matches!(who, Err(Denied::None)) {
            return Ok(None);
        }
        let who = who.map_err(|denied| {
            tracing::warn!(from = from.map(|from| from.to_string()), path = route.path, %denied, "a request was not admitted");
            Problem::new(StatusCode::UNAUTHORIZED, denied.to_string())
        })?;
        if !who.may(needs) {
            let text = format!(
                "token {:?} has the role {:?}, and this needs {:?}",
                who.name(),
                who.role().to_string(),
                needs.to_string()
            );
            tracing::warn!(
                from = from.map(|from| from.to_string()),
                path = route.path,
                text,
                "a request was not admitted"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        Ok(Some(Asker { name: who.name().to_owned(), role: Some(who.role()), from }))
    }

    /// The body, if it is no larger than `most`.
    async fn read(&self, headers: &HeaderMap, mut body: Body, most: usize) -> Result<Vec<u8>, Problem> {
        let too_large = || {
            let text =
                format!("the body has more than {most} bytes; for modules `host.module_size` is the limit");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        let said =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let busy = |_| {
            let text = "others send as much as can be read at once; try again in a moment";
            Problem::later(StatusCode::SERVICE_UNAVAILABLE, text, Duration::from_secs(1))
        };
        let turns = if most > SAMPLE { &self.modules } else { &self.small };
        let _turn = turns.try_acquire().map_err(busy)?;
        let slow = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly, or not at all");
        let read = async {
            let mut bytes = Vec::with_capacity(said.unwrap_or(0).min(most as u64) as usize);
            while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(slow)? {
                let frame = frame.map_err(|error| Problem::bad(format!("the body broke off: {error}")))?;
                if let Ok(data) = frame.into_data() {
                    if bytes.len() + data.len() > most {
                        return Err(too_large());
                    }
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(bytes)
        };
        timeout(WHOLE, read).await.map_err(slow)?
    }
}

fn admin(shared: &Shared) -> Result<&Arc<Admin>, Problem> {
    shared.admin.as_ref().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "`http.admin` is off"))
}

pub(super) fn versions(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let mut report = (*admin(&shared)?.deploys()?.versions(&call.part)?).clone();
        let may_deploy = call.asker.and_then(|asker| asker.role).is_some_and(|role| role >= Role::Deploy);
        if let Some(compared) = report.candidate.as_mut().and_then(|candidate| candidate.shadow.as_mut())
            && !may_deploy
        {
            // They hold what was in records.
            compared.samples.clear();
        }
        Ok(Json(report).into_response())
    })
}

pub(super) fn story(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let deploys = admin(&shared)?.deploys()?;
        let story = call.part.parse().ok().and_then(|id| deploys.story(id));
        let unknown = || {
            let text =
                format!("no deploy {:?} is known; the newest 64 since the start of the host are", call.part);
            Problem::new(StatusCode::NOT_FOUND, text)
        };
        Ok(Json(story.ok_or_else(unknown)?).into_response())
    })
}

pub(super) fn deploy(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let admin = admin(&shared)?;
        let known = admin.deploys()?.versions(&call.part)?;
        let mode = mode(&call.query)?;
        let running = known.versions.iter().find(|version| Some(version.version) == known.running);
        let name = match query(&call.query, "handler") {
            Some(name) => {
                check_name(name)?;
                name.to_owned()
            }
            None => running.map_or_else(String::new, |running| running.handler.clone()),
        };
        let kind =
            call.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let source = match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => {
                let body = admin.read(&call.headers, call.body, REFERENCE).await?;
                from_reference(&body)?
            }
            "application/wasm" | "application/octet-stream" => {
                let signature = signature(&call.headers)?;
                let bytes = admin.read(&call.headers, call.body, admin.module_bytes).await?;
                HandlerSource::Sent { name, bytes: bytes.into(), signature }
            }
            _ => {
                let text = "the body is either a module (content-type: application/wasm) or says where one lies \
                            (application/json, {\"reference\": \"oci://…\"})";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
            }
        };
        ask(admin, call.part, Ask::Deploy { source, mode }, call.asker).await
    })
}

fn from_reference(body: &[u8]) -> Result<HandlerSource, Problem> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct From {
        reference: String,
    }
    let From { reference } = serde_json::from_slice(body)
        .map_err(|error| Problem::bad(format!("the body is not {{\"reference\": \"oci://…\"}}: {error}")))?;
    HandlerSource::parse(&reference).map_err(Problem::bad)
}

pub(super) fn rollback(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let to = query(&call.query, "to").map(|text| {
            text.parse().map_err(|_| Problem::bad(format!("to={text:?} is no number of a version")))
        });
        ask(admin(&shared)?, call.part, Ask::Rollback { to: to.transpose()? }, call.asker).await
    })
}

pub(super) fn promote(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move { ask(admin(&shared)?, call.part, Ask::Promote, call.asker).await })
}

pub(super) fn sample(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let admin = admin(&shared)?;
        admin.deploys()?.versions(&call.part)?;
        let body = admin.read(&call.headers, call.body, SAMPLE).await?;
        let sample = Sample::from_json_lines(&body).map_err(Problem::bad)?;
        let records = sample.as_ref().map_or(0, |sample| sample.batch.len());
        let asker =
            call.asker.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, Denied::None.to_string()))?;
        let (deploys, pipeline) = (admin.deploys()?.clone(), call.part);
        // Written down before it counts.
        let set = tokio::task::spawn_blocking(move || deploys.set_sample(&pipeline, sample, &asker));
        set.await.map_err(|_| Problem::ours())??;
        Ok(Json(serde_json::json!({ "records": records })).into_response())
    })
}

pub(super) fn audit(shared: Arc<Shared>, call: Call) -> Answering {
    Box::pin(async move {
        let lines = match query(&call.query, "lines") {
            None => LINES.1,
            Some(text) => text.parse().map_err(|_| Problem::bad(format!("lines={text:?} is no number")))?,
        };
        let deploys = admin(&shared)?.deploys()?.clone();
        let read = tokio::task::spawn_blocking(move || deploys.audit(lines.min(LINES.0))).await;
        match read {
            Ok(Ok(lines)) => Ok(Json(lines).into_response()),
            Ok(Err(error)) => {
                let text = format!("the audit log cannot be read: {error}");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text))
            }
            Err(_) => {
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed; please report this"))
            }
        }
    })
}

/// Asks, and answers with the story as it begins.
async fn ask(
    admin: &Arc<Admin>,
    pipeline: String,
    ask: Ask,
    asker: Option<Asker>,
) -> Result<Response, Problem> {
    let asker = asker.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, Denied::None.to_string()))?;
    let deploys = admin.deploys()?.clone();
    // What is asked for is on the disk before it begins.
    let asked = tokio::task::spawn_blocking(move || {
        let id = deploys.ask(&pipeline, ask, asker)?;
        deploys.story(id).ok_or(crate::pipeline::NotAsked::Stopping)
    });
    match asked.await {
        Ok(story) => Ok((StatusCode::ACCEPTED, Json(story?)).into_response()),
        Err(_) => Err(Problem::ours()),
    }
}

fn query<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn mode(parameters: &[(String, String)]) -> Result<Mode, Problem> {
    let shadow = match query(parameters, "shadow") {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(other) => return Err(Problem::bad(format!("shadow={other:?} is neither true nor false"))),
    };
    match (query(parameters, "canary"), shadow) {
        (None, false) => Ok(Mode::Full),
        (None, true) => Ok(Mode::Shadow),
        (Some(_), true) => Err(Problem::bad("a version is tried either as a canary or as a shadow")),
        (Some(percent), false) => match percent.parse() {
            Ok(percent @ 1..=99) => Ok(Mode::Canary { percent }),
            _ => Err(Problem::bad(format!("canary={percent:?} is not one of 1 to 99: percent of the keys"))),
        },
    }
}

/// The name becomes a label, and is shown.
fn check_name(name: &str) -> Result<(), Problem> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=63).contains(&name.len()) && name.chars().all(is_sound) {
        return Ok(());
    }
    Err(Problem::bad(format!("handler={name:?} is no name: 1 to 63 of letters, digits, `.`, `_` and `-`")))
}

fn signature(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    use base64::Engine as _;
    let Some(sent) = headers.get(SIGNATURE) else { return Ok(None) };
    let text = base64::engine::general_purpose::STANDARD.decode(sent.as_bytes()).ok();
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    let wrong = || Problem::bad(format!("the header {SIGNATURE} is not base64 of a minisign file"));
    text.map(Some).ok_or_else(wrong)
}
