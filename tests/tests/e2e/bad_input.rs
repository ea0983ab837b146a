//! Whatever is wrong before or at the start: the exit code says whose fault it is, and the message names the
//! thing and what to do, without a chain of causes and without a backtrace. Modules that are refused are a part of the
//! corpus (`corpus`).

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::{Ended, Home, Host};
use sandmill_tests::job::{Job, quoted};
use sandmill_tests::kafka::{Kafka, Options};
use sandmill_tests::ledger::over_keys;
use sandmill_tests::producer::Producer;
use sandmill_tests::refusal::{FAILED, REFUSED, USAGE, assert_said, without_what_the_guest_said};
use sandmill_tests::unique;

/// `sandmill run` of this module on a broker that has the topics.
fn run_module(module: &Path) -> Ended {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, module, 1);
    job.start().end(Duration::from_secs(90))
}

#[test]
fn no_such_module() {
    assert_said(&run_module(Path::new("/nowhere/missing.wasm")), REFUSED, &["/nowhere/missing.wasm"]);
}

#[test]
fn a_handler_that_traps_on_every_record() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("hostile_trap"), 1).config("when", "always").then("halt", 1);
    Producer::new(kafka).send(&job.input, &over_keys(50, 5, |_| b"value".to_vec()));
    let ended = job.start().end(Duration::from_secs(90));
    assert_said(&ended, FAILED, &[&job.name, &job.input, "trap"]);
    assert!(kafka.committed_offsets(&job.group, &job.input).values().all(|offset| *offset == 0));
    assert!(job.outputs().is_empty());
}

/// A run with this configuration file.
fn run_file(job: &Job<'_>, text: &str) -> Ended {
    let file = job.home.file("sandmill.toml", text);
    job.home.run(&[Path::new("run"), Path::new("--config"), &file])
}

/// The line on which `text` stands, as messages give it.
fn line_of(file: &str, text: &str) -> String {
    let at = file.lines().position(|line| line.contains(text)).expect("the file has it") + 1;
    format!("sandmill.toml:{at}:")
}

#[test]
fn a_mistyped_key_with_what_was_meant() {
    let job = Job::new(Kafka::shared(), &guest("echo"), 1).set("orderring", "\"key\"");
    let file = job.file_of(&job.pipeline());
    let place = line_of(&file, "orderring");
    assert_said(&run_file(&job, &file), USAGE, &["orderring", "ordering", &place]);
}

#[test]
fn a_value_of_the_wrong_type_with_its_line() {
    let job = Job::new(Kafka::shared(), &guest("echo"), 1).set_in("on_failure", "retries", "\"many\"");
    let file = job.file_of(&job.pipeline());
    let place = line_of(&file, "\"many\"");
    assert_said(&run_file(&job, &file), USAGE, &["retries", &place]);
}

#[test]
fn a_file_that_is_no_toml() {
    let job = Job::new(Kafka::shared(), &guest("echo"), 1);
    assert_said(&run_file(&job, "[kafka\nx = 1\n"), USAGE, &["sandmill.toml:1:"]);
}

#[test]
fn a_configuration_file_that_is_not_there() {
    let ended = Home::new().run(&["run", "--config", "/nowhere/sandmill.toml"]);
    assert_said(&ended, USAGE, &["/nowhere/sandmill.toml"]);
}

#[test]
fn a_property_that_belongs_to_the_host() {
    for (property, value) in
        [("enable.auto.commit", "true"), ("auto.offset.reset", "latest"), ("acks", "1"), ("group.id", "mine")]
    {
        let job = Job::new(Kafka::shared(), &guest("echo"), 1).kafka(property, value);
        let file = job.file_of(&job.pipeline());
        let place = line_of(&file, property);
        assert_said(&run_file(&job, &file), USAGE, &[property, &place]);
    }
}

#[test]
fn the_same_topic_as_input_and_output() {
    let mut job = Job::new(Kafka::shared(), &guest("echo"), 1);
    job.output = job.input.clone();
    assert_said(&run_file(&job, &job.file_of(&job.pipeline())), USAGE, &[&job.input, "output", "input"]);
}

#[test]
fn two_pipelines_of_one_name() {
    let job = Job::new(Kafka::shared(), &guest("echo"), 1);
    let other = job.pipeline().replace(&quoted(&job.group), &quoted("another-group"));
    let file = job.file_of(&format!("{}{other}", job.pipeline()));
    assert_said(&run_file(&job, &file), USAGE, &[&job.name, "name"]);
}

