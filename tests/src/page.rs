//! Pages of the documentation of which a program writes a part: what stands between two marks is the program's.
//!
//! Pure and of the standard library alone: the program that measures commit metadata compiles this very file, since it
//! does without the rest of the harness.

/// The marks around one program's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// In front of it, on a line of its own.
    pub begin: &'static str,
    /// Behind it.
    pub end: &'static str,
}

impl Marks {
    /// The page with `new` between the marks; none if it does not have both, in this order.
    #[must_use]
    pub fn put(&self, page: &str, new: &str) -> Option<String> {
        let Self { begin, end } = self;
        let (before, rest) = page.split_once(begin)?;
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{}\n{end}{after}", new.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let marks = Marks { begin: "<begin>", end: "<end>" };
        let page = marks.put("a\n<begin>\nold\n<end>\nb\n", "new\n");
        assert_eq!(page.as_deref(), Some("a\n<begin>\nnew\n<end>\nb\n"));
        assert_eq!(marks.put("a", "new"), None);
        assert_eq!(marks.put("<end><begin>", "new"), None);
    }
}
