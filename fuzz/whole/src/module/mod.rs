//! Any bytes as a module are refused with a reason, or become a handler that is held to its limits.
//!
//! An input is the file itself, so that what broke something once can be handed to `sandmill inspect`. Compiling
//! happens in this process, not in the child that production starts for it: a child for each input would make a hundred
//! times fewer of them. `tests/child.rs` shows that both say the same.

mod make;

use sandmill::outcome::Failure;
use sandmill::wasm::{Compiled, Grants, LoadError, Module, Report, compile};

use crate::sandbox::{self, Pipeline};
use crate::{guests, kind_of};

pub use make::draw;

/// What is larger only takes longer.
const LARGEST: usize = 512 << 10;
/// Bytes of a reason.
const REASON: usize = 2_000;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(bytes: &[u8]) -> String {
    if bytes.len() > LARGEST {
        return "too large to be tried".to_owned();
    }
    let report = Report::read(bytes);
    assert_eq!(report.size, bytes.len());
    let names = report
        .exports
        .iter()
        .chain(&report.producers)
        .chain(report.imports.iter().map(|import| &import.name));
    names.for_each(|name| assert!(!name.chars().any(char::is_control), "not escaped: {name:?}"));
    let sealed = match compile(bytes, &sandbox::key(), &sandbox::FILE) {
        Ok(sealed) => sealed,
        Err(refused) => return reason(&refused),
    };
    let compiled = Compiled::open(sealed, &sandbox::key()).expect("it was just sealed");
    assert_eq!(compiled.about().digest, report.digest);
    // Whether it is granted anything changes what is said, and nothing else.
    if let Err(refused) = Module::load(sandbox::engine(), &compiled, Grants::default()) {
        reason(&refused);
    }
    let module = match Module::load(sandbox::engine(), &compiled, Grants::ALL) {
        Ok(module) => module,
        Err(refused) => return reason(&refused),
    };
    let said = run(&module);
    sandbox::assert_neighbour_is_served();
    said
}

/// Calls it with a record, with more of them, and again.
fn run(module: &Module) -> String {
    let pipeline = Pipeline::new();
    let mut said = Vec::new();
    let batches = [sandbox::batch(&[b"!a"]), sandbox::batch(&[b"{}", b"", b"1 2 3"])];
    let mut kept = None;
    for batch in batches.iter().chain(&batches) {
        let started = match kept.take() {
            Some(instance) => Ok(instance),
            None => pipeline.start(module),
        };
        let ended = started.and_then(|instance| pipeline.call(instance, batch));
        match ended {
            Ok((instance, answer)) => {
                said.push(format!("answered, {} outputs", answer.output_count().min(2)));
                kept = Some(instance);
            }
            Err(failure) => said.push(short(&failure)),
        }
    }
    drop(kept);
    pipeline.assert_nothing_held();
    said.dedup();
    said.join("; ")
}

fn reason(refused: &LoadError) -> String {
    let said = refused.to_string();
    assert!(!said.is_empty() && said.len() <= REASON, "{} bytes: {said}", said.len());
    assert!(!said.chars().any(char::is_control), "not escaped: {said:?}");
    kind_of(&said)
}

/// The first words are those of the sandbox; names and places follow.
fn short(failure: &Failure) -> String {
    let message = failure.message.split([';', '(', '<']).next().unwrap_or_default();
    kind_of(&format!("{}: {message}", failure.outcome))
}

/// A handler, as a file.
pub fn handlers() -> impl Iterator<Item = &'static Vec<u8>> {
    guests::core().iter().chain(guests::components())
}
