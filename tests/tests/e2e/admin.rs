//! The API that deploys: who may, how much, and what is written down of it.

use std::path::Path;
use std::time::Duration;

use sandmill_tests::host::{Home, Host};
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::releases::{Manner, build};
use serde_json::Value;

const READ: &str = "0123456789abcdef0123456789abcdef-read";
const DEPLOY: &str = "0123456789abcdef0123456789abcdef-deploy";
const ADMIN: &str = "0123456789abcdef0123456789abcdef-admin";
const LONG: Duration = Duration::from_secs(60);

/// A host with tokens of all roles.
fn start(job: &Job<'_>, home: &Home, http: &str) -> Host {
    drop(home.file("stamp.wasm", build(0, Manner::Works)));
    drop(home.file("read", READ));
    let text = job.file_of(&format!(
        "{http}\n[http.tokens.reader]\nrole = \"read\"\nfile = \"read\"\n[http.tokens.ci]\nrole = \"deploy\"\n\
         env = \"CI_TOKEN\"\n[http.tokens.boss]\nrole = \"admin\"\nenv = \"BOSS_TOKEN\"\n{}",
        job.pipeline()
    ));
    let file = home.file("sandmill.toml", text);
    home.spawn_with(
        &[Path::new("run"), Path::new("--config"), &file],
        &[("CI_TOKEN", DEPLOY), ("BOSS_TOKEN", ADMIN)],
    )
}

