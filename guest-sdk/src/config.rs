//! The pipeline's `config` table: handed to [`Handler::start`](crate::Handler::start), and readable at any
//! time with [`get`].

use std::fmt;
use std::str::FromStr;

/// Reads one key of the pipeline's `config`. A host call: keep what is needed for every record.
///
/// Outside of Wasm this reads what [`testing`](crate::testing) was given.
pub fn get(key: &str) -> Option<String> {
    #[cfg(target_arch = "wasm32")]
    return {
        use crate::abi::{List, Maybe};
        #[link(wasm_import_module = "sandmill:handler/config@0.1.0")]
        unsafe extern "C" {
            #[link_name = "get"]
            fn get(key: *const u8, len: usize, value: *mut Maybe<List<u8>>);
        }
        // SAFETY: `get` reads a text and writes an option of one.
        unsafe { crate::exports::ask_text(get, key) }
    };
    #[cfg(not(target_arch = "wasm32"))]
    return crate::testing::host::config(key);
}

/// The pipeline's `config` table, as strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    entries: Vec<(String, String)>,
}

impl Config {
    /// A table without entries.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_entries(entries: Vec<(String, String)>) -> Self {
        Self { entries }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// If it is not.
    pub fn require(&self, key: &str) -> Result<&str, ConfigError> {
        self.get(key).ok_or_else(|| ConfigError { key: key.into(), problem: Problem::Missing })
    }

    /// The value of a key as a number, a `bool`, or whatever else parses; none if the key is missing.
    ///
    /// # Errors
    /// If there is a value and it does not parse.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: T::Err| ConfigError {
            key: key.into(),
            problem: Problem::Unreadable { value: value.into(), reason: error.to_string() },
        })
    }

    /// As [`parse`](Self::parse), with a value for a missing key.
    ///
    /// # Errors
    /// If there is a value and it does not parse.
    pub fn parse_or<T: FromStr<Err: fmt::Display>>(&self, key: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.parse(key)?.unwrap_or(default))
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Config {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Config {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::from_entries(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// A key of the pipeline's `config` that is missing or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Missing,
    Unreadable { value: String, reason: String },
}

impl ConfigError {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.problem {
            Problem::Missing => write!(f, "config has no key `{key}`; add it to the pipeline's `config`"),
            Problem::Unreadable { value, reason } => write!(f, "config key `{key}` is {value:?}: {reason}"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_takes_the_default_and_a_wrong_one_never_does() {
        let config = Config::from([("ms", "25"), ("emit", "yes")]);
        assert_eq!(config.parse_or("ms", 10), Ok(25));
        assert_eq!(config.parse_or("us", 10), Ok(10));
        let error = config.parse_or("emit", false).unwrap_err();
        assert_eq!(error.key(), "emit");
        assert_eq!(
            error.to_string(),
            r#"config key `emit` is "yes": provided string was not `true` or `false`"#
        );
    }

    #[test]
    fn a_required_key_is_named_when_it_is_missing() {
        let config = Config::from([("a", "1")]);
        assert_eq!(config.require("a"), Ok("1"));
        let text = config.require("b").unwrap_err().to_string();
        assert_eq!(text, "config has no key `b`; add it to the pipeline's `config`");
    }
}
