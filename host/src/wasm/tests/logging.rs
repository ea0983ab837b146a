//! What guests write, and when it reaches the host's log.

use std::fmt::Write;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span;

use super::*;

/// Collects events as text.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Collector {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "sandmill::handler"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, " {}={value:?}", field.name());
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().expect("nothing panicked").push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Calls `guest` with `records` records; what became of the call, and what was logged.
fn logged(guest: &Guest, records: usize, limits: InstanceLimits) -> (Call, Vec<String>) {
    let (module, settings, cancel) = (load(guest), settings(limits), Arc::new(Cancel::new()));
    let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
    let collector = Collector::default();
    let call = tracing::subscriber::with_default(collector.clone(), || {
        on_worker(call_once(&module, &settings, &batch(&vec!["a"; records]), budget))
    });
    let lines = collector.0.lock().expect("nothing panicked").clone();
    (call, lines)
}

/// Writes the 5 bytes at 4096, at the level warn.
fn logger(then: &str) -> Guest {
    Guest::new(&format!("(call $write (i32.const 3) (i32.const 4096) (i32.const 5)) {then}"))
        .import("sandmill:handler/log@0.1.0", "write", "(func $write (param i32 i32 i32))")
        .with("(data (i32.const 4096) \"he\\1blo\")")
}

/// Writes the text at 4096 to standard error.
fn panicker(text: &str, then: &str) -> Guest {
    let length = text.len();
    Guest::new(&format!(
        "(i32.store (i32.const 4000) (i32.const 4096))
         (i32.store (i32.const 4004) (i32.const {length}))
         (drop (call $write (i32.const 2) (i32.const 4000) (i32.const 1) (i32.const 4008)))
         {then}"
    ))
    .pages(4)
    .import("wasi_snapshot_preview1", "fd_write", "(func $write (param i32 i32 i32 i32) (result i32))")
    .with(&format!("(data (i32.const 4096) \"{text}\")"))
}

#[test]
fn a_line_names_pipeline_and_handler_and_is_escaped() {
    let (call, lines) = logged(&logger("(i32.const 1024)"), 1, LIMITS);
    assert!(call.result.is_ok());
    let wanted = r#"WARN message=he\u{1b}lo pipeline="orders" handler="handler" source="log""#;
    assert_eq!(lines, [wanted]);
}

#[test]
fn lines_of_a_failed_call_are_logged_only_if_its_record_was_alone() {
    let (call, lines) = logged(&logger("unreachable"), 1, LIMITS);
    assert!(call.result.is_err());
    assert_eq!(lines.len(), 1);
    let (call, lines) = logged(&logger("unreachable"), 2, LIMITS);
    assert!(call.result.is_err());
    assert_eq!(lines, Vec::<String>::new(), "the records run again and log again");
}

#[test]
fn a_trap_says_what_the_guest_said_last() {
    let (call, lines) = logged(&panicker("panicked at lib.rs: no key", "unreachable"), 2, LIMITS);
    let failure = call.result.expect_err("it traps");
    assert_eq!(failure.outcome, Outcome::Trap);
    let wanted =
        "wasm trap: wasm `unreachable` instruction executed; stderr: panicked at lib.rs: no key; in ";
    assert!(failure.message.starts_with(wanted), "{failure}");
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn standard_error_goes_to_the_log() {
    let (call, lines) = logged(&panicker("careful", "(i32.const 1024)"), 1, LIMITS);
    assert!(call.result.is_ok());
    let wanted = r#"WARN message=careful pipeline="orders" handler="handler" source="stderr""#;
    assert_eq!(lines, [wanted]);
}

/// What a pipeline without `allow.log` has: standard output and error lead to nobody, and a trap is explained.
#[test]
fn who_may_not_log_writes_to_nobody_and_is_counted() {
    let limits = InstanceLimits { log: LogLimits { record_bytes: 0, second_bytes: 0 }, ..LIMITS };
    for text in ["careful", "careful\\0a", "one\\0atwo\\0athree"] {
        let guest = panicker(text, "(i32.const 1024)");
        let (module, settings, cancel) = (load(&guest), settings(limits), Arc::new(Cancel::new()));
        let budget = Budget { fuel: FUEL, deadline: LONG, cancel: &cancel };
        let collector = Collector::default();
        let call = tracing::subscriber::with_default(collector.clone(), || {
            on_worker(call_once(&module, &settings, &batch(&["a"]), budget))
        });
        assert!(call.result.is_ok(), "nobody is punished for a line");
        assert_eq!(*collector.0.lock().expect("nothing panicked"), Vec::<String>::new());
        let (written, dropped) = settings.capabilities.uses.lines();
        assert!(written == 0 && dropped > 0, "{text}: {written} {dropped}");
    }
    let (call, lines) = logged(&panicker("panicked at lib.rs: no key", "unreachable"), 1, limits);
    let failure = call.result.map(drop).expect_err("it traps");
    assert!(failure.message.contains("stderr: panicked at lib.rs: no key"), "{failure}");
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn a_flood_is_cut_to_what_a_record_may_log() {
    let flood = Guest::new(
        "(local $left i32)
         (local.set $left (i32.const 900))
         (loop $again
            (call $write (i32.const 0) (i32.const 4096) (i32.const 1000))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         (i32.const 1024)",
    )
    .import("sandmill:handler/log@0.1.0", "write", "(func $write (param i32 i32 i32))");
    let limits = InstanceLimits { log: LogLimits { record_bytes: 3000, second_bytes: 100_000 }, ..LIMITS };
    let (call, lines) = logged(&flood, 1, limits);
    assert!(call.result.is_ok());
    let bytes: usize = lines.iter().map(String::len).sum();
    assert!(bytes < 3000 + lines.len() * 100, "{bytes} bytes in {} lines", lines.len());
    assert!(!lines.is_empty() && lines.len() <= 4, "{}", lines.len());
}

#[test]
fn text_that_is_not_utf8_is_refused_at_the_door() {
    let guest = Guest::new("(call $write (i32.const 0) (i32.const 4096) (i32.const 2)) (i32.const 1024)")
        .import("sandmill:handler/log@0.1.0", "write", "(func $write (param i32 i32 i32))")
        .with("(data (i32.const 4096) \"\\ff\\fe\")");
    assert_outcome(outcome_of(&guest, LIMITS), Outcome::HostError, "utf-8");
}
