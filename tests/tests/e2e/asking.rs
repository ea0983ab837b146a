//! Handlers that ask a server: what they learn is theirs, nobody waits for them, and nobody is asked who is not named.

use std::path::Path;

use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, over_keys};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::server::{Reply, Server};

const TOKEN: &str = "a-token-that-nobody-else-shall-see";

/// A pipeline of `enrich` that may ask `server`.
fn enrich<'a>(kafka: &'a Kafka, server: &Server) -> Job<'a> {
    let job = Job::new(kafka, &guest("enrich"), 4).dead_letters(0);
    let token = job.home.file("token", TOKEN);
    job.config("url", &format!("{}/users", server.url()))
        .set_in("allow", "http", &format!("[{:?}]", server.url()))
        .set_in("secrets", "token", &format!("{{ file = {:?} }}", token.display().to_string()))
        .set_in("metrics", "lookups", r#"{ labels = ["status"], help = "What the server said" }"#)
}

#[test]
fn each_record_gets_what_the_server_knows_about_its_key() {
    let kafka = Kafka::shared();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/users/down" => Reply::Now(503, Vec::new()),
        "/users/unknown" => Reply::Now(404, b"no such user".to_vec()),
        path => Reply::Now(200, format!("{path:?}").into_bytes()),
    });
    let job = enrich(kafka, &server);
    let mut records: Vec<Outgoing> = (0..200).map(|n| Outgoing::keyed(format!("k{n}"), "v")).collect();
    records.extend([Outgoing::keyed("unknown", "v"), Outgoing::keyed("down", "v")]);
    Producer::new(kafka).send(&job.input, &records);
    let mut host = job.start();
    job.await_done(&mut host);

    let mut values: Vec<String> = job.outputs().iter().map(|output| output.text().to_owned()).collect();
    values.sort_unstable();
    let mut expected: Vec<String> =
        (0..200).map(|n| format!(r#"{{"record":"v","found":"/users/k{n}"}}"#)).collect();
    expected.push(r#"{"record":"v","found":null}"#.to_owned());
    expected.sort_unstable();
    assert_eq!(values, expected);
    let dead = job.dead();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("sandmill-error-message").as_deref(), Some("the server answers 503"));

    let asked = server.asked();
    assert_eq!(asked.len(), 202, "each record asks once");
    let authorization = format!("Bearer {TOKEN}");
    assert!(asked.iter().all(|asked| asked.method == "GET"
        && asked.header("authorization") == Some(&authorization)
        && asked.header("host") == server.url().strip_prefix("http://")));

    let (name, url) = (job.name.as_str(), server.url());
    let of = |result| [("pipeline", name), ("target", url.as_str()), ("result", result)];
    for (result, count) in [("2xx", 200.0), ("4xx", 1.0), ("5xx", 1.0), ("denied", 0.0)] {
        assert_eq!(host.metric("handler_http_requests_total", &of(result)), count, "{result}");
    }
    assert_eq!(host.metric("handler_http_request_duration_seconds_count", &of("2xx")[..2]), 202.0);
    assert_eq!(host.metric("handler_http_requests_open", &[]), 0.0);
    for (status, count) in [("found", 200.0), ("unknown", 1.0)] {
        let of = [("pipeline", name), ("status", status)];
        assert_eq!(host.metric("guest_lookups_total", &of), count, "{status}");
    }
    for (capability, least) in [("http", 202.0), ("metrics", 201.0), ("secrets", 1.0), ("log", 0.0)] {
        let of = [("pipeline", name), ("capability", capability)];
        let calls = host.metric("handler_capability_calls_total", &of);
        assert!(calls >= least, "{capability}: {calls}");
        let seconds = host.metric("handler_capability_seconds_total", &of);
        assert_eq!(seconds > 0.0, least > 0.0, "{capability}: {seconds} s");
    }
    // The page as it is served, and what else shows the pipeline.
    let shown: String =
        ["/metrics", "/api/v1/status"].iter().filter_map(|page| Some(host.get(page)?.1)).collect();
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!shown.contains(TOKEN) && !ended.stderr.contains(TOKEN));
}

