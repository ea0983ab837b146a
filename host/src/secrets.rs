//! Secrets of handlers: values that nobody but the handler shall see.
//!
//! The configuration reads them, `secrets.get` hands them to the guest, and whatever text comes back from the guest for
//! others to read (lines, failure messages, words of a trap, labels) passes [`Secrets::redact`]: a handler that logs
//! its request by mistake does not publish its key. A handler that wants to can always write one otherwise (backwards,
//! or into an output): what a guest knows, its author knows.

use std::borrow::Cow;
use std::fmt;

/// What stands in place of a secret.
pub const REDACTED: &str = "<redacted>";

/// Shorter values, and lines of values, are left where they occur: three letters are in every text.
const SHORTEST: usize = 6;

/// The secrets of one pipeline. Shows names only.
#[derive(Clone, Default)]
pub struct Secrets {
    entries: Vec<(String, String)>,
    /// What is taken out of texts, the longest first: a value may hold another.
    hidden: Vec<String>,
}

impl Secrets {
    /// Secrets with these names and values.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entries: Vec<_> =
            entries.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // A key of many lines is logged line by line.
        let texts =
            entries.iter().flat_map(|(_, value)| std::iter::once(value.as_str()).chain(value.lines()));
        let mut hidden: Vec<String> =
            texts.map(str::trim).filter(|text| text.len() >= SHORTEST).map(str::to_owned).collect();
        hidden.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        hidden.dedup();
        Secrets { entries, hidden }
    }

    /// The value of a secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the longest text that is taken out: who cuts a text looks so far beyond the cut, lest a part of a secret
    /// stays that looks like none.
    pub fn longest(&self) -> usize {
        self.hidden.first().map_or(0, String::len)
    }

    /// The beginning of a text of the guest's, without the values of secrets: at least `bytes` of it, if there are so many.
    pub fn redact_head<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        self.redact(&text[..text.floor_char_boundary(bytes.saturating_add(self.longest()))])
    }

    /// A text of the guest's without the values of secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut redacted = Cow::Borrowed(text);
        for secret in &self.hidden {
            if redacted.contains(secret) {
                redacted = Cow::Owned(redacted.replace(secret, REDACTED));
            }
        }
        redacted
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(name, _)| (name, REDACTED))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_everything_but_the_secrets() {
        let secrets = Secrets::new([("key", "hunter2-hunter2"), ("pin", "1234"), ("part", "hunter2")]);
        assert_eq!(secrets.get("pin"), Some("1234"));
        assert_eq!(secrets.get("nip"), None);
        assert_eq!(
            secrets.redact("a hunter2-hunter2, hunter2; 1234"),
            "a <redacted>, <redacted>; 1234",
            "the longer one first, and nothing short"
        );
        assert!(matches!(secrets.redact("nothing in it"), Cow::Borrowed(_)));
        let shown = format!("{secrets:?}");
        assert!(shown.contains("key") && !shown.contains("hunter2") && !shown.contains("1234"), "{shown}");
    }

    #[test]
    fn a_secret_across_a_cut_is_found() {
        let secrets = Secrets::new([("key", "hunter2-hunter2")]);
        let text = format!("{}hunter2-hunter2{}", "x".repeat(10), "y".repeat(1_000));
        let head = secrets.redact_head(&text, 12);
        assert!(head.starts_with("xxxxxxxxxx<redacted>") && head.len() < 40, "{head}");
    }

    #[test]
    fn each_line_of_a_long_secret_is_one() {
        let secrets = Secrets::new([("pem", "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\n-----END KEY-----\n")]);
        assert_eq!(secrets.redact("at MIIEpAIBAAKCAQEA7."), "at <redacted>.");
    }
}
