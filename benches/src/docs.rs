//! Where results are written for readers: a table between two marks of docs/BENCHMARKS.md, charts beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sandmill_tests::page::Marks;

use crate::results::Results;
use crate::{chart, report};

const MARKS: Marks = Marks { begin: "<!-- ladder: begin -->", end: "<!-- ladder: end -->" };
/// The charts, as the page names them.
const IMAGES: &str = "images/bench";

/// Puts tables into the page and charts beside it.
pub(crate) fn write(results: &Results, result_file: &Path) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    charts(results, &docs.join(IMAGES))?;
    let page = docs.join("BENCHMARKS.md");
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let name = result_file.file_name().unwrap_or_default().to_string_lossy();
    let raw = format!(
        "Medians with the smallest and the largest of all passes; raw numbers in \
         [`benches/results/{name}`](../benches/results/{name}).\n\n"
    );
    let text = MARKS
        .put(&text, &format!("{raw}{}", report::markdown(results, Some(IMAGES))))
        .with_context(|| format!("{} has no {} with {} behind it", page.display(), MARKS.begin, MARKS.end))?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

/// One file for each part that has a chart; those of other parts stay.
pub(crate) fn charts(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut written = Vec::new();
    for part in &results.parts {
        if let Some(svg) = chart::svg(part)? {
            let file = folder.join(&part.name).with_extension("svg");
            fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
            written.push(file);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_its_marks() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/BENCHMARKS.md");
        let text = fs::read_to_string(page).expect("the page is there");
        assert!(MARKS.put(&text, "").is_some());
    }
}
