//! Whoever checks a promise looks up the test that a page names for it. Every such test exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that name tests.
const PAGES: [&str; 3] = ["docs/SECURITY.md", "docs/CAPABILITIES.md", "docs/DELIVERY.md"];

/// How names of metrics begin, which look like tests.
const METRICS: [&str; 4] = ["consumer_", "handler_", "sandmill_", "guest_"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_owned()
}

/// Names of all functions and modules in the repository.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![repository()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                if !stem.starts_with('.') && stem != "target" {
                    names.insert(stem);
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                names.insert(stem);
                let text = fs::read_to_string(&path).expect("a source file is text");
                for keyword in ["fn ", "mod "] {
                    names.extend(text.split(keyword).skip(1).map(word));
                }
            }
        }
    }
    names
}

/// The name at the start of a text.
fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// What stands between backticks and looks like a test: `module::name`, or a sentence in a name. `…` and `*` stand for
/// whatever is left out.
fn cited(page: &str) -> Vec<&str> {
    let looks_so = |span: &&str| {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:…*".contains(c);
        let named = span.contains("::") && !span.starts_with("::") || span.matches('_').count() >= 3;
        named && span.chars().all(legal) && !METRICS.iter().any(|metric| span.starts_with(metric))
    };
    page.split('`').skip(1).step_by(2).filter(looks_so).collect()
}

/// True if `name` is what `pattern` says.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split(['…', '*']);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || open && pattern.ends_with(['…', '*'])
}

#[test]
fn every_test_that_a_page_names_exists() {
    let names = names();
    let mut count = 0;
    let mut missing = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(repository().join(page)).expect("the page is there");
        for span in cited(&text) {
            count += 1;
            // `module::*` names the module.
            let last = span.strip_suffix("::*").unwrap_or(span).rsplit("::").next().unwrap_or_default();
            if !names.iter().any(|name| fits(last, name)) {
                missing.push(format!("{page}: `{span}`"));
            }
        }
    }
    assert!(count > 100, "only {count} tests were found in the pages");
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
}

#[test]
fn a_name_that_leaves_something_out_fits_only_what_it_says() {
    for (pattern, name, expected) in [
        ("a_b", "a_b", true),
        ("a_b", "a_bc", false),
        ("a_…", "a_bc", true),
        ("…_c", "a_b_c", true),
        ("a_…_d", "a_b_c_d", true),
        ("a_…_d", "a_b_c", false),
        ("*", "anything", true),
        ("…b", "abc", false),
    ] {
        assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
    }
    assert_eq!(
        cited("a `x::y_…` b `handler_log_lines_total` `of_many_words_made`, `x`, `::`"),
        ["x::y_…", "of_many_words_made"]
    );
}
