//! Who deploys to a host and takes versions back, over its API, and hears what became of it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sandmill_tests::host::{Home, Host};
use serde_json::Value;

/// For one answer of the host.
const ANSWER: Duration = Duration::from_secs(10);
/// For what was asked for to be done.
const DONE: Duration = Duration::from_secs(60);

/// Who asks one pipeline of a host.
pub(crate) struct Operator {
    agent: ureq::Agent,
    url: String,
    pipeline: String,
    authorization: String,
}

/// What became of something that was asked for.
pub(crate) struct Told {
    pub story: Value,
    /// From the request until the host said that it was done.
    pub took: Duration,
}

impl Operator {
    /// With the host's own token, from the folder of its data in its home.
    pub(crate) fn of(home: &Home, host: &mut Host, pipeline: &str) -> Result<Self> {
        let token = home.path().join("cache/sandmill/token");
        let token = fs::read_to_string(&token).with_context(|| format!("cannot read {}", token.display()))?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let authorization = format!("Bearer {}", token.trim());
        Ok(Self { agent, url: host.url(), pipeline: pipeline.to_owned(), authorization })
    }

    /// Asks the pipeline for a deploy or a rollback; waits until it was done and nothing is left of what ran before.
    pub(crate) fn ask(&self, host: &mut Host, what: &str, body: &[u8]) -> Result<Told> {
        let since = Instant::now();
        let begun = self.post(what, body)?;
        let path = format!("/api/v1/deploys/{}", begun["id"]);
        let mut took = None;
        let story = host.await_some(&format!("{what} was done"), DONE, |host| {
            let (_, text) = host.get(&path)?;
            let story: Value = serde_json::from_str(&text).ok()?;
            match story["state"].as_str() {
                Some("refused") => Some(Err(anyhow!("{what} was refused: {}", story["refused"]))),
                Some("done") => {
                    if took.is_none() {
                        took = Some(since.elapsed());
                    }
                    is_drained(&story).then_some(Ok(story))
                }
                _ => None,
            }
        })?;
        Ok(Told { story, took: took.unwrap_or_else(|| since.elapsed()) })
    }

    fn post(&self, what: &str, body: &[u8]) -> Result<Value> {
        let url = format!("{}/api/v1/pipelines/{}/{what}", self.url, self.pipeline);
        let request = self.agent.post(&url).header("authorization", &self.authorization);
        let sent = request.header("content-type", "application/wasm").send(body);
        let mut answer = sent.with_context(|| format!("nobody answers POST {url}"))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().with_context(|| format!("POST {url} broke off"))?;
        ensure!(status == 202, "POST {url} was answered with {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("POST {url} was answered with {text:?}"))
    }
}

/// Whether nothing is left of what ran before, and the pause is told.
fn is_drained(story: &Value) -> bool {
    let mut steps = story["steps"].as_array().into_iter().flatten();
    steps.any(|done| done["step"] == "drain") && story["pause"].is_object()
}

/// How long these steps of a story took together, in milliseconds.
pub(crate) fn millis(story: &Value, counts: impl Fn(&str) -> bool) -> f64 {
    let steps = story["steps"].as_array().into_iter().flatten();
    let counted = steps.filter(|done| done["step"].as_str().is_some_and(&counts));
    counted.filter_map(|done| done["ms"].as_f64()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_story_is_over_once_its_pause_is_told() {
        let steps = json!([{ "step": "switch", "ms": 1.5 }, { "step": "check", "ms": 2.0 }]);
        let mut story = json!({ "steps": steps, "pause": null });
        assert!(!is_drained(&story));
        assert_eq!((millis(&story, |_| true), millis(&story, |step| step == "switch")), (3.5, 1.5));
        story["steps"][1] = json!({ "step": "drain", "ms": 9.0 });
        assert!(!is_drained(&story));
        story["pause"] = json!({ "calls": 2, "p99_ms": 0.1, "most_ms": 0.1 });
        assert!(is_drained(&story));
    }
}
