//! Modules out of registries: a real one, and what a real one never does but a hostile or a broken one.
//!
//! Manifests, tokens and errors without end are read by the client until memory ends: there the guard is the limit of the
//! child process, so that test starts one. Everything else is refused by the code itself, in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use sandmill::deploy::registry::{Kind, Known, NotPulled, PullError, Pulled, Puller, Request};
use sandmill::wasm::Digest;
use sandmill_tests::fake_registry::{
    Asked, Fake, WASM, Wasm, answer, challenge, drip, endless, json, redirect, with_header,
};
use sandmill_tests::host::Host;
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;
use sandmill_tests::refusal::{REFUSED, assert_said};
use sandmill_tests::registry::{Options, PASSWORD, Registry, USER, pulled, request, with_login};
use sandmill_tests::releases::{Manner, Operator, build, name};
use sandmill_tests::required_path;
use serde_json::json;

/// In base64, as annotations have it.
const SIGNED: &str = "dW50cnVzdGVkIGNvbW1lbnQ6IHRlc3QKUldR";

/// The version that most tests ask for.
fn latest(fake: &Fake) -> Result<Pulled, PullError> {
    pulled(&fake.request(":v1"))
}

fn as_ci(request: Request) -> Request {
    with_login(request, "ci", "secret")
}

#[track_caller]
fn refused(result: Result<Pulled, PullError>, kind: Kind, words: &[&str]) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.sentence.contains(word), "{error}");
    }
    assert!(error.sentence.len() < 1000, "{error}");
}

/// The same version, asked for by a child of the host.
fn by_a_child(fake: &Fake) -> Result<Pulled, NotPulled> {
    let Request { reference, size, .. } = fake.request(":v1");
    let known = Known { plain_http: true, ..Known::default() };
    let registries = BTreeMap::from([(fake.authority(), known)]);
    Puller::of_program(required_path("SANDMILL_BIN"), registries, size).pull(&reference)
}

/// A host with a pipeline that runs build 0, and may ask this registry.
fn start(job: &Job<'_>, authority: &str) -> Host {
    let registries = format!("[modules.registries.\"{authority}\"]\nplain_http = true\n");
    let file = job.home.file("sandmill.toml", job.file_of(&(registries + &job.pipeline())));
    job.home.spawn(&[Path::new("run"), Path::new("--config"), &file])
}

