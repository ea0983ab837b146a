//! Promises of the public surface that no model covers.

use crate::testing::{Harness, Input, Outcome, batch, read_answer, run, take_log};
use crate::{Answer, Batch, Config, Failure, Handler, Outputs, Record, StartError, config, log, raw};

/// Runs one record through a builder and gives back its only output.
fn one(handler: impl FnMut(Record<'_>, &mut Outputs) -> Result<(), Failure>) -> crate::testing::Output {
    let answer = run(handler, [Input::new("in").key("key").header("a", "1")]);
    let [Outcome::Done(outputs)] = answer.outcomes.as_slice() else { panic!("one record is done") };
    assert_eq!(outputs.len(), 1);
    outputs[0].clone()
}

#[test]
fn the_last_word_about_a_key_or_a_value_counts() {
    let output = one(|_, out| {
        out.record().key("first").value("first").no_key().key("second").value("second").emit();
        Ok(())
    });
    assert_eq!(output.key.as_deref(), Some(&b"second"[..]));
    assert_eq!(output.value.as_deref(), Some(&b"second"[..]));

    let output = one(|_, out| {
        out.record().key("first").no_key().value("first").tombstone().emit();
        Ok(())
    });
    assert_eq!((output.key, output.value), (None, None));
}

#[test]
fn what_is_written_after_a_tombstone_is_a_value_again() {
    let output = one(|_, out| {
        let mut output = out.record().tombstone();
        write!(output, "{}-{}", 1, 2);
        output.push(b'-');
        output.extend_from_slice(b"3");
        std::io::Write::write_all(&mut output, b"!").expect("a vector takes all bytes");
        output.emit();
        Ok(())
    });
    assert_eq!(output.value.as_deref(), Some(&b"1-2-3!"[..]));
}

#[test]
fn headers_are_those_of_the_input_until_one_is_said() {
    let names = |output: crate::testing::Output| -> Vec<_> {
        output.headers.into_iter().map(|(name, _)| String::from_utf8(name).expect("ASCII")).collect()
    };
    let with = |build: fn(Record<'_>, crate::OutputRecord<'_>)| {
        names(one(|record, out| {
            build(record, out.record());
            Ok(())
        }))
    };
    assert_eq!(with(|_, output| output.emit()), ["a"]);
    assert_eq!(with(|_, output| output.header("b", "2").emit()), ["b"]);
    assert_eq!(with(|record, output| output.headers(record.headers()).null_header("b").emit()), ["a", "b"]);
    assert_eq!(with(|_, output| output.null_header("b").no_headers().emit()), [""; 0]);
    assert_eq!(with(|_, output| output.null_header("b").no_headers().header("c", "3").emit()), ["c"]);
    assert_eq!(with(|_, output| output.headers([]).emit()), [""; 0]);
}

#[test]
fn an_output_that_is_not_emitted_leaves_no_trace() {
    let output = one(|_, out| {
        drop(out.record().to(3).key("k").null_header("h").value("abandoned").timestamp(1));
        out.emit("kept");
        Ok(())
    });
    assert_eq!(output.value.as_deref(), Some(&b"kept"[..]));
    assert_eq!((output.key.as_deref(), output.destination), (Some(&b"key"[..]), 0));
}

/// Answers only the last record of a batch, for all of them.
struct Last;

impl Handler for Last {
    fn start(_: &Config) -> Result<Self, StartError> {
        Ok(Self)
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        out.forward(record);
        Ok(())
    }

    fn handle_batch(&mut self, batch: &Batch, answer: &mut Answer) {
        let last = batch.get(batch.len() - 1).expect("a batch has a record");
        answer.respond(last, |out| self.handle(last, out));
    }
}

#[test]
fn a_handler_of_batches_may_leave_records_out() {
    let mut last = Harness::<Last>::start(Config::new()).expect("it starts");
    let answer = last.run(["a", "b", "c"]);
    assert_eq!(answer.texts(), ["c"]);
    assert_eq!(answer.outcomes[0], Outcome::Done(Vec::new()));
}

#[test]
#[should_panic(expected = "in the order of the batch")]
fn records_are_not_responded_to_out_of_order() {
    let columns = batch(["a", "b"]);
    let batch = Batch::of(&columns, &[]);
    let mut answer = Answer::new();
    for index in [1, 0] {
        answer.respond(batch.get(index).expect("there are two"), |_| Ok(()));
    }
}

#[test]
#[should_panic(expected = "forwarded while it is handled")]
fn another_record_than_the_one_at_hand_is_not_forwarded() {
    let columns = batch(["a", "b"]);
    let batch = Batch::of(&columns, &[]);
    let mut answer = Answer::new();
    let (first, second) = (batch.get(0).expect("a"), batch.get(1).expect("b"));
    answer.respond(first, |out| {
        out.forward(second);
        Ok(())
    });
}

/// Counts its records, and logs what its config says.
struct Counter {
    seen: usize,
}

crate::export!(Counter);

impl Handler for Counter {
    fn start(config: &Config) -> Result<Self, StartError> {
        Ok(Self { seen: config.parse_or("seen", 0)? })
    }

    fn handle(&mut self, _: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        self.seen += 1;
        log::info!("{} {}", config::get("greeting").unwrap_or_default(), self.seen);
        log::warn!("plain");
        out.emit(self.seen.to_string());
        Ok(())
    }
}

#[test]
fn state_config_and_log_last_from_batch_to_batch() {
    take_log();
    let mut counter = Harness::<Counter>::start([("seen", "5"), ("greeting", "hello")]).expect("it starts");
    assert_eq!(counter.run(["a"]).texts(), ["6"]);
    assert_eq!(counter.run(["b", "c"]).texts(), ["7", "8"]);
    let lines = take_log();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], (log::Level::Info, "hello 6".to_owned()));
    assert_eq!(lines[5], (log::Level::Warn, "plain".to_owned()));
    assert!(take_log().is_empty());
}