#[test]
fn two_pipelines_of_one_group_on_one_topic() {
    let job = Job::new(Kafka::shared(), &guest("echo"), 1);
    let other = job.pipeline().replacen(&quoted(&job.name), &quoted("another-name"), 1);
    let file = job.file_of(&format!("{}{other}", job.pipeline()));
    assert_said(&run_file(&job, &file), USAGE, &[&job.group, &job.input]);
}

#[test]
fn an_input_topic_that_is_not_there() {
    let mut job = Job::new(Kafka::shared(), &guest("echo"), 1);
    job.input = unique("missing-input");
    assert_said(&run_file(&job, &job.file_of(&job.pipeline())), REFUSED, &[&job.input, "input"]);
}

#[test]
fn an_output_topic_that_is_not_there() {
    let mut job = Job::new(Kafka::shared(), &guest("echo"), 1);
    job.output = unique("missing-output");
    assert_said(&run_file(&job, &job.file_of(&job.pipeline())), REFUSED, &[&job.output, "output"]);
}

#[test]
fn a_dead_letter_topic_that_is_not_there() {
    let mut job = Job::new(Kafka::shared(), &guest("echo"), 1);
    job.dead = unique("missing-dead");
    let job = job.dead_letters(1);
    assert_said(&run_file(&job, &job.file_of(&job.pipeline())), REFUSED, &[&job.dead, "dead"]);
}

/// A host whose broker is a port at which nobody answers, held so that nobody will; and that port.
fn host_without_broker(home: &Home, listen: &str) -> (Host, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = silent.local_addr().expect("it is bound").to_string();
    let handler = guest("echo");
    let handler = handler.to_str().expect("a path of text");
    let arguments =
        ["run", handler, "--brokers", &address, "--input", "in", "--output", "out", "--listen", listen];
    (home.spawn(&arguments), silent)
}

#[test]
fn a_broker_that_does_not_answer() {
    let home = Home::new();
    let (host, silent) = host_without_broker(&home, "off");
    let address = silent.local_addr().expect("it is bound").to_string();
    assert_said(&host.end(Duration::from_secs(60)), REFUSED, &[&address]);
}

#[test]
fn a_host_that_still_looks_for_its_broker_stops_at_once_and_in_order() {
    let home = Home::new();
    let (mut host, _silent) = host_without_broker(&home, "127.0.0.1:0");
    host.wait_for_log("listening on", Duration::from_secs(60));
    let ended = host.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped before anything was consumed"), "{}", ended.stderr);
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let job = Job::new(Kafka::shared(), &guest("echo"), 1);
    let file = job.file_of(&job.pipeline()).replace("127.0.0.1:0", &address);
    assert_said(&run_file(&job, &file), REFUSED, &[&address, "listen"]);
}

#[test]
fn no_permission_for_topic_or_group() {
    let kafka = Kafka::start_with(1, &Options { authorizer: true, ..Options::default() });
    let mut job = Job::new(&kafka, &guest("echo"), 1);
    for (property, value) in kafka.login_of_stranger() {
        job = job.kafka(property, value);
    }
    let file = job
        .file_of(&job.pipeline())
        .replace(&quoted(&kafka.bootstrap()), &quoted(&kafka.bootstrap_of_stranger()));
    let ended = run_file(&job, &file);
    assert_said(&ended, REFUSED, &[&job.input, "permi"]);
    assert!(!ended.stderr.contains("stranger-password"), "the password is in {}", ended.stderr);

    kafka.tool(
        "org.apache.kafka.tools.AclCommand",
        &["--add", "--allow-principal", "User:stranger", "--operation", "All", "--topic", "*"],
    );
    assert_said(&run_file(&job, &file), REFUSED, &[&job.group, "permi"]);

    let wrong = file.replace("stranger-password", "wrong-password");
    let ended = run_file(&job, &wrong);
    assert_said(&ended, REFUSED, &["authenti"]);
    assert!(!ended.stderr.contains("wrong-password"), "the password is in {}", ended.stderr);
}

#[test]
fn wrong_usage() {
    let home = Home::new();
    for arguments in [&["run"][..], &["run", "x.wasm"], &["frobnicate"], &["run", "--no-such-flag"]] {
        let ended = home.run(arguments);
        assert_eq!(ended.code, USAGE, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty());
        assert!(!without_what_the_guest_said(&ended.stderr).contains("panicked"), "{}", ended.stderr);
    }
}
