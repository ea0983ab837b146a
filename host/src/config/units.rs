//! Sizes and durations as people write them: `"64MiB"`, `"1m 30s"`.
//!
//! Sizes are parsed here and not by a crate, because those at hand compute in floating point and print
//! rounded: what this module prints, it reads back to the same byte.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes. Written as a number (bytes) or as text with a unit: `B`, `KB`, `MB`, `GB`, `TB` count in
/// thousands, `KiB`, `MiB`, `GiB`, `TiB` in 1,024s. Displays in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Size {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes. For constants: overflows like any multiplication.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many times 1,024 KiB. For constants: overflows like any multiplication.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// So many times 1,024 MiB. For constants: overflows like any multiplication.
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().take(4).find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match binary {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A text that is no [`Size`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a whole number followed by a known unit.
    #[error(
        "{0:?} is not a size; write a whole number and a unit, like \"64MiB\" (1024 based) or \"64MB\" \
         (1000 based), or only a number for bytes"
    )]
    Form(String),
    /// More than 2^64 - 1 bytes.
    #[error("{0:?} is more bytes than 64 bits can count; write a smaller size")]
    TooLarge(String),
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let form = || SizeError::Form(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
        let (number, unit) = trimmed.split_at(digits);
        let number = number.replace('_', "");
        if number.is_empty() {
            return Err(form());
        }
        let unit = unit.trim_start();
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(form)?.1,
        };
        // All digits, so the only way to fail is a number too large.
        let number = number.parse::<u64>().ok();
        number
            .and_then(|n| n.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like \"64MiB\" or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9][0-9_]*\\s*(([KMGTkmgt][Ii]?)?[Bb])?$",
            "minimum": 0,
        })
    }
}

/// Reads and writes a [`std::time::Duration`] as `"5s"`; for `#[serde(with)]`.
pub(super) mod duration {
    use std::fmt;
    use std::time::Duration;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::de::{self, Deserializer, Visitor};
    use serde::{Deserialize, Serializer};

    /// A duration as text; stands for it in the JSON schema too.
    pub struct Text(Duration);

    /// Parses what people write; the error says how to write it.
    pub fn parse(text: &str) -> Result<Duration, String> {
        // humantime takes a bare "0", which reads as if other bare numbers were fine.
        let unitless = text.trim().bytes().all(|b| b.is_ascii_digit());
        humantime::parse_duration(text).ok().filter(|_| !unitless).ok_or_else(|| {
            format!(
                "{text:?} is not a duration; write a number and a unit, like \"5s\", \"100ms\" or \"1m 30s\""
            )
        })
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Text::deserialize(deserializer).map(|text| text.0)
    }

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct TextVisitor;
            impl Visitor<'_> for TextVisitor {
                type Value = Text;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a duration like \"5s\", \"100ms\" or \"1m 30s\"")
                }

                fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                    parse(text).map(Text).map_err(E::custom)
                }
            }
            deserializer.deserialize_any(TextVisitor)
        }
    }

    impl JsonSchema for Text {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "pattern": "[0-9]\\s*[a-zA-Zµ]+" })
        }
    }

    /// The same for a duration that may be absent.
    pub mod optional {
        use super::{Deserialize, Deserializer, Duration, Serializer, Text};

        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Option::<Text>::deserialize(deserializer).map(|text| text.map(|text| text.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Size, SizeError, duration};

    proptest! {
        #[test]
        fn every_size_reads_back_as_it_was_printed(bytes: u64) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
        }

        #[test]
        fn every_whole_unit_is_printed_with_that_unit_or_a_larger_one(number in 1u64..1024, unit in 0usize..4) {
            let (name, factor) = super::UNITS[unit];
            prop_assert_eq!(Size::from_bytes(number * factor).to_string(), format!("{number}{name}"));
        }

        #[test]
        fn every_duration_reads_back_as_it_was_printed(secs in 0u64..10_000_000_000, nanos in 0u32..1_000_000_000) {
            let time = Duration::new(secs, nanos);
            // Zero is the one that prints with a unit which is then required.
            prop_assert_eq!(duration::parse(&humantime::format_duration(time).to_string()), Ok(time));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = text.parse::<Size>();
            let _ = duration::parse(&text);
        }
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1_024", 1024),
            ("7B", 7),
            ("64KB", 64_000),
            ("64kB", 64_000),
            ("64KiB", 65_536),
            (" 64 MiB ", 64 << 20),
            ("64mib", 64 << 20),
            ("64MB", 64_000_000),
            ("4GiB", 4 << 30),
            ("4GB", 4_000_000_000),
            ("1TiB", 1 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size::from_bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_accepted_forms() {
        for text in ["", "_", "MiB", "64M", "64 Mbit", "1.5GiB", "-1", "+1", "64MiB/s", "1 2", "½MiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Form(text.to_owned())));
        }
        for text in ["18446744073709551616", "18014398509481984KiB", "99999999TiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::TooLarge(text.to_owned())));
        }
        assert_eq!(
            "64M".parse::<Size>().unwrap_err().to_string(),
            "\"64M\" is not a size; write a whole number and a unit, like \"64MiB\" (1024 based) or \"64MB\" \
             (1000 based), or only a number for bytes"
        );
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration::parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration::parse("1.5s"), Ok(Duration::from_millis(1500)));
        for text in ["", "0", "5", " 5 ", "s", "5 parsecs", "-5s", "99999999999999999999y"] {
            assert_eq!(
                duration::parse(text),
                Err(format!(
                    "{text:?} is not a duration; write a number and a unit, like \"5s\", \"100ms\" or \"1m 30s\""
                ))
            );
        }
    }
}
