//! Every file that is no handler is refused, and says why.

use proptest::prelude::*;

use super::guest::custom_section;
use super::*;
use crate::wasm::{Kind, Unreadable};

fn refused(bytes: &[u8], grants: Grants) -> LoadError {
    make(engine(), bytes, grants).expect_err("the file is refused")
}

#[test]
fn a_handler_says_what_it_is() {
    let guest = Guest::new("(i32.const 1024)");
    let (core, component) = (guest.core_module(), guest.component());
    let module = make(engine(), &core, Grants::default()).expect("it is a handler");
    assert_eq!((module.kind(), module.contract()), (Kind::CoreModule, "0.1.0"));
    assert_eq!(module.digest(), crate::wasm::Digest::of(&core));
    let module = make(engine(), &component, Grants::default()).expect("it is a handler");
    assert_eq!((module.kind(), module.contract()), (Kind::Component, "0.1.0"));
}

#[test]
fn what_is_no_webassembly_is_refused() {
    for (bytes, reason) in [
        (&b""[..], Unreadable::NotWasm),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", Unreadable::NotWasm),
        (b"  (module)  ", Unreadable::Text),
        (b"\0asm\x01\0", Unreadable::Truncated),
        (b"\0asm\x63\0\x02\0", Unreadable::Version(0x0002_0063)),
    ] {
        assert_eq!(refused(bytes, Grants::ALL), LoadError::Unreadable(reason));
    }
}

#[test]
fn what_is_cut_short_is_refused_wherever_it_ends() {
    for bytes in [Guest::new("(i32.const 1024)").component(), Guest::new("(i32.const 1024)").core_module()] {
        for length in (0..bytes.len()).step_by(97) {
            refused(&bytes[..length], Grants::ALL);
        }
        let half = refused(&bytes[..bytes.len() / 2], Grants::ALL);
        assert_eq!(half, LoadError::Unreadable(Unreadable::Truncated));
    }
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let limit = FileLimits::default().size;
    let bytes = vec![0; limit + 1];
    let size = bytes.len() as u64;
    assert_eq!(refused(&bytes, Grants::ALL), LoadError::Unreadable(Unreadable::TooLarge { size, limit }));
}

#[test]
fn a_core_module_that_knows_nothing_of_components_is_refused() {
    let plain = wat::parse_str("(module (memory 1) (func (export \"run\")))").expect("it is text");
    assert_eq!(refused(&plain, Grants::ALL), LoadError::NoComponentType);
    let guest = Guest::new("(i32.const 1024)").without_component_type();
    assert_eq!(refused(&guest.core_module(), Grants::ALL), LoadError::NoComponentType);
}

