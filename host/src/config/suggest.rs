//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate nearest to `word`, if it is near enough to be what was meant: equal but for case and `-`, `_`,
/// `.`, or at most one slip in three letters, three in all.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).clamp(1, 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`.
pub(super) fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{alternatives, nearest};

    #[test]
    fn a_slip_of_the_finger_finds_the_word_and_a_stranger_finds_none() {
        let known = ["ordering", "outputs", "on_failure", "name"];
        assert_eq!(nearest("orderin", known), Some("ordering"));
        assert_eq!(nearest("On-Failure", known), Some("on_failure"));
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("partition", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), "\"a\"");
        assert_eq!(alternatives(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(alternatives([]), "");
    }
}
