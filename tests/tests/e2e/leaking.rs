//! Handlers that misuse what they are allowed: secrets, metrics, requests.

use sandmill_tests::guests::guest;
use sandmill_tests::host::Host;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::server::{Reply, Server};

const TOKEN: &str = "a-token-that-nobody-else-shall-see";

/// Everything that others may read of a pipeline: its pages, its dead letters, and, at the end, its log.
fn shown(job: &Job<'_>, mut host: Host) -> String {
    let pages = ["/metrics", "/api/v1/status", "/readyz"];
    let mut shown: String = pages.iter().filter_map(|page| Some(host.get(page)?.1)).collect();
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    shown.push_str(&ended.stderr);
    for letter in job.dead() {
        shown.push_str(&format!("{:?}", letter.headers));
        for (_, value) in &letter.headers {
            shown.push_str(&String::from_utf8_lossy(value.as_deref().unwrap_or_default()));
        }
    }
    shown
}

#[test]
fn a_secret_is_nowhere_but_in_the_handler() {
    let kafka = Kafka::shared();
    let producer = Producer::new(kafka);
    for (how, dead, trace) in
        [("log", 1, "my token is <redacted>"), ("panic", 1, "<redacted>"), ("label", 0, "leaks")]
    {
        let job = Job::new(kafka, &guest("hostile_leak"), 1)
            .dead_letters(0)
            .config("how", how)
            .set_in("allow", "log", "true")
            .set_in("metrics", "leaks", r#"{ labels = ["key"] }"#);
        let token = job.home.file("token", TOKEN);
        let job = job.set_in("secrets", "token", &format!("{{ file = {:?} }}", token.display().to_string()));
        producer.send(&job.input, &[Outgoing::keyed("k", "!"), Outgoing::keyed("k", "fine")]);
        let mut host = job.start();
        job.await_done(&mut host);
        assert_eq!((job.outputs().len(), job.dead().len()), (2 - dead, dead), "{how}");
        let shown = shown(&job, host);
        assert!(!shown.contains(TOKEN), "{how}: {shown}");
        assert!(shown.contains(trace), "{how}: nothing was written at all: {shown}");
    }
    let job = Job::new(kafka, &guest("hostile_leak"), 1)
        .config("how", "start")
        .set_in("allow", "log", "true")
        .set_in("metrics", "leaks", r#"{ labels = ["key"] }"#)
        .set_in("secrets", "token", r#"{ env = "OWN_TOKEN" }"#);
    let file = job.home.file("sandmill.toml", job.file_of(&job.pipeline()));
    let path = file.display().to_string();
    let ended = job.home.spawn_with(&["run", "--config", &path], &[("OWN_TOKEN", TOKEN)]).end(DONE);
    assert_ne!(ended.code, 0);
    assert!(
        ended.stderr.contains("my token is <redacted>") && !ended.stderr.contains(TOKEN),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_flood_of_series_is_bounded() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("hostile_metric_flood"), 2).dead_letters(0).set_in(
        "metrics",
        "floods",
        r#"{ labels = ["key"], series = 10 }"#,
    );
    let records: Vec<Outgoing> =
        (0..20).map(|n| Outgoing::keyed(format!("k{n}"), if n % 2 == 0 { "!" } else { "fine" })).collect();
    Producer::new(kafka).send(&job.input, &records);
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!((job.outputs().len(), job.dead().len()), (20, 0), "no record fails for it");
    let of = [("pipeline", job.name.as_str())];
    let metrics = host.metrics();
    let series: Vec<_> = metrics.matching("guest_floods_total", &of).collect();
    assert_eq!(series.len(), 11, "ten, and the rest");
    assert!(series.iter().all(|series| series.labels["key"].len() <= 128));
    let sum: f64 = series.iter().map(|series| series.value).sum();
    assert_eq!(sum, 10.0 * 1_000.0, "what is negative or no number adds nothing");
    assert_eq!(metrics.matching("guest_undeclared_0", &[]).count(), 0);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn no_way_of_asking_leads_inside() {
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::Now(200, b"inside".to_vec()));
    // The server is on loopback, as it would be inside; what is allowed is another one, and that is down.
    let job = Job::new(kafka, &guest("hostile_requests"), 1)
        .dead_letters(0)
        .config("url", &format!("http://127.0.0.9:{}", server.port()))
        .set_in(
            "allow",
            "http",
            &format!("[\"http://127.0.0.9:{}\", \"http://*.localhost:{0}\"]", server.port()),
        );
    Producer::new(kafka).send(&job.input, &[Outgoing::keyed("k", "!"), Outgoing::keyed("k", "fine")]);
    let mut host = job.start();
    job.await_done(&mut host);
    let dead: Vec<_> = job.dead().iter().map(|letter| letter.header("sandmill-error-message")).collect();
    assert_eq!((job.outputs().len(), dead), (2, Vec::new()));
    assert_eq!(server.asked(), []);
    assert!(host.metric("handler_http_requests_denied_total", &[]) >= 15.0);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn an_instance_that_lets_go_of_nothing_has_sixteen_requests() {
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::Now(200, b"1".to_vec()));
    let job = Job::new(kafka, &guest("hostile_requests"), 1)
        .dead_letters(0)
        .config("how", "many")
        .config("url", &server.url())
        .set("max_instances", "5")
        .set_host("workers", "1")
        .set_in("allow", "http", &format!("[{:?}]", server.url()));
    Producer::new(kafka).send(&job.input, &[Outgoing::keyed("k", "!"), Outgoing::keyed("k", "!")]);
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!((job.outputs().len(), job.dead().len()), (2, 0));
    let denied = host.metric("handler_http_requests_denied_total", &[]);
    assert_eq!(denied, 200.0 - 16.0, "both records went to one instance, which holds what it has");
    assert_eq!(host.terminate().code, 0);
}