#[test]
fn what_exports_no_handler_is_refused() {
    let component = wat::parse_str("(component)").expect("it is text");
    let error = refused(&component, Grants::ALL);
    assert_eq!(error, LoadError::NoHandler { exports: "nothing".to_owned() });
    let component = wat::parse_str(
        "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
            (func (export \"other\") (canon lift (core func $i \"f\"))))",
    )
    .expect("it is text");
    assert_eq!(refused(&component, Grants::ALL), LoadError::NoHandler { exports: "`other`".to_owned() });
}

#[test]
fn another_version_of_the_contract_is_refused_by_its_number() {
    let error = refused(&Guest::new("(i32.const 1024)").version("9.0.0").core_module(), Grants::ALL);
    assert_eq!(error.to_string(), "the module speaks contract 9.0.0, this host speaks 0.1.0");
}

#[test]
fn an_import_that_is_not_granted_is_refused_by_its_name() {
    let logs = Guest::new("(call $write (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1024)").import(
        "sandmill:handler/log@0.1.0",
        "write",
        "(func $write (param i32 i32 i32))",
    );
    let error = refused(&logs.core_module(), Grants::default());
    assert_eq!(
        error.to_string(),
        "the module imports `sandmill:handler/log@0.1.0`, which its pipeline does not allow: add `allow.log = true`"
    );
    assert!(make(engine(), &logs.core_module(), Grants::ALL).is_ok());
}

#[test]
fn an_import_that_does_not_exist_is_refused_by_its_name() {
    let component = wat::parse_str(
        "(component
            (import \"evil:corp/shell@1.0.0\" (instance $i (export \"run\" (func))))
            (export \"sandmill:handler/process@0.1.0\" (instance $i)))",
    )
    .expect("it is text");
    let error = refused(&component, Grants::ALL);
    assert_eq!(error, LoadError::UnknownImport { import: "evil:corp/shell@1.0.0".to_owned() });
}

#[test]
fn an_export_of_the_right_name_and_the_wrong_type_is_refused() {
    let component = wat::parse_str(
        "(component
            (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            (instance $p (export \"start\" (func $f)) (export \"handle\" (func $f)))
            (export \"sandmill:handler/process@0.1.0\" (instance $p)))",
    )
    .expect("it is text");
    assert!(matches!(refused(&component, Grants::ALL), LoadError::Link(_)));
}

#[test]
fn features_that_are_off_are_refused() {
    for extra in [
        "(memory $second 1)",
        "(memory $shared 1 1 shared)",
        "(table $t i64 1 funcref)",
        "(tag $t)",
        "(type $s (struct))",
        "(func (result i32) (return_call 0))",
        "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
    ] {
        let error = refused(&Guest::new("(i32.const 1024)").with(extra).core_module(), Grants::ALL);
        assert!(matches!(error, LoadError::Invalid(_) | LoadError::Unreadable(_)), "{extra}: {error}");
        // In a component it is the sandbox itself that validates.
        let component = wat::parse_str(format!(
            "(component
                (core module (memory 1) (func $f (result i32) (i32.const 1)) {extra})
                (import \"sandmill:handler/types@0.1.0\" (instance $i))
                (export \"sandmill:handler/process@0.1.0\" (instance $i)))"
        ))
        .expect("it is text");
        let error = refused(&component, Grants::ALL);
        assert!(matches!(error, LoadError::Compile(_) | LoadError::Unreadable(_)), "{extra}: {error}");
    }
}

#[test]
fn a_section_that_makes_no_sense_is_refused() {
    let mut module = Guest::new("(i32.const 1024)").without_component_type().core_module();
    custom_section(&mut module, "component-type:bogus", b"\0asm\x0d\0\x01\0garbage");
    assert!(matches!(refused(&module, Grants::ALL), LoadError::Componentize(_)));
}

#[test]
fn more_instances_than_the_machine_holds_are_refused_at_start() {
    let error = Engine::new(&EngineConfig::new(10_000_000)).expect_err("nothing holds so many").to_string();
    assert!(error.contains("10000000 instances need"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_mutation_of_a_module_panics_the_host(
        component in any::<bool>(),
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let guest = Guest::new("(i32.const 1024)");
        let mut bytes = if component { guest.component() } else { guest.core_module() };
        // A core module's type, the last of its sections, can bring the compiler's process to a crash: packages that need
        // each other overflow its stack. The case `compiler-bombs` of the corpus holds that it is refused for that.
        let section = b"component-type:";
        let intact = bytes.windows(section.len()).position(|window| window == section).filter(|_| !component);
        let most = intact.unwrap_or(bytes.len());
        for (place, byte) in places {
            let place = place.index(most);
            bytes[place] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        // Most are refused; some still are handlers.
        let _ = make(engine(), &bytes, Grants::ALL);
    }

    #[test]
    fn no_bytes_panic_the_host(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0..3) {
        let header: &[u8] = match magic {
            0 => b"",
            1 => b"\0asm\x01\0\0\0",
            _ => b"\0asm\x0d\0\x01\0",
        };
        prop_assert!(make(engine(), &[header, &bytes].concat(), Grants::ALL).is_err());
    }
}

/// The SDK carries the component type of the contract, so that handlers compile without the tools that make it.
#[test]
fn the_sdk_carries_this_contract() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/src/contract.bin");
    let contract = super::guest::contract::COMPONENT_TYPE;
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        std::fs::write(path, contract).expect("the file can be written");
    }
    let carried = std::fs::read(path).expect("the SDK has it");
    assert!(
        carried == contract,
        "run this test with UPDATE_CONTRACT=1: wit/handler.wit or its encoding changed"
    );
}