/// Status and body of a request.
fn ask(host: &mut Host, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> (u16, Value) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", host.url()))
        .header("content-type", "application/wasm");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = agent.run(request.body(body).expect("a request")).expect("it answers");
    let text = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[test]
fn every_route_of_the_document_is_there_and_admits_whom_it_says_and_nobody_else() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1);
    let home = Home::new();
    let mut host = start(&job, &home, "reads = \"token\"");
    host.wait_ready();
    let (status, document) = ask(&mut host, "GET", "/api/v1/openapi.json", None, b"");
    assert_eq!((status, &document["openapi"]), (200, &Value::from("3.1.0")));
    let mut guarded = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{name}", &job.name).replace("{id}", "1");
        for (method, operation) in methods.as_object().expect("methods") {
            let method = method.to_uppercase();
            let needs = operation["x-role"].as_str();
            let mut status = |token| ask(&mut host, &method, &path, token, b"").0;
            let Some(needs) = needs else {
                assert_eq!(status(None), 200, "{method} {path}");
                continue;
            };
            guarded += 1;
            assert_eq!(status(None), 401, "{method} {path}");
            assert_eq!(status(Some("0123456789abcdef0123456789abcdef-nobody")), 401, "{method} {path}");
            let roles = ["read", "deploy", "admin"];
            let rank = |role: &str| roles.iter().position(|known| *known == role).expect("a role");
            for (role, token) in roles.into_iter().zip([READ, DEPLOY, ADMIN]) {
                let got = status(Some(token));
                assert_eq!(got == 403, rank(role) < rank(needs), "{method} {path} as {role}: {got}");
                let known = &operation["responses"][got.to_string()];
                assert!(
                    known.is_object(),
                    "{method} {path} as {role} answers {got}, which the document lacks"
                );
            }
            // Nothing else is served there.
            let other = if method == "GET" { "DELETE" } else { "GET" };
            let text = ask(&mut host, other, &path, Some(ADMIN), b"");
            assert_eq!(text.0, 405, "{other} {path}");
        }
    }
    assert!(guarded >= 7, "{guarded}");
    let (status, text) = ask(&mut host, "GET", "/api/v1/nothing", None, b"");
    assert!(
        status == 404 && text["error"].as_str().is_some_and(|error| error.contains("/metrics")),
        "{text}"
    );
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn bodies_names_and_numbers_that_make_no_sense_are_refused_with_a_sentence_and_change_nothing() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1).set_host("module_size", "\"200KiB\"");
    let home = Home::new();
    let mut host = start(&job, &home, "");
    host.wait_ready();
    let deploy = format!("/api/v1/pipelines/{}/deploy", job.name);
    for (path, body, status, word) in [
        (deploy.clone() + "?canary=0", &b"x"[..], 400, "1 to 99"),
        (deploy.clone() + "?canary=10&shadow=true", b"x", 400, "either"),
        (deploy.clone() + "?handler=a%20b", b"x", 400, "no name"),
        ("/api/v1/pipelines/none/deploy".to_owned(), b"x", 404, job.name.as_str()),
        (format!("/api/v1/pipelines/{}/rollback?to=x", job.name), b"", 400, "number"),
    ] {
        let (got, text) = ask(&mut host, "POST", &path, Some(DEPLOY), body);
        assert_eq!(got, status, "{path}: {text}");
        assert!(text["error"].as_str().is_some_and(|error| error.contains(word)), "{path}: {text}");
    }
    // The program's own client hears the answer to a body of which nobody reads the end.
    let large = home.file("large.wasm", vec![0; 300 << 10]);
    let ended = home.run(&["deploy", &job.name, large.to_str().expect("text"), "--url", &host.url()]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("host.module_size"), "{}", ended.stderr);
    // A body that is no module is taken and refused by the deploy, which says at which step.
    let (status, story) = ask(&mut host, "POST", &deploy, Some(DEPLOY), b"a note");
    assert_eq!(status, 202, "{story}");
    let path = format!("/api/v1/deploys/{}", story["id"]);
    let mut story = Value::Null;
    host.wait_until("it was refused", LONG, |host| {
        story = ask(host, "GET", &path, None, b"").1;
        story["state"] == "refused"
    });
    assert_eq!(story["refused"]["step"], "compile", "{story}");
    let (_, versions) = ask(&mut host, "GET", &format!("/api/v1/pipelines/{}/versions", job.name), None, b"");
    assert_eq!(versions["running"], 1);
    // All of that was asked for by somebody, and is written down; what was refused at the door changed nothing.
    let (_, audit) = ask(&mut host, "GET", "/api/v1/audit", Some(ADMIN), b"");
    let results: Vec<_> = audit.as_array().expect("a list").iter().map(|line| &line["result"]).collect();
    assert_eq!(results, ["asked", "refused"], "{audit:#}");
    assert_eq!((&audit[1]["who"], &audit[1]["role"]), (&Value::from("ci"), &Value::from("deploy")));
    // A token that asks for too many changes has to wait.
    let promote = format!("/api/v1/pipelines/{}/promote", job.name);
    let mut told = (0..1_000).map(|_| ask(&mut host, "POST", &promote, Some(ADMIN), b"").0);
    assert!(told.any(|status| status == 429), "it may ask without end");
    drop(told);
    assert_eq!(ask(&mut host, "GET", &path, Some(READ), b"").0, 200, "others need not");
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn nobody_can_deploy_over_a_public_address_without_a_token_or_where_that_is_off() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1);
    let home = Home::new();
    drop(home.file("stamp.wasm", build(0, Manner::Works)));
    let text = |http: &str| {
        job.file_of(&job.pipeline())
            .replace("listen = \"127.0.0.1:0\"", &format!("listen = \"0.0.0.0:0\"\n{http}"))
    };
    let file = home.file("open.toml", text(""));
    let ended = home.run(&[Path::new("run"), Path::new("--config"), &file]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("no token") && ended.stderr.contains("admin = false"), "{}", ended.stderr);
    let file = home.file("off.toml", text("admin = false"));
    let mut host = home.spawn(&[Path::new("run"), Path::new("--config"), &file]);
    host.wait_ready();
    let path = format!("/api/v1/pipelines/{}/deploy", job.name);
    assert_eq!(ask(&mut host, "POST", &path, Some(ADMIN), b"x").0, 404);
    let (_, document) = ask(&mut host, "GET", "/api/v1/openapi.json", None, b"");
    assert!(document["paths"].as_object().is_some_and(|paths| paths.len() == 5), "{document:#}");
    assert_eq!(host.terminate().code, 0);
}
