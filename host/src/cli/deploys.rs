//! `sandmill deploy`, `rollback`, `promote`, `versions`: what an operator, or a script, asks of a host that runs.
//!
//! Each prints what happens as it happens, with the time that each step took, and ends when the version runs, or does
//! not. With `--wait` it stays until the watch over the version ends.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::{Failure, print};
use crate::http::client::Client;
use crate::http::{Method, SIGNATURE};

/// How often it is asked how a deploy goes.
const ASK: Duration = Duration::from_millis(100);
/// How often it is asked how the watch over a version goes.
const ASK_SLOWLY: Duration = Duration::from_secs(1);
/// For one request; a module may be large and the network slow.
const REQUEST: Duration = Duration::from_secs(300);
/// What the host answers while it starts, or has too much to do, may be another a little later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which host, and who asks.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// Address of the host's API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9095", env = "SANDMILL_URL")]
    url: String,

    /// File of the token; without it the variable SANDMILL_TOKEN, else the file that a host on this machine makes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Whose certificates are believed, as PEM; without it those that this machine believes
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Send the token to another machine without TLS
    #[arg(long)]
    insecure: bool,

    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The pipeline
    pipeline: String,

    /// The module: a file, or oci://REGISTRY/NAME@sha256:DIGEST
    #[arg(value_name = "HANDLER.wasm")]
    module: String,

    /// Try it on so many of a hundred keys first, beside what runs
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    canary: Option<u8>,

    /// Try it on copies of records first: nothing of it is published, and it is compared with what runs
    #[arg(long, conflicts_with = "canary")]
    shadow: bool,

    /// Records on which it is tried before it runs, one JSON object a line; without it some of those that flow
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,

    /// Stay until the watch over it ends; the exit code is 1 if it is taken back
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    at: Where,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The pipeline
    pipeline: String,

    /// The version that shall run; without it a canary or shadow is taken back, else the version before runs
    #[arg(long, value_name = "VERSION")]
    to: Option<u64>,

    #[command(flatten)]
    at: Where,
}

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The pipeline
    pipeline: String,

    /// Stay until the watch over it ends; the exit code is 1 if it is taken back
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    at: Where,
}

/// Arguments of `versions`.
#[derive(Debug, Args)]
pub(super) struct Versions {
    /// The pipeline
    pipeline: String,

    #[command(flatten)]
    at: Where,
}

/// Whether that is the address of a host on this machine.
fn is_here(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host's own token, as it makes one.
fn own_token() -> Option<PathBuf> {
    // An empty variable counts as not set.
    let set = std::env::var_os("SANDMILL_HOST_DATA_DIR").filter(|path| !path.is_empty());
    let folder = set.map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Some(cache?.join("sandmill"))
    });
    folder.map(|folder| folder.join(super::run::TOKEN)).filter(|path| path.exists())
}

impl Where {
    fn token(&self) -> Result<Option<String>, Failure> {
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::usage(format!("cannot read the token in {}: {error}", path.display()))
            })?;
            Ok(Some(text.trim().to_owned()))
        };
        match (&self.token_file, std::env::var("SANDMILL_TOKEN").ok().filter(|token| !token.is_empty())) {
            (Some(path), _) => read(path.clone()),
            (None, Some(token)) => Ok(Some(token)),
            // That of the host on this machine is for nobody else.
            (None, None) if is_here(&self.url) => own_token().map_or(Ok(None), read),
            (None, None) => Ok(None),
        }
    }

    fn connect(&self) -> Result<Api, Failure> {
        let client = Client::new(&self.url, self.token()?.as_deref(), self.ca.as_deref());
        let client = client.map_err(Failure::usage)?;
        let client = if self.insecure { client.insecure() } else { client };
        Ok(Api { client, json: self.json, follows: false })
    }
}

struct Api {
    client: Client,
    json: bool,
    /// Something was asked for, and it is looked what became of it.
    follows: bool,
}