#[test]
fn a_thousand_records_wait_for_their_answers_on_two_workers() {
    const WAITING: usize = 1_000;
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::WhenOpen(200, b"1".to_vec()));
    let job = enrich(kafka, &server)
        .set("max_instances", "1100")
        .set_in("limits", "http_requests", "1000")
        .set_in("limits", "deadline", "\"60s\"")
        .set_host("workers", "2");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(WAITING, WAITING, |_| b"v".to_vec()));
    let mut host = job.start();
    host.wait_until("all records waited for their answers", DONE, |_| server.open().0 == WAITING);
    assert_eq!(host.metric("handler_http_requests_open", &[]), WAITING as f64);
    assert!(host.metric("handler_active_count", &[]) >= WAITING as f64);
    server.open_gate();
    job.await_done(&mut host);
    assert_eq!(server.open().1, WAITING);
    assert_eq!(job.outputs().len(), WAITING);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn more_than_may_be_open_wait_for_their_turn() {
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::WhenOpen(200, b"1".to_vec()));
    let job =
        enrich(kafka, &server).set_in("limits", "http_requests", "5").set_in("limits", "deadline", "\"60s\"");
    Producer::new(kafka)
        .send(&job.input, &(0..50).map(|n| Outgoing::keyed(format!("k{n}"), "v")).collect::<Vec<_>>());
    let mut host = job.start();
    // They wait in the host: the call is active, the server hears of five.
    host.wait_until("all records were called", DONE, |host| {
        host.metric("handler_http_requests_open", &[]) >= 50.0 && server.open().0 == 5
    });
    server.open_gate();
    job.await_done(&mut host);
    assert_eq!(server.open().1, 5);
    assert_eq!(job.outputs().len(), 50);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn nobody_is_asked_who_is_not_named_and_no_name_leads_inside() {
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::Now(200, b"1".to_vec()));
    let (port, url) = (server.port(), server.url());
    let producer = Producer::new(kafka);
    // A name of this machine, an address of another name, another port, and the server with another method.
    for (asks, allows, methods, networks, code) in [
        (
            format!("http://localhost:{port}"),
            format!("http://localhost:{port}"),
            r#"["GET"]"#,
            "[]",
            "prohibited",
        ),
        (url.clone(), "http://127.0.0.2:80".to_owned(), r#"["GET"]"#, "[]", "denied"),
        (url.clone(), "http://127.0.0.1:1".to_owned(), r#"["GET"]"#, r#"["127.0.0.0/8"]"#, "denied"),
        (url.clone(), url.clone(), r#"["POST"]"#, "[]", "denied"),
    ] {
        let job = enrich(kafka, &server)
            .config("url", &asks)
            .set_in("allow", "http", &format!("[{allows:?}]"))
            .set_in("allow", "http_methods", methods)
            .set_in("allow", "http_networks", networks);
        producer.send(&job.input, &[Outgoing::keyed("k", "v")]);
        let mut host = job.start();
        job.await_done(&mut host);
        let dead = job.dead();
        assert_eq!(dead.len(), 1, "{asks} with {allows}");
        let message = dead[0].header("sandmill-error-message").unwrap_or_default().to_lowercase();
        assert!(message.contains(code), "{asks} with {allows}: {message}");
        let denied = host.metric("handler_http_requests_denied_total", &[])
            + host.metric("handler_http_requests_total", &[("result", "denied")]);
        assert_eq!(denied, 1.0, "{asks} with {allows}");
        assert_eq!(host.terminate().code, 0);
    }
    assert_eq!(server.asked(), []);

    let job = enrich(kafka, &server)
        .config("url", &format!("http://localhost:{port}"))
        .set_in("allow", "http", &format!("[\"http://localhost:{port}\"]"))
        .set_in("allow", "http_networks", r#"["127.0.0.0/8", "::1/128"]"#);
    producer.send(&job.input, &[Outgoing::keyed("k", "v")]);
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!((server.asked().len(), job.outputs().len()), (1, 1), "its network is named");
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn answers_that_are_too_large_too_slow_or_none_fail_their_records_alone() {
    let kafka = Kafka::shared();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/users/large" => Reply::Now(200, vec![b' '; 100_000]),
        "/users/endless" => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            Reply::Raw((head + &format!("8000\r\n{}\r\n", " ".repeat(0x8000)).repeat(64)).into_bytes())
        }
        "/users/slow" => Reply::Hang(Vec::new()),
        "/users/half" => Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        "/users/cut" => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        "/users/nonsense" => Reply::Raw(b"\x00\x01\x02 nonsense\r\n\r\n".to_vec()),
        "/users/heads" => {
            Reply::Raw(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(100_000)).into_bytes())
        }
        _ => Reply::Now(200, b"1".to_vec()),
    });
    let job = enrich(kafka, &server)
        .set_in("limits", "http_response_bytes", "\"64KiB\"")
        .set_in("limits", "deadline", "\"3s\"");
    let wrong = ["large", "endless", "slow", "half", "cut", "nonsense", "heads"];
    let records: Vec<Outgoing> =
        wrong.into_iter().flat_map(|key| [Outgoing::keyed(key, key), Outgoing::keyed("fine", key)]).collect();
    Producer::new(kafka).send(&job.input, &records);
    let mut host = job.start();
    job.await_done(&mut host);
    assert_eq!(job.outputs().len(), wrong.len(), "the neighbours");
    let dead = job.dead();
    for key in wrong {
        let letter = dead.iter().find(|letter| letter.text() == key).expect("it is a dead letter");
        // The request ends before the call would, so that the handler can say what was slow.
        assert_eq!(letter.header("sandmill-error-code").as_deref(), Some("lookup"), "{key}");
    }
    assert_eq!(dead.len(), wrong.len());
    for (result, count) in [("too_large", 2.0), ("timeout", 2.0), ("broken", 3.0), ("2xx", 7.0)] {
        assert_eq!(host.metric("handler_http_requests_total", &[("result", result)]), count, "{result}");
    }
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn what_is_handed_over_is_bounded_and_a_server_need_not_wait_for_it() {
    let kafka = Kafka::shared();
    let server = Server::start(|asked| Reply::Now(200, asked.body.len().to_string().into_bytes()));
    let job = enrich(kafka, &server)
        .config("post", "true")
        .set_in("allow", "http_methods", r#"["POST"]"#)
        .set_in("limits", "http_request_bytes", "\"32KiB\"");
    let (fits, beyond) = ("x".repeat(32 << 10), "x".repeat((32 << 10) + 1));
    Producer::new(kafka)
        .send(&job.input, &[Outgoing::keyed("a", fits.as_str()), Outgoing::keyed("b", beyond.as_str())]);
    let mut host = job.start();
    job.await_done(&mut host);
    let outputs = job.outputs();
    assert_eq!(outputs.len(), 1);
    assert!(outputs[0].text().ends_with(r#""found":32768}"#));
    assert_eq!(job.dead().len(), 1);
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.method == "POST" && asked.body == fits.as_bytes()));
    assert!(asked.iter().all(|asked| asked.body.len() <= fits.len()));
    assert_eq!(host.metric("handler_http_requests_total", &[("result", "too_large")]), 1.0);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn over_tls_only_who_is_trusted_is_asked() {
    let kafka = Kafka::shared();
    let (server, certificate) = Server::start_tls(|_| Reply::Now(200, b"1".to_vec()));
    let (_, stranger) = Server::start_tls(|_| Reply::Now(200, Vec::new()));
    let origin = format!("https://localhost:{}", server.port());
    for (trusted, outputs) in [(stranger, 0), (certificate, 1)] {
        let job = enrich(kafka, &server)
            .config("url", &origin)
            .set_in("allow", "http", &format!("[{origin:?}]"))
            .set_in("allow", "http_networks", r#"["127.0.0.0/8", "::1/128"]"#);
        Producer::new(kafka).send(&job.input, &[Outgoing::keyed("k", "v")]);
        let roots = job.home.file("roots.pem", trusted).display().to_string();
        let file = job.home.file("sandmill.toml", job.file_of(&job.pipeline())).display().to_string();
        let mut host = job.home.spawn_with(&["run", "--config", &file], &[("SSL_CERT_FILE", &roots)]);
        job.await_done(&mut host);
        assert_eq!((job.outputs().len(), job.dead().len()), (outputs, 1 - outputs));
        assert_eq!(server.asked().len(), outputs);
        let unreachable = host.metric("handler_http_requests_total", &[("result", "unreachable")]);
        assert_eq!(unreachable, 1.0 - outputs as f64);
        assert_eq!(host.terminate().code, 0);
    }
}

#[test]
fn a_handler_that_asks_is_refused_where_nobody_is_named() {
    let kafka = Kafka::shared();
    let server = Server::start(|_| Reply::Now(200, Vec::new()));
    let job = enrich(kafka, &server).set_in("allow", "http", "[]");
    let file = job.home.file("sandmill.toml", job.file_of(&job.pipeline()));
    let ended = job.home.run(&[Path::new("run"), Path::new("--config"), &file]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("wasi:http/"), "{}", ended.stderr);
    assert!(ended.stderr.contains("allow.http = [\"https://…\"]"), "{}", ended.stderr);
}
