//! What handlers are allowed, their secrets and their metrics: read, refused, and never printed.

use std::fs;

use crate::config::{Config, MetricKind};

use super::{errors, file, load, source};

#[test]
fn everything_is_denied_until_it_is_named() {
    let pipeline = &load(&file(""), &[]).pipelines[0];
    assert!(pipeline.allow.http.is_empty() && pipeline.secrets.is_empty() && pipeline.metrics.is_empty());
    assert!(!pipeline.allow.log && !pipeline.idempotent);
}

#[test]
fn servers_methods_and_networks_are_read_and_wrong_ones_named() {
    let text = "[pipeline.allow]\nhttp = [\"https://*.a.b\", \"http://10.0.0.5:80\"]\nhttp_networks = [\"10.0.0.0/8\"]";
    let allow = &load(&file(text), &[]).pipelines[0].allow;
    let shown: Vec<String> = allow.http.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://*.a.b", "http://10.0.0.5"]);
    for (line, part) in [
        (
            "http = [\"a.b/path\"]",
            "item 1 of \"http\" in [pipeline.allow] of \"access-log\": \"a.b/path\" is not a server",
        ),
        ("http_methods = [\"get\"]", "\"get\" is not a method; write it like \"GET\""),
        ("http_methods = [\"CONNECT\"]", "not for handlers"),
        ("http = [\"https://a.b\", \"https://A.b:443\"]", "https://a.b stands twice"),
        ("http_networks = [\"10.0.0.0/40\"]", "item 1 of \"http_networks\""),
    ] {
        let errors = errors(&file(&format!("[pipeline.allow]\n{line}")), &[]);
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn secrets_come_from_files_and_variables_and_nothing_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "hunter2\n").unwrap();
    let path = folder.path().join("sandmill.toml");
    let secrets = "[pipeline.secrets]\ntoken = { file = \"token\" }\nkey = { env = \"SANDMILL_OWN\" }";
    fs::write(&path, file(secrets)).unwrap();
    let variables = [("SANDMILL_OWN", "hunter3"), ("SANDMILL_PIPELINE_ACCESS_LOG_SECRETS_THIRD", "hunter4")];
    let config = Config::load(source("", &variables).file(&path)).unwrap();
    let read: Vec<_> = config.pipelines[0].secrets.iter().collect();
    assert_eq!(read, [("key", "hunter3"), ("third", "hunter4"), ("token", "hunter2")]);
    let shown = format!("{config} {config:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(
        shown.contains("SANDMILL_OWN") && shown.contains("token"),
        "where they are kept may be seen: {shown}"
    );
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for line in ["token = \"hunter2\"", "token = 5", "token = { file = \"a\", env = \"hunter2\" }"] {
        let errors = errors(&file(&format!("[pipeline.secrets]\n{line}")), &[]);
        assert!(errors.contains("\"token\" in [pipeline.secrets]") && !errors.contains("hunter"), "{errors}");
    }
    let errors = errors(&file("[pipeline.secrets]\ntoken = { env = \"NOT_THERE\" }"), &[]);
    assert!(errors.contains("the environment variable \"NOT_THERE\" is not set"), "{errors}");
}

#[test]
fn metrics_are_read_with_their_defaults() {
    let text =
        "[pipeline.metrics.size]\nkind = \"histogram\"\nbuckets = [0.5, 1, 1_000.0]\n[pipeline.metrics.hits]";
    let metrics = &load(&file(text), &[]).pipelines[0].metrics;
    let bounds: Vec<f64> = metrics["size"].buckets.iter().map(|bound| bound.get()).collect();
    assert_eq!(bounds, [0.5, 1.0, 1000.0]);
    assert_eq!((metrics["hits"].kind, metrics["hits"].series), (MetricKind::Counter, 100));
}

#[test]
fn a_metric_that_cannot_be_shown_is_refused_with_what_to_write() {
    for (name, lines, part) in [
        ("Hits", "", "\"Hits\" is not the name of a metric"),
        ("hits", "labels = [\"a-b\"]", "\"a-b\" is not the name of a label"),
        ("hits", "labels = [\"pipeline\"]", "belongs to the host"),
        ("hits", "labels = [\"a\", \"a\"]", "stands twice"),
        ("hits", "series = 0", "choose from 1 to 1000"),
        ("hits", "series = 1001", "choose from 1 to 1000"),
        ("hits", "kind = \"histogram\"", "a histogram needs bounds"),
        ("hits", "kind = \"histogram\"\nbuckets = [1, 1]", "do not ascend"),
        ("hits", "buckets = [1]", "only a histogram has buckets"),
        ("hits", "buckets = [nan]", "not a finite number"),
        ("hits", "kind = \"timer\"", "\"counter\", \"gauge\" or \"histogram\""),
        ("hits", "lables = []", "did you mean \"labels\"?"),
    ] {
        let errors = errors(&file(&format!("[pipeline.metrics.{name}]\n{lines}")), &[]);
        assert!(errors.contains(part), "{lines}: {errors}");
    }
    let many: String = (0..33).map(|n| format!("[pipeline.metrics.m{n}]\n")).collect();
    assert!(errors(&file(&many), &[]).contains("at most 32"));
}

#[test]
fn one_family_means_the_same_in_all_pipelines() {
    let second =
        "[[pipeline]]\nname = \"other\"\nhandler = \"h.wasm\"\ninput = [\"b\"]\n[pipeline.metrics.hits]\n";
    let both =
        |labels: &str| file(&format!("[pipeline.metrics.hits]\nlabels = [\"a\"]\n{second}labels = {labels}"));
    load(&both("[\"a\"]"), &[]);
    let clash = errors(&both("[\"b\"]"), &[]);
    assert!(clash.contains("pipeline \"access-log\" has the metric \"hits\""), "{clash}");
    for (one, other) in [
        ("hits]", "hits_total]"),
        ("hits]", "hits_total]\nkind = \"gauge\""),
        ("size]\nkind = \"histogram\"\nbuckets = [1]", "size_count]\nkind = \"gauge\""),
    ] {
        let text = file(&format!("[pipeline.metrics.{one}\n[pipeline.metrics.{other}"));
        let clash = errors(&text, &[]);
        assert!(clash.contains("would have the same name on the endpoint"), "{clash}");
    }
}

#[test]
fn a_counter_ends_in_total_on_the_endpoint_and_nothing_else_does() {
    let text =
        "[pipeline.metrics.hits]\n[pipeline.metrics.bytes_total]\n[pipeline.metrics.size]\nkind = \"gauge\"";
    let metrics = &load(&file(text), &[]).pipelines[0].metrics;
    let families: Vec<String> = metrics.iter().map(|(name, metric)| metric.family(name)).collect();
    assert_eq!(families, ["guest_bytes_total", "guest_hits_total", "guest_size"]);
}