#[test]
fn the_exported_slot_holds_one_instance_between_calls() {
    let slot = crate::export::Slot::<Counter>::new();
    let columns = batch(["a"]);
    assert_eq!(slot.start(vec![("seen".into(), "x".into())]).unwrap_err(), {
        "config key `seen` is \"x\": invalid digit found in string"
    });
    assert_eq!(slot.start(Vec::new()), Ok(()));
    for expected in ["1", "2"] {
        let answer = slot.call(&columns, |outputs, failures| raw::Answer {
            outputs: outputs.clone(),
            failures: failures.to_vec(),
        });
        let answer = read_answer(&columns, &answer).expect("the contract is kept");
        assert_eq!(answer.texts(), [expected]);
    }
    take_log();
}

#[test]
fn an_answer_that_breaks_a_rule_is_told_apart() {
    let columns = batch(["a", "b"]);
    let right = raw::Outputs { inputs: vec![0, 1], value_ends: vec![0, 0], ..raw::Outputs::default() };
    let failure =
        raw::Failure { input: 1, kind: raw::FailureKind::Reject, code: "c".into(), message: String::new() };
    let wrong = |outputs: raw::Outputs, failures: Vec<raw::Failure>| {
        read_answer(&columns, &raw::Answer { outputs, failures }).err().map(|error| error.to_string())
    };
    assert_eq!(wrong(right.clone(), Vec::new()), None);
    let text = "output 1 answers record 1, which failed";
    assert_eq!(wrong(right.clone(), vec![failure.clone()]).as_deref(), Some(text));
    let text = "record 1 fails twice";
    assert_eq!(wrong(raw::Outputs::default(), vec![failure.clone(), failure.clone()]).as_deref(), Some(text));
    let outputs = raw::Outputs { flags: vec![0, 64], ..right.clone() };
    assert_eq!(wrong(outputs, Vec::new()).as_deref(), Some("output 1 has unknown flags 0b01000000"));
    let outputs = raw::Outputs { timestamps: vec![0], ..right };
    assert_eq!(wrong(outputs, Vec::new()).as_deref(), Some("1 timestamps for 2 outputs"));
}