impl Api {
    /// Asks, and again for a while if the host is not ready to answer.
    fn ask(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Bytes,
    ) -> Result<Value, Failure> {
        let since = Instant::now();
        loop {
            let sent = self.client.send(method.clone(), path, headers, body.clone(), REQUEST);
            // Who only looks may look again.
            if sent.is_err() && *method == Method::GET && self.follows && since.elapsed() < PATIENCE {
                pause(ASK);
                continue;
            }
            let (status, body) = sent.map_err(Failure::start)?;
            if matches!(status, 429 | 503) && since.elapsed() < PATIENCE {
                pause(ASK);
                continue;
            }
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            if (200..300).contains(&status) {
                if answer.is_null() {
                    return Err(Failure::start(
                        "the answer is not that of a Sandmill host; is the address right?",
                    ));
                }
                return Ok(answer);
            }
            let text =
                answer["error"].as_str().map_or_else(|| format!("the host answered {status}"), str::to_owned);
            return Err(match status {
                404 if self.follows => Failure::start(format!("the host knows no more of it: {text}")),
                400 | 401 | 403 | 404 | 413 | 415 => Failure::usage(text),
                _ => Failure::start(text),
            });
        }
    }

    fn post(&self, path: &str) -> Result<Value, Failure> {
        self.ask(&Method::POST, path, &[], &Bytes::new())
    }

    /// Tells how it goes to the end.
    fn follow(mut self, begun: &Value, wait: bool) -> Result<(), Failure> {
        self.follows = true;
        let Some(id) = begun["id"].as_u64() else {
            return Err(Failure::start("the answer is not that of a Sandmill host; is the address right?"));
        };
        let path = format!("/api/v1/deploys/{id}");
        let mut told = Told::default();
        loop {
            let story = self.ask(&Method::GET, &path, &[], &Bytes::new())?;
            if !self.json {
                told.tell(&story);
            }
            let watching = story["watch"]["state"] == "watching";
            let is_over = match story["state"].as_str() {
                Some("working") => false,
                Some("done") => !(wait && watching),
                _ => true,
            };
            if is_over {
                if self.json {
                    print(&story);
                }
                return outcome(&story, wait);
            }
            pause(if story["state"] == "done" { ASK_SLOWLY } else { ASK });
        }
    }
}

/// Until it is asked again: nobody tells.
#[expect(clippy::disallowed_methods, reason = "the host is another process")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn outcome(story: &Value, wait: bool) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if story["state"] == "refused" {
        let refused = &story["refused"];
        return Err(Failure::start(format!("{}: {}", text(&refused["step"]), text(&refused["reason"]))));
    }
    let reason = text(&story["watch"]["reason"]);
    match story["watch"]["state"].as_str() {
        Some("rolled_back") if wait => Err(Failure::pipeline(format!("it was taken back: {reason}"))),
        Some("replaced") if wait => Err(Failure::pipeline(format!("it runs no longer: {reason}"))),
        Some("harmful") if wait => Err(Failure::pipeline(format!("it runs, and does harm: {reason}"))),
        _ if story["state"] == "done" => Ok(()),
        _ => Err(Failure::start("the answer is not that of a Sandmill host; is the address right?")),
    }
}

/// What of a story was printed.
#[derive(Default)]
struct Told {
    steps: usize,
    done: bool,
    watch: (String, String),
}