#[test]
fn a_host_deploys_out_of_registries_that_its_configuration_names_and_remembers_what_a_tag_meant() {
    let kafka = Kafka::shared();
    let registry = Registry::start(Options::default());
    let job = Job::new(kafka, Path::new("stamp.wasm"), 4);
    drop(job.home.file("stamp.wasm", build(0, Manner::Works)));
    let (producer, mut ledger) = (Producer::new(kafka), Ledger::default());
    let mut feed = |host: &mut Host| {
        ledger.produce(&producer, &job.input, over_keys(100, 10, |_| b"x".to_vec()));
        job.await_done(host);
    };
    let mut host = start(&job, registry.authority());
    host.wait_ready();
    feed(&mut host);
    let module = format!("oci://{}/team/stamp", registry.authority());
    let operator = Operator::of(&job.home, &mut host, &job.name);
    for (number, by_tag) in [(1, false), (2, true)] {
        let (bytes, tag) = (build(number, Manner::Works), format!("v{number}"));
        let exact = format!("{module}@{}", registry.push("team/stamp", &tag, &bytes, None));
        let reference = if by_tag { format!("{module}:{tag}") } else { exact.clone() };
        let story = operator.ask("deploy", &[&reference]);
        assert_eq!((&story["state"], &story["version"]), (&json!("done"), &json!(number + 1)), "{story:#}");
        let steps = story["steps"].as_array().expect("a list").iter();
        let steps: Vec<&str> = steps.filter_map(|step| step["step"].as_str()).collect();
        assert_eq!(
            steps[..7],
            ["wait", "pull", "compile", "check", "start", "sample", "switch"],
            "{story:#}"
        );
        let versions = operator.versions();
        let version = &versions["versions"][number as usize];
        assert_eq!(
            (&version["state"], &version["handler"]),
            (&json!("running"), &json!("stamp")),
            "{version}"
        );
        assert_eq!((&version["source"], &version["from"]), (&json!("registry"), &json!(exact)), "{version}");
        assert_eq!(version["digest"], format!("sha256:{}", Digest::of(&bytes)), "{version}");
        feed(&mut host);
    }
    // What is not there, and where nobody may ask.
    let ended = operator.run("deploy", &[&format!("{module}:v9")]);
    assert_said(&ended, REFUSED, &["pull:", "team/stamp:v9", "nothing with this tag"]);
    let other = Fake::start(|asked| Wasm::default().serve(asked));
    let ended = operator.run("deploy", &[&format!("oci://{}/team/stamp:v1", other.authority())]);
    assert_said(&ended, REFUSED, &["pull:", &format!("[modules.registries.{:?}]", other.authority())]);
    assert_eq!(other.asked(), []);
    assert_eq!(operator.versions()["running"], 3);
    // What was deployed needs the registry no more.
    assert_eq!(host.terminate().code, 0);
    let authority = registry.authority().to_owned();
    drop(registry);
    let mut host = start(&job, &authority);
    host.wait_ready();
    let runs = host.status()["pipelines"][0]["runs"].clone();
    assert_eq!((&runs["version"], &runs["source"]), (&json!(3), &json!("registry")), "{runs}");
    feed(&mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = job.outputs();
    ledger.compare(&[&outputs], Order::Key).assert_exact();
    let of = |number| outputs.iter().filter(|output| output.text() == name(number)).count();
    assert_eq!([of(0), of(1), of(2)], [100, 100, 200]);
}

/// Pushes, and pulls back by tag and by digest.
fn goes_round(registry: &Registry, with_login: impl Fn(Request) -> Request) {
    let digest = registry.push("team/orders", "v1", WASM, Some(SIGNED));
    for module in ["team/orders:v1".to_owned(), format!("team/orders@{digest}")] {
        let got = pulled(&with_login(registry.request(&module))).expect("it was pushed");
        assert_eq!(got.module, WASM);
        assert_eq!(format!("sha256:{}", got.manifest_digest), digest);
        assert_eq!(got.signature.as_deref(), Some(SIGNED));
    }
}

#[test]
fn a_pushed_module_comes_back_by_tag_and_by_digest() {
    let registry = Registry::start(Options::default());
    goes_round(&registry, |request| request);
    let digest = registry.push("unsigned", "v1", WASM, None);
    let got = pulled(&registry.request(&format!("unsigned@{digest}"))).expect("it was pushed");
    assert_eq!(got.signature, None);
}

#[test]
fn it_does_so_over_tls_and_with_a_login() {
    let registry = Registry::start(Options { login: true, tls: true });
    let as_user = |request| with_login(request, USER, PASSWORD);
    goes_round(&registry, as_user);
    let stranger = Request { ca: None, ..as_user(registry.request("team/orders:v1")) };
    refused(pulled(&stranger), Kind::Tls, &[]);
}

#[test]
fn no_login_and_a_wrong_one_are_told_apart() {
    let registry = Registry::start(Options { login: true, tls: false });
    registry.push("team/orders", "v1", WASM, None);
    let asked = registry.request("team/orders:v1");
    refused(pulled(&asked), Kind::Unauthorized, &["none is configured"]);
    let wrong = with_login(asked.clone(), USER, "wrong");
    refused(pulled(&wrong), Kind::Unauthorized, &["refuses the login of \"sandmill\""]);
    assert_eq!(pulled(&with_login(asked, USER, PASSWORD)).expect("the right one").module, WASM);
}

#[test]
fn what_is_not_there_is_not_found() {
    let registry = Registry::start(Options::default());
    registry.push("team/orders", "v1", WASM, None);
    let nothing = format!("team/orders@sha256:{}", "0".repeat(64));
    for module in ["team/orders:v2", "team/nobody:v1", &nothing] {
        refused(pulled(&registry.request(module)), Kind::NotFound, &[]);
    }
}

#[test]
fn a_tag_means_what_was_pushed_last_and_a_digest_what_it_always_meant() {
    let registry = Registry::start(Options::default());
    let first = registry.push("orders", "latest", WASM, None);
    let newer = [WASM, b"\0\x05\x04name"].concat();
    registry.push("orders", "latest", &newer, None);
    let module = |module: &str| pulled(&registry.request(module)).expect("it was pushed").module;
    assert_eq!(module("orders:latest"), newer);
    assert_eq!(module(&format!("orders@{first}")), WASM);
}

#[test]
fn a_module_of_64_mib_arrives() {
    let registry = Registry::start(Options::default());
    let mut module = vec![7; 64 << 20];
    module[..4].copy_from_slice(b"\0asm");
    registry.push("large", "v1", &module, None);
    let sized = |size| pulled(&Request { size, ..registry.request("large:v1") });
    assert!(sized(64 << 20).expect("it may be as large").module == module);
    refused(sized((64 << 20) - 1), Kind::TooLarge, &[]);
}

#[test]
fn an_honest_registry_gives_its_module_and_a_child_brings_it() {
    let fake = Fake::start(|asked| Wasm::default().serve(asked));
    let got = latest(&fake).expect("it is honest");
    assert_eq!(got.module, WASM);
    assert_eq!(got.manifest_digest, Digest::of(&Wasm::default().manifest()));
    let by_digest = fake.request(&format!("@sha256:{}", got.manifest_digest));
    assert_eq!(pulled(&by_digest).expect("it has it"), got);
    assert_eq!(by_a_child(&fake).expect("it is honest"), got);
}

#[test]
fn an_answer_without_end_ends_the_child_and_nothing_else() {
    // One after the other, as each fills a child.
    let manifest =
        Fake::start(|asked| if asked.is_manifest() { endless(200) } else { Wasm::default().serve(asked) });
    let token = Fake::start(|asked| match asked.path() {
        "/token" => endless(200),
        _ => asked.token_first(",service=\"s\""),
    });
    let error = Fake::start(|asked| endless(if asked.is_manifest() { 500 } else { 200 }));
    for (what, fake) in [("a manifest", manifest), ("a token", token), ("an error", error)] {
        let error = by_a_child(&fake).expect_err("it has no end");
        assert!(matches!(error, NotPulled::Memory), "{what}: {error}");
    }
    // Without a limit of memory it is the clock; slowly here, so that this process does not fill.
    let slow = Fake::start(|_| drip());
    let request = Request { time: Duration::from_millis(300), ..slow.request(":v1") };
    let since = Instant::now();
    refused(pulled(&request), Kind::Time, &["300ms"]);
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_large_manifest_that_fits_in_memory_is_refused_all_the_same() {
    let large = vec![b' '; (4 << 20) + 1];
    let fake = Fake::start(move |asked| match asked.is_manifest() {
        true => answer(200, large.clone()),
        false => Wasm::default().serve(asked),
    });
    refused(latest(&fake), Kind::TooLarge, &["manifest", "4.0 MiB"]);
}

#[test]
fn a_layer_of_another_length_than_its_manifest_says_is_refused_while_it_comes() {
    let endless_one =
        Fake::start(|asked| if asked.is_blob() { endless(200) } else { Wasm::default().serve(asked) });
    refused(latest(&endless_one), Kind::TooLarge, &["longer"]);
    let said = |size| {
        let wasm = Wasm { size: Some(size), ..Wasm::default() };
        Fake::start(move |asked| wasm.serve(asked))
    };
    refused(latest(&said(WASM.len() as u64 - 1)), Kind::TooLarge, &["longer"]);
    refused(latest(&said(WASM.len() as u64 + 1)), Kind::Digest, &["its manifest says"]);
}

#[test]
fn a_layer_larger_than_allowed_is_never_asked_for() {
    let wasm = Wasm { size: Some(5 << 20), ..Wasm::default() };
    let fake = Fake::start(move |asked| wasm.serve(asked));
    refused(latest(&fake), Kind::TooLarge, &["5.0 MiB", "1.0 MiB are allowed"]);
    assert!(!fake.asked().iter().any(Asked::is_blob));
}

#[test]
fn other_bytes_than_the_digest_says_are_refused() {
    let fake = Fake::start(|asked| match asked.is_blob() {
        true => answer(200, [b"\0asm", &WASM[4..WASM.len() - 1], b"x"].concat()),
        false => Wasm::default().serve(asked),
    });
    refused(latest(&fake), Kind::Digest, &["other bytes"]);
    let fake = Fake::start(|asked| Wasm::default().serve(asked));
    let asked = fake.request(&format!("@sha256:{}", Digest::of(b"another manifest")));
    refused(pulled(&asked), Kind::Digest, &["other bytes"]);
}

#[test]
fn what_the_registry_calls_a_digest_is_not_believed() {
    let called = |digest: String| {
        Fake::start(move |asked| {
            let response = Wasm::default().serve(asked);
            let header = "docker-content-digest";
            if asked.is_manifest() { with_header(response, header, &digest) } else { response }
        })
    };
    let another = format!("sha256:{}", Digest::of(b"lie"));
    for lie in [another.as_str(), "sha256:", "md5:00", "x"] {
        refused(latest(&called(lie.to_owned())), Kind::Digest, &[]);
    }
    // One of another algorithm, and right: what is recorded is SHA-256 all the same.
    let manifest = Wasm::default().manifest();
    let digest = <sha2::Sha512 as sha2::Digest>::digest(&manifest);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let got = latest(&called(format!("sha512:{digest}"))).expect("it is right");
    assert_eq!(got.manifest_digest, Digest::of(&manifest));
}

#[test]
fn what_is_not_one_module_is_refused_before_any_layer_is_asked_for() {
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:0", "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"}}]});
    for (manifest, kind, word) in [
        (Wasm { layers: 2, ..Wasm::default() }.manifest(), Kind::Layers, "2 layers"),
        (Wasm { layers: 0, ..Wasm::default() }.manifest(), Kind::Layers, "0 layers"),
        (index.to_string().into_bytes(), Kind::Index, "index"),
        (b"<html>sign in</html>".to_vec(), Kind::Broken, "manifest"),
        ("[".repeat(1 << 20).into_bytes(), Kind::Broken, "manifest"),
    ] {
        let fake = Fake::start(move |asked| match asked.is_manifest() {
            true => answer(200, manifest.clone()),
            false => Wasm::default().serve(asked),
        });
        refused(latest(&fake), kind, &[word, "oci://127.0.0.1"]);
        assert!(!fake.asked().iter().any(Asked::is_blob));
    }
}

#[test]
fn a_layer_that_only_claims_to_be_a_module_is_refused() {
    let wasm = Wasm { bytes: b"#!/bin/sh".to_vec(), ..Wasm::default() };
    let fake = Fake::start(move |asked| wasm.serve(asked));
    refused(latest(&fake), Kind::NotWasm, &["does not begin"]);
}

#[test]
fn a_layer_may_lie_elsewhere_and_no_login_goes_there() {
    let elsewhere = Fake::start(|_| answer(200, WASM));
    let to = format!("http://{}/cdn/module?sign=1", elsewhere.authority());
    let fake = Fake::start(move |asked| match &asked.authorization {
        None => challenge("Basic realm=\"test\""),
        Some(_) if asked.is_blob() => redirect(&to),
        Some(_) => Wasm::default().serve(asked),
    });
    assert_eq!(pulled(&as_ci(fake.request(":v1"))).expect("it lies there").module, WASM);
    assert!(fake.asked().iter().any(|asked| asked.is_blob() && asked.authorization.is_some()));
    let there: Vec<_> = elsewhere.asked().into_iter().map(|asked| asked.authorization).collect();
    assert_eq!(there, [None]);
}

#[test]
fn redirects_without_end_are_not_followed_without_end() {
    let fake = Fake::start(|asked| match asked.is_blob() {
        true => redirect(&asked.uri),
        false => Wasm::default().serve(asked),
    });
    refused(latest(&fake), Kind::Broken, &["circles"]);
    assert!(fake.asked().len() < 20);
}

#[test]
fn with_tls_nothing_goes_out_without_it() {
    // Neither where a redirect leads …
    let plain = Fake::start(|_| answer(200, WASM));
    let to = format!("http://{}/", plain.authority());
    let fake = Fake::start_tls(move |asked| match asked.is_blob() {
        true => redirect(&to),
        false => Wasm::default().serve(asked),
    });
    refused(latest(&fake), Kind::Tls, &["plain HTTP"]);
    assert_eq!(plain.asked(), []);
    // … nor to who gives tokens.
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", plain.authority());
    let fake = Fake::start_tls(move |_| challenge(&realm));
    refused(pulled(&as_ci(fake.request(":v1"))), Kind::Tls, &["plain HTTP"]);
    assert_eq!(plain.asked(), []);
}

#[test]
fn tls_that_cannot_be_trusted_is_refused_with_what_to_do() {
    let fake = Fake::start_tls(|asked| Wasm::default().serve(asked));
    assert_eq!(latest(&fake).expect("it is trusted").module, WASM);
    let asked = Request { ca: None, ..fake.request(":v1") };
    refused(pulled(&asked), Kind::Tls, &["give the certificate"]);
    let asked = Request { ca: Some("nonsense".to_owned()), ..fake.request(":v1") };
    refused(pulled(&asked), Kind::Setup, &["no certificate"]);
    let plain = Fake::start(|_| answer(200, ""));
    let asked = Request { plain_http: false, ..plain.request(":v1") };
    refused(pulled(&asked), Kind::Tls, &["does not speak TLS"]);
    let reference = format!("oci://127.0.0.2:{}/a:v1", fake.port()).parse().expect("it is a reference");
    let asked = Request { reference, ..fake.request(":v1") };
    refused(pulled(&asked), Kind::Tls, &["127.0.0.2"]);
}

#[test]
fn urls_of_a_layer_are_never_asked() {
    let elsewhere = Fake::start(|_| answer(200, WASM));
    let wasm = Wasm { urls: vec![format!("http://{}/module", elsewhere.authority())], ..Wasm::default() };
    let fake = Fake::start(move |asked| if asked.is_blob() { answer(404, "") } else { wasm.serve(asked) });
    refused(latest(&fake), Kind::NotFound, &[]);
    assert_eq!(elsewhere.asked(), []);
}

#[test]
fn a_registry_that_never_has_enough_is_asked_a_few_times() {
    for how in ["Basic realm=\"x\"", "Negotiate", ""] {
        let fake = Fake::start(move |_| challenge(how));
        refused(latest(&fake), Kind::Unauthorized, &["none is configured"]);
        let asked = as_ci(fake.request(":v1"));
        refused(pulled(&asked), Kind::Unauthorized, &["refuses the login of \"ci\""]);
        assert!(fake.asked().len() < 10, "{how}");
    }
}

#[test]
fn a_token_service_is_asked_for_this_repository_and_its_token_is_used() {
    let fake = Fake::start(|asked| match (asked.path(), asked.authorization.as_deref()) {
        // ci:secret
        ("/token", Some("Basic Y2k6c2VjcmV0")) => json(&json!({"token": "t0ken"})),
        ("/token", _) => answer(401, "wrong password"),
        (_, Some("Bearer t0ken")) => Wasm::default().serve(asked),
        _ => asked.token_first(",service=\"the service\""),
    });
    assert_eq!(pulled(&as_ci(fake.request(":v1"))).expect("it has a token").module, WASM);
    let token = fake.asked().into_iter().find(|asked| asked.path() == "/token").expect("it was asked");
    assert_eq!(token.uri, "/token?scope=repository%3Ateam%2Forders%3Apull&service=the+service");
    // What the service says is said, which the client keeps to itself.
    refused(latest(&fake), Kind::Unauthorized, &["none is configured", "wrong password"]);
}

#[test]
fn a_token_that_makes_no_sense_is_an_error_and_no_crash() {
    for token in [json!({"token": "a\nb"}), json!({"token": 1}), json!([])] {
        let fake = Fake::start(move |asked| match asked.path() {
            "/token" => json(&token),
            _ => asked.token_first(""),
        });
        refused(latest(&fake), Kind::Broken, &["makes no sense"]);
    }
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let fake = Fake::start(|asked| if asked.is_blob() { drip() } else { Wasm::default().serve(asked) });
    let request = Request { time: Duration::from_millis(400), ..fake.request(":v1") };
    let since = Instant::now();
    refused(pulled(&request), Kind::Time, &["400ms", "slow"]);
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_status_is_told_as_what_it_means() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"not \u001b[2Jyours"}]}"#;
    let many = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such"}]}"#;
    for (status, body, kind, word) in [
        (429, "", Kind::Busy, "try again later"),
        (429, many, Kind::Busy, "slow down"),
        (500, "oops", Kind::Busy, "oops"),
        (503, "", Kind::Busy, "status 503"),
        (404, unknown, Kind::NotFound, "this tag"),
        (404, "", Kind::NotFound, "team/orders"),
        (403, denied, Kind::Unauthorized, "not \\u{1b}[2Jyours"),
        (403, "", Kind::Unauthorized, "login"),
        (418, "teapot", Kind::Broken, "teapot"),
        (204, "", Kind::Broken, "204"),
    ] {
        let fake = Fake::start(move |asked| match asked.is_manifest() {
            true => answer(status, body),
            false => Wasm::default().serve(asked),
        });
        refused(latest(&fake), kind, &[word]);
    }
}

#[test]
fn what_cannot_be_reached_is_said() {
    let nobody = request("registry.invalid", None, "a:v1");
    refused(pulled(&nobody), Kind::UnknownHost, &["\"registry.invalid\"", "check how it is written"]);
    // A port that was just free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let nothing = request(&address.to_string(), None, "a:v1");
    refused(pulled(&nothing), Kind::Unreachable, &["refused", "check the port"]);
}
