//! What is measured, for readers: tables between two marks of `docs/COMMIT-METADATA.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::search::MOST;
use crate::{Results, Written};

const BEGIN: &str = "<!-- metadata sizes: begin -->";
const END: &str = "<!-- metadata sizes: end -->";

/// All tables.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "Characters of one partition's metadata:\n\n\
         | pattern | offsets | unfinished | Sandmill | form | Parallel Consumer | encoding | ratio | deflate |\n\
         |---|--:|--:|--:|---|--:|---|--:|--:|\n",
    );
    for row in &results.rows {
        line(
            &mut text,
            &[
                row.pattern.clone(),
                number(row.offsets),
                number(row.unfinished as i64),
                number(row.ours.chars as i64),
                named(&row.ours),
                number(row.confluent.chars as i64),
                named(&row.confluent),
                ratio(&row.ours, &row.confluent),
                number(row.deflated.chars as i64),
            ],
        );
    }
    text.push_str(
        "\nOffsets above the oldest unfinished record that fit into 4,096 characters, and after how many no \
         further record of the partition is taken in:\n\n\
         | pattern | Sandmill: fit | taken in | Parallel Consumer: fit | taken in |\n|---|--:|--:|--:|--:|\n",
    );
    for row in &results.limits {
        let cells = [row.ours.fit, row.ours.taken_in, row.confluent.fit, row.confluent.taken_in].map(reach);
        line(&mut text, &[std::slice::from_ref(&row.pattern), &cells].concat());
    }
    text
}

/// Puts the tables into the page.
pub(crate) fn write(tables: &str) -> Result<()> {
    let page = page();
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = put_between(&text, tables)
        .with_context(|| format!("{} has no {BEGIN} with {END} behind it", page.display()))?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COMMIT-METADATA.md")
}

/// The text with `new` between the marks.
fn put_between(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", new.trim_end()))
}

fn line(text: &mut String, cells: &[String]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes everything");
}

fn named(written: &Written) -> String {
    if written.encoding.is_empty() { "none".to_owned() } else { written.encoding.clone() }
}

fn ratio(ours: &Written, confluent: &Written) -> String {
    match confluent.chars {
        0 => "".to_owned(),
        chars => format!("{:.2}", ours.chars as f64 / chars as f64),
    }
}

fn reach(offsets: i64) -> String {
    if offsets < MOST { number(offsets) } else { format!("over {}", number(MOST)) }
}

/// With commas between thousands.
fn number(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted_by_commas() {
        assert_eq!(
            [0, 999, 1_000, 24_368, 1_000_000].map(number),
            ["0", "999", "1,000", "24,368", "1,000,000"]
        );
        assert_eq!((reach(MOST), reach(MOST - 1)), ("over 1,000,000".to_owned(), "999,999".to_owned()));
    }

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(put_between(&page, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(put_between("a", "new"), None);
    }

    #[test]
    fn the_page_has_its_marks() {
        let text = fs::read_to_string(page()).expect("the page is there");
        assert!(put_between(&text, "").is_some());
    }
}