impl Told {
    fn tell(&mut self, story: &Value) {
        let steps = story["steps"].as_array().map_or(&[][..], Vec::as_slice);
        for step in steps.iter().skip(self.steps) {
            let name = step["step"].as_str().unwrap_or_default();
            // Waiting for nothing is no news.
            if name == "wait" && step["ms"].as_f64().is_some_and(|ms| ms < 1.0) {
                continue;
            }
            let detail = step["detail"].as_str().unwrap_or_default();
            let line =
                format!("  {name:<8} {:>10}  {detail}", millis(step["ms"].as_f64().unwrap_or_default()));
            print(line.trim_end());
        }
        self.steps = steps.len();
        if story["state"] == "done" && !std::mem::replace(&mut self.done, true) {
            let (version, generation) = (&story["version"], &story["generation"]);
            let digest = short(story["digest"].as_str().unwrap_or_default());
            let how = match story["mode"].as_str() {
                Some("canary") => format!("runs {} % of the keys", story["percent"]),
                Some("shadow") => "runs as a shadow".to_owned(),
                _ => "runs".to_owned(),
            };
            let digest = if digest.is_empty() { String::new() } else { format!(" ({digest})") };
            print(format_args!("version {version}{digest} {how}, as generation {generation}"));
        }
        let watch = &story["watch"];
        let state = watch["state"].as_str().unwrap_or_default().to_owned();
        let reason = watch["reason"].as_str().unwrap_or_default().to_owned();
        if self.done && !state.is_empty() && (&state, &reason) != (&self.watch.0, &self.watch.1) {
            let is_new = self.watch.0 != state;
            // On a terminal it is news all the time; in a log only what changes matters.
            if is_new || std::io::stdout().is_terminal() {
                print(format_args!("{}: {reason}", state.replace('_', " ")));
            }
            self.watch = (state, reason);
        }
    }
}

fn millis(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.1} ms") } else { format!("{:.2} s", ms / 1_000.0) }
}

fn short(digest: &str) -> &str {
    digest.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or_default()
}

fn path_of(pipeline: &str, rest: &str) -> Result<String, Failure> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if pipeline.is_empty() || !pipeline.chars().all(is_name) {
        return Err(Failure::usage(format!(
            "{pipeline:?} is no name of a pipeline: those have letters a to z, digits, `.`, `_` and `-`"
        )));
    }
    Ok(format!("/api/v1/pipelines/{pipeline}/{rest}"))
}

impl Deploy {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let read = |path: &std::path::Path| {
            std::fs::read(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
        };
        let mode = match (self.canary, self.shadow) {
            (Some(percent), _) => format!("canary={percent}"),
            (None, true) => "shadow=true".to_owned(),
            (None, false) => String::new(),
        };
        let api = self.at.connect()?;
        if let Some(sample) = &self.sample {
            let path = path_of(&self.pipeline, "sample")?;
            let headers = [("content-type", "application/x-ndjson")];
            api.ask(&Method::PUT, &path, &headers, &read(sample)?.into())?;
        }
        let begun = if self.module.starts_with("oci://") {
            let body = serde_json::json!({ "reference": self.module }).to_string();
            let path = path_of(&self.pipeline, &format!("deploy?{mode}"))?;
            api.ask(&Method::POST, &path, &[("content-type", "application/json")], &body.into())?
        } else {
            let module = PathBuf::from(&self.module);
            let bytes = read(&module)?;
            let name = module.file_stem().unwrap_or_default().to_string_lossy();
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
                .collect();
            let path = path_of(&self.pipeline, &format!("deploy?{mode}&handler={name}"))?;
            let signature = signature(&module)?;
            let mut headers = vec![("content-type", "application/wasm")];
            headers.extend(signature.as_deref().map(|signature| (SIGNATURE, signature)));
            api.ask(&Method::POST, &path, &headers, &bytes.into())?
        };
        api.follow(&begun, self.wait)
    }
}

