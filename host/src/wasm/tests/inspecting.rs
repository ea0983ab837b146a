//! What `inspect` finds out.

use super::*;
use crate::wasm::{Capability, Import, Kind, Report};

/// As `sandmill inspect` does it, but compiled in this process.
fn inspect(bytes: &[u8]) -> Report {
    let mut report = Report::read(bytes);
    let key = Key::from_bytes([7; 32]);
    match compile(bytes, &key, &FileLimits::default()) {
        Ok(compiled) => {
            let compiled = Compiled::open(compiled, &key).expect("it was just sealed");
            report.compiled(compiled.about(), Duration::from_millis(3));
            let module = Module::load(engine(), &compiled, Grants::ALL).expect("it can be linked");
            report.start(&module, &settings(LIMITS));
        }
        Err(reason) => report.refused = Some(reason.to_string()),
    }
    report
}

fn import(name: &str, needs: Option<Capability>) -> Import {
    Import { name: name.to_owned(), needs }
}

#[test]
fn a_handler_is_described_and_measured() {
    let guest = Guest::new("(call $write (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1024)")
        .import("sandmill:handler/log@0.1.0", "write", "(func $write (param i32 i32 i32))");
    let bytes = guest.core_module();
    let report = inspect(&bytes);
    assert_eq!(report.kind, Some(Kind::CoreModule));
    assert_eq!((report.size, report.digest), (bytes.len(), crate::wasm::Digest::of(&bytes)));
    assert_eq!(report.contract.as_deref(), Some("0.1.0"));
    assert!(
        report.imports.contains(&import("sandmill:handler/log@0.1.0", Some(Capability::Log))),
        "{report:?}"
    );
    assert_eq!(report.functions, 4);
    assert!(report.component_size.is_some_and(|size| size > bytes.len()));
    assert_eq!((report.refused.as_deref(), report.start_failure.as_deref()), (None, None));
    assert!(report.start.is_some_and(|time| time > Duration::ZERO));
    assert_eq!(report.memory, Some(2 * 65536 + 8));
    let json = serde_json::to_value(&report).expect("it can be written");
    assert_eq!(json["kind"], "core-module");
    assert_eq!(json["digest"], report.digest.to_string());
    assert_eq!(json["compile_ms"], 3.0);
}

#[test]
fn what_would_be_refused_is_still_described() {
    let component = wat::parse_str(
        "(component
            (import \"evil:corp/shell@1.0.0\" (instance $i (export \"run\" (func))))
            (export \"sandmill:handler/process@0.1.0\" (instance $i)))",
    )
    .expect("it is text");
    let report = inspect(&component);
    assert_eq!(report.kind, Some(Kind::Component));
    assert_eq!(report.imports, [import("evil:corp/shell@1.0.0", None)]);
    assert_eq!(
        report.refused.as_deref(),
        Some("the module imports `evil:corp/shell@1.0.0`, which this host does not have")
    );
    assert_eq!(report.compile, None);

    let report = inspect(b"no wasm");
    assert_eq!((report.kind, report.size), (None, 7));
    assert!(report.refused.is_some_and(|reason| reason.contains("no WebAssembly")));
}

#[test]
fn a_start_that_fails_is_no_refusal() {
    let report = inspect(&Guest::new("(i32.const 1024)").start("unreachable").core_module());
    assert_eq!(report.refused, None);
    assert!(report.start_failure.is_some_and(|reason| reason.contains("unreachable")));
    assert_eq!(report.start, None);
}
