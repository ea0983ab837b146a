//! Whom a host believes: signatures of modules, its own store, its own history, its certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minisign::KeyPair;
use sandmill_tests::host::Host;
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::releases::{Manner, Operator, build, put};

const LONG: Duration = Duration::from_secs(60);

fn signed(pair: &KeyPair, module: &[u8]) -> String {
    minisign::sign(Some(&pair.pk), &pair.sk, module, None, None).expect("it signs").into_string()
}

fn start(job: &Job<'_>, more: &str) -> Host {
    let file = job.home.file("sandmill.toml", job.file_of(&format!("{more}\n{}", job.pipeline())));
    job.home.spawn(&[Path::new("run"), Path::new("--config"), &file])
}

fn data(job: &Job<'_>, name: &str) -> PathBuf {
    job.home.path().join("cache/sandmill").join(name)
}

#[test]
fn only_modules_that_a_known_key_has_signed_run_whatever_way_they_come() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1);
    let [ours, other] = [0, 1].map(|_| KeyPair::generate_unencrypted_keypair().expect("a key"));
    let public = ours.pk.to_box().expect("it can be written").into_string();
    let key = public.lines().nth(1).expect("two lines");
    let policy = format!("[modules]\nsignatures = 1\n[modules.keys]\nrelease = \"{key}\"");
    let module = build(0, Manner::Works);
    let path = job.home.file("stamp.wasm", &module);
    // Without a signature the host does not even start.
    let ended = start(&job, &policy).end(LONG);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("stamp.wasm") && ended.stderr.contains("sign"), "{}", ended.stderr);
    drop(job.home.file("stamp.wasm.minisig", signed(&ours, &module)));
    let mut host = start(&job, &policy);
    host.wait_ready();

    // Sent: without one, with one of somebody else, of something else, and the right one.
    let operator = Operator::of(&job.home, &mut host, &job.name);
    let next = build(1, Manner::Works);
    let file = operator.file("next.wasm", &next);
    for signature in
        [None, Some(signed(&other, &next)), Some(signed(&ours, &module)), Some("a note".to_owned())]
    {
        if let Some(text) = signature {
            drop(operator.file("next.wasm.minisig", text.as_bytes()));
        }
        let ended = operator.run("deploy", &[file.to_str().expect("text")]);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.stderr.contains("verify:"), "{}", ended.stderr);
    }
    drop(operator.file("next.wasm.minisig", signed(&ours, &next).as_bytes()));
    let ended = operator.run("deploy", &[file.to_str().expect("text")]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("signed by release"), "{}", ended.stdout);

    // The file: refused until its signature is there, too.
    let third = build(2, Manner::Works);
    put(&path, &third);
    host.wait_until("it was refused", LONG, |host| {
        host.status()["pipelines"][0]["last_deploy"]["step"] == "verify"
    });
    drop(job.home.file("stamp.wasm.minisig", signed(&ours, &third)));
    host.wait_until("it was deployed", LONG, |_| operator.versions()["running"] == 3);

    // From the store: what was signed by a key that is trusted no longer does not come back.
    assert_eq!(host.terminate().code, 0);
    let public = other.pk.to_box().expect("it can be written").into_string();
    let stranger = policy.replace(key, public.lines().nth(1).expect("two lines"));
    drop(job.home.file("stamp.wasm.minisig", signed(&other, &third)));
    let mut host = start(&job, &stranger);
    host.wait_ready();
    let operator = Operator::of(&job.home, &mut host, &job.name);
    let ended = operator.run("rollback", &["--to", "2"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("verify:"), "{}", ended.stderr);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn a_store_or_a_history_that_somebody_changed_is_reported_and_the_file_runs() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1);
    drop(job.home.file("stamp.wasm", build(0, Manner::Works)));
    let mut host = job.start();
    host.wait_ready();
    let story = Operator::of(&job.home, &mut host, &job.name).deploy(&build(1, Manner::Works), &[]);
    assert_eq!(host.terminate().code, 0);
    // Another module under the name of the one that was deployed.
    let digest =
        story["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let stored = data(&job, &format!("modules/{digest}.wasm"));
    assert_eq!(fs::read(&stored).expect("it is kept"), build(1, Manner::Works));
    fs::write(&stored, build(9, Manner::Works)).expect("it is ours");
    let mut host = job.start();
    host.wait_ready();
    assert!(host.log().contains("the deployed version cannot run") && host.log().contains("was changed"));
    let operator = Operator::of(&job.home, &mut host, &job.name);
    let versions = operator.versions();
    assert_eq!(
        (versions["running"].as_u64(), versions["versions"][2]["source"].as_str()),
        (Some(3), Some("file"))
    );
    assert_eq!(host.terminate().code, 0);
    // Half a history.
    let history = data(&job, &format!("versions/{}.json", job.name));
    let whole = fs::read(&history).expect("it is kept");
    fs::write(&history, &whole[..whole.len() / 2]).expect("it is ours");
    let mut host = job.start();
    host.wait_ready();
    assert!(host.log().contains("was set aside"), "{}", host.log());
    assert_eq!(
        fs::read(history.with_extension("json.damaged")).expect("it is there"),
        whole[..whole.len() / 2]
    );
    assert_eq!(host.status()["pipelines"][0]["runs"]["source"], "file");
    // A second host beside it has no history of its own there, says so, and works.
    let mut second = job.start();
    second.wait_ready();
    assert!(second.log().contains("another host keeps this pipeline's versions"), "{}", second.log());
    assert_eq!(second.terminate().code, 0);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn over_tls_the_commands_believe_the_certificate_that_they_are_given_and_a_new_one_is_taken() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, Path::new("stamp.wasm"), 1);
    drop(job.home.file("stamp.wasm", build(0, Manner::Works)));
    let names = || ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let renew = || {
        let made = rcgen::generate_simple_self_signed(names()).expect("a certificate");
        drop(job.home.file("tls.key", made.signing_key.serialize_pem()));
        drop(job.home.file("tls.crt", made.cert.pem()));
        job.home.file("ca.pem", made.cert.pem())
    };
    let ca = renew();
    let mut host = start(&job, "tls_certificate = \"tls.crt\"\ntls_key = \"tls.key\"");
    let url = host.await_some("it said where it listens", LONG, |host| {
        let log = host.log();
        let (_, after) = log.split_once("listening on https://")?;
        let address: String = after.chars().take_while(|c| !c.is_whitespace()).collect();
        after.contains('\n').then(|| format!("https://{address}"))
    });
    let versions = |ca: &[&str]| job.home.run(&[&["versions", &job.name, "--url", &url][..], ca].concat());
    let with_ca = || versions(&["--ca", ca.to_str().expect("text")]);
    host.wait_until("it serves", LONG, |_| with_ca().code == 0);
    let stranger = versions(&[]);
    assert_eq!(stranger.code, 3, "{stranger:?}");
    assert!(stranger.stderr.contains("certificate"), "{}", stranger.stderr);
    let plain = versions(&["--url", &url.replace("https", "http")]);
    assert_ne!(plain.code, 0, "{plain:?}");
    // Nobody believes the old one any more.
    drop(renew());
    host.wait_until("the new certificate was taken", LONG, |_| with_ca().code == 0);
    assert!(host.log().contains("has a new certificate"));
    assert_eq!(host.terminate().code, 0);
}