/// The signature beside a module's file, as a header carries it.
fn signature(module: &std::path::Path) -> Result<Option<String>, Failure> {
    use base64::Engine as _;
    let mut path = module.as_os_str().to_owned();
    path.push(".minisig");
    match std::fs::read(&path) {
        Ok(text) => Ok(Some(base64::engine::general_purpose::STANDARD.encode(text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
    }
}

impl Rollback {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let to = self.to.map_or_else(String::new, |to| format!("?to={to}"));
        let api = self.at.connect()?;
        let begun = api.post(&path_of(&self.pipeline, &format!("rollback{to}"))?)?;
        api.follow(&begun, false)
    }
}

impl Promote {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let api = self.at.connect()?;
        let begun = api.post(&path_of(&self.pipeline, "promote")?)?;
        api.follow(&begun, self.wait)
    }
}

impl Versions {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let api = self.at.connect()?;
        let report = api.ask(&Method::GET, &path_of(&self.pipeline, "versions")?, &[], &Bytes::new())?;
        if self.at.json {
            print(&report);
            return Ok(());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "version",
            "state",
            "digest",
            "handler",
            "by",
            "when (UTC)",
        ]);
        for version in report["versions"].as_array().into_iter().flatten() {
            table.add_row([
                version["version"].to_string(),
                text(&version["state"]).replace('_', " "),
                short(version["digest"].as_str().unwrap_or_default()).to_owned(),
                text(&version["handler"]),
                text(&version["by"]),
                when(version["unix_ms"].as_u64().unwrap_or_default()),
            ]);
        }
        print(table);
        for version in report["versions"].as_array().into_iter().flatten() {
            if version["state"] == "rolled_back" {
                print(format_args!(
                    "version {} was taken back: {}",
                    version["version"],
                    text(&version["reason"])
                ));
            }
        }
        print(format_args!("version {} runs: {}", report["running"], text(&report["why"])));
        let candidate = &report["candidate"];
        if candidate.is_object() {
            show_candidate(candidate);
        }
        Ok(())
    }
}

fn show_candidate(candidate: &Value) {
    let how = match candidate["mode"].as_str() {
        Some("canary") => format!("a canary on {} % of the keys", candidate["percent"]),
        _ => "a shadow".to_owned(),
    };
    let counts = |of: &Value| format!("{} of {} records failed", of["failed"], of["records"]);
    print(format_args!(
        "version {} is {how}: {}; meanwhile {} with the running version",
        candidate["version"],
        counts(&candidate["new"]),
        counts(&candidate["old"])
    ));
    let shadow = &candidate["shadow"];
    if shadow.is_object() {
        print(format_args!(
            "compared {} records ({} skipped): {} differ",
            shadow["compared"], shadow["skipped"], shadow["different"]
        ));
        for sample in shadow["samples"].as_array().into_iter().flatten() {
            print(format_args!(
                "  {} offset {}\n    runs    {}\n    shadow  {}",
                sample["partition"].as_str().unwrap_or_default(),
                sample["offset"],
                sample["old"].as_str().unwrap_or_default(),
                sample["new"].as_str().unwrap_or_default()
            ));
        }
    }
}

/// A moment for people.
fn when(unix_ms: u64) -> String {
    let moment = std::time::UNIX_EPOCH + Duration::from_secs(unix_ms / 1_000);
    humantime::format_rfc3339_seconds(moment).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_the_host_on_this_machine_is_for_its_own_addresses() {
        for here in ["http://127.0.0.1:9095", "https://localhost", "http://[::1]:1/x", "http://127.8.9.10"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in
            ["https://staging.example", "http://127.0.0.1.example:9095", "http://10.0.0.1", "http://[::2]"]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_exit_code_says_whether_the_version_runs() {
        let code = |story: &str, wait| {
            outcome(&serde_json::from_str(story).expect("JSON"), wait)
                .map_or_else(|failure| failure.code, |()| 0)
        };
        let watched = |state: &str| {
            format!("{{\"state\": \"done\", \"watch\": {{\"state\": \"{state}\", \"reason\": \"\"}}}}")
        };
        for (state, waiting) in [
            ("watching", 0),
            ("kept", 0),
            ("promoted", 0),
            ("rolled_back", 1),
            ("replaced", 1),
            ("harmful", 1),
        ] {
            assert_eq!((code(&watched(state), true), code(&watched(state), false)), (waiting, 0), "{state}");
        }
        assert_eq!(code("{\"state\": \"refused\", \"refused\": {}}", false), 3);
        assert_eq!(code("{}", false), 3);
    }
}
