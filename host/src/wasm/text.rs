//! Text that a guest chose, made safe to log.
//!
//! Messages, trap descriptions, function names and lines on standard output all come from untrusted code.
//! They reach logs, terminals, dead-letter headers and the API, so each is cut to a number of bytes and every
//! character that could steer a terminal or forge a log line is replaced by its escape.

/// Stands at the end of text that was cut.
const CUT: &str = "…";

/// `text` escaped and cut to at most `limit` bytes.
///
/// Escaped are control characters (line ends and terminal escapes among them), separators of lines, and the
/// characters that turn the direction of text around. A tab becomes a space.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let start = cleaned.len();
        match character {
            '\t' => cleaned.push(' '),
            _ if steers(character) => cleaned.extend(character.escape_default()),
            _ => cleaned.push(character),
        }
        if cleaned.len() > limit {
            cleaned.truncate(start);
            return with_mark(cleaned, limit);
        }
    }
    cleaned
}

/// As [`clean`], for bytes: what is not UTF-8 becomes U+FFFD.
pub(crate) fn clean_bytes(bytes: &[u8], limit: usize) -> String {
    // Three bytes hold what one byte of garbage becomes; looking at more than `limit` bytes is never needed.
    let head = &bytes[..bytes.len().min(limit.saturating_add(4))];
    clean(&String::from_utf8_lossy(head), limit)
}

/// The longest beginning of `text` that has at most `limit` bytes.
pub(crate) fn head(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn with_mark(mut text: String, limit: usize) -> String {
    if limit >= CUT.len() {
        text.truncate(text.floor_char_boundary(limit - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// True for what a terminal or a log reader would act on instead of showing it.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(clean("grüße, 世界", 100), "grüße, 世界");
    }

    #[test]
    fn terminal_escapes_and_line_ends_are_shown_instead_of_obeyed() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\td", 100), "a\\u{1b}[2Jb\\r\\nc d");
        assert_eq!(clean("x\u{202e}y\u{9b}z", 100), "x\\u{202e}y\\u{9b}z");
    }

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        assert_eq!(clean("abcdefgh", 8), "abcdefgh");
        assert_eq!(clean("abcdefghi", 8), "abcde…");
        assert_eq!(clean("ääääää", 7), "ää…");
        assert_eq!(clean("abc", 2), "ab");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(clean_bytes(b"a\xff\xfeb", 100), "a\u{fffd}\u{fffd}b");
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_nothing_steers(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0usize..100) {
            let cleaned = clean_bytes(&bytes, limit);
            prop_assert!(cleaned.len() <= limit);
            prop_assert!(!cleaned.chars().any(steers));
        }
    }
}
