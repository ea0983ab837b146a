//! What is measured, for readers: tables between two marks of `docs/COMMIT-METADATA.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::grouped::grouped;
use crate::page::Marks;
use crate::search::MOST;
use crate::{Results, Written};

const MARKS: Marks = Marks { begin: "<!-- metadata sizes: begin -->", end: "<!-- metadata sizes: end -->" };

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
                grouped(row.offsets as f64),
                grouped(row.unfinished as f64),
                grouped(row.ours.chars as f64),
                named(&row.ours),
                grouped(row.confluent.chars as f64),
                named(&row.confluent),
                ratio(&row.ours, &row.confluent),
                grouped(row.deflated.chars as f64),
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
    let text = MARKS
        .put(&text, tables)
        .with_context(|| format!("{} has no {} with {} behind it", page.display(), MARKS.begin, MARKS.end))?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COMMIT-METADATA.md")
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
    if offsets < MOST { grouped(offsets as f64) } else { format!("over {}", grouped(MOST as f64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted_by_commas() {
        assert_eq!(
            [0.0, 999.0, 1_000.0, 24_368.0, 1_000_000.0].map(grouped),
            ["0", "999", "1,000", "24,368", "1,000,000"]
        );
        assert_eq!((reach(MOST), reach(MOST - 1)), ("over 1,000,000".to_owned(), "999,999".to_owned()));
    }

    #[test]
    fn the_page_has_its_marks() {
        let text = fs::read_to_string(page()).expect("the page is there");
        assert!(MARKS.put(&text, "").is_some());
    }
}
