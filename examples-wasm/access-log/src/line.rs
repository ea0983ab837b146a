//! Reads one line of the combined log format, without copying.
//!
//! A cursor goes over the line once. Whatever does not fit ends in [`Malformed`], which knows the field, the
//! byte and the reason.

use std::fmt;

use memchr::{memchr, memchr2, memrchr};

/// One line. Text is as it stands in the line; none is a `-`.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub client: &'a [u8],
    pub ident: Option<&'a [u8]>,
    pub user: Option<&'a [u8]>,
    pub time: Time<'a>,
    pub method: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    pub protocol: Option<&'a [u8]>,
    pub status: u16,
    /// The status as three digits.
    pub status_digits: &'a [u8],
    /// Digits without leading zeros.
    pub bytes: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub agent: Option<&'a [u8]>,
}

/// Why a line is none: the field that is wrong, the byte at which that shows, and what was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub field: &'static str,
    pub at: usize,
    pub problem: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.at, self.problem)
    }
}

impl<'a> Line<'a> {
    /// Reads a line; one line break at its end is no part of it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut cursor = Cursor { line, at: 0 };
        let client = cursor.word("client")?;
        let ident = cursor.word("ident")?;
        let user = cursor.user()?;
        let time = cursor.time()?;
        let Request { method, path, protocol } = Request::parse(cursor.quoted("request")?);
        cursor.space("request")?;
        let (status, status_digits) = cursor.status()?;
        let bytes = cursor.bytes()?;
        let referer = cursor.quoted("referer")?;
        cursor.space("referer")?;
        let agent = cursor.last_quoted("agent")?;
        Ok(Self {
            client,
            ident: unless_dash(ident),
            user: unless_dash(user),
            time,
            method,
            path,
            protocol,
            status,
            status_digits,
            bytes,
            referer: unless_dash(referer),
            agent: unless_dash(agent),
        })
    }
}

/// The time of a request, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Time<'a> {
    /// `dd/Mmm/yyyy:hh:mm:ss +hhmm`, each part known to be in its range.
    text: &'a [u8; 26],
    month: u8,
}

impl Time<'_> {
    /// The same moment as RFC 3339 writes it.
    pub fn rfc3339(&self) -> Rfc3339 {
        let text = self.text;
        let mut bytes = *b"0000-00-00T00:00:00+00:00";
        bytes[..4].copy_from_slice(&text[7..11]);
        bytes[5] += self.month / 10;
        bytes[6] += self.month % 10;
        bytes[8..10].copy_from_slice(&text[..2]);
        bytes[11..19].copy_from_slice(&text[12..20]);
        bytes[19..22].copy_from_slice(&text[21..24]);
        bytes[23..25].copy_from_slice(&text[24..26]);
        let utc = &bytes[20..] == b"00:00";
        if utc {
            bytes[19] = b'Z';
        }
        Rfc3339 { bytes, length: if utc { 20 } else { 25 } }
    }
}

/// A time as text.
pub struct Rfc3339 {
    bytes: [u8; 25],
    length: usize,
}

impl Rfc3339 {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    fn malformed<T>(&self, field: &'static str, problem: &'static str) -> Result<T, Malformed> {
        Err(Malformed { field, at: self.at, problem })
    }

    fn space(&mut self, after: &'static str) -> Result<(), Malformed> {
        self.expect(b' ', after, "a space should follow")
    }

    fn expect(&mut self, byte: u8, field: &'static str, problem: &'static str) -> Result<(), Malformed> {
        if self.line.get(self.at) != Some(&byte) {
            return self.malformed(field, problem);
        }
        self.at += 1;
        Ok(())
    }

    /// Bytes up to a space, which is taken too.
    fn word(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        match memchr(b' ', self.rest()) {
            Some(0) => self.malformed(field, "empty"),
            Some(length) => {
                let word = &self.rest()[..length];
                self.at += length + 1;
                Ok(word)
            }
            None if self.rest().is_empty() => self.malformed(field, "missing: the line ends here"),
            None => {
                self.at = self.line.len();
                self.malformed(field, "a space should follow")
            }
        }
    }

    /// The user is whatever was typed into a browser's dialog, spaces and all: it ends where ` [` and a
    /// digit begin the time.
    fn user(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        let mut user = self.word("user")?;
        while !matches!(self.rest(), [b'[', b'0'..=b'9', ..]) {
            let Some(length) = memchr(b' ', self.rest()) else {
                self.at = start + user.len() + 1;
                return self.malformed("time", "should begin with `[` and a digit");
            };
            self.at += length + 1;
            user = &self.line[start..self.at - 1];
        }
        Ok(user)
    }

    /// `[17/May/2015:10:05:03 +0000]` and a space.
    fn time(&mut self) -> Result<Time<'a>, Malformed> {
        self.expect(b'[', "time", "should begin with `[`")?;
        let Some(text) = self.rest().first_chunk::<26>() else {
            return self.malformed("time", "cut off: `dd/Mmm/yyyy:hh:mm:ss +hhmm` has 26 bytes");
        };
        let start = self.at;
        let wrong = |at: usize, problem| Err(Malformed { field: "time", at: start + at, problem });
        for (at, separator) in [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')] {
            if text[at] != separator {
                return wrong(at, "should look like `dd/Mmm/yyyy:hh:mm:ss +hhmm`");
            }
        }
        let Some(month) = month([text[3], text[4], text[5]]) else {
            return wrong(3, "the month should be one of Jan, Feb, …, Dec");
        };
        let Some(year) = number(&text[7..11]) else { return wrong(7, "the year should have four digits") };
        if !number(&text[..2]).is_some_and(|day| (1..=days(year, month)).contains(&day)) {
            return wrong(0, "the month has no such day");
        }
        if !number(&text[12..14]).is_some_and(|hour| hour < 24) {
            return wrong(12, "the hour should be 00 to 23");
        }
        if !number(&text[15..17]).is_some_and(|minute| minute < 60) {
            return wrong(15, "the minute should be 00 to 59");
        }
        // 60 is a leap second.
        if !number(&text[18..20]).is_some_and(|second| second <= 60) {
            return wrong(18, "the second should be 00 to 60");
        }
        let offset = number(&text[22..24]).zip(number(&text[24..26]));
        if !matches!(text[21], b'+' | b'-') || !offset.is_some_and(|(hour, minute)| hour < 24 && minute < 60)
        {
            return wrong(21, "the zone should be + or -, two digits of hours and two of minutes");
        }
        self.at += text.len();
        self.expect(b']', "time", "should end with `]`")?;
        self.space("time")?;
        Ok(Time { text, month })
    }

    /// Text in quotes, without them. A quote after a backslash is part of the text.
    fn quoted(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let start = self.at + 1;
        let text = self.open_quoted(field)?;
        if start + text.len() == self.line.len() {
            self.at = self.line.len();
            return self.malformed(field, "the closing quote is missing");
        }
        Ok(text)
    }

    /// The last field: where the line was cut off inside it, it is taken as it stands.
    fn last_quoted(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let text = self.open_quoted(field)?;
        if !self.rest().is_empty() {
            return self.malformed(field, "the line should end behind its closing quote");
        }
        Ok(text)
    }

    /// Text from a quote to the next one, or to the end of the line.
    fn open_quoted(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        self.expect(b'"', field, "should begin with a quote")?;
        let start = self.at;
        while let Some(length) = memchr2(b'"', b'\\', self.rest()) {
            self.at += length;
            if self.line[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.line[start..self.at - 1]);
            }
            // The backslash and what it escapes; a line may end behind it.
            self.at = (self.at + 2).min(self.line.len());
        }
        self.at = self.line.len();
        Ok(&self.line[start..])
    }

    /// Three digits and a space.
    fn status(&mut self) -> Result<(u16, &'a [u8]), Malformed> {
        let digits = self.rest().get(..3).filter(|digits| digits[0] != b'0');
        let Some((status, digits)) = digits.and_then(|digits| Some((number(digits)?, digits))) else {
            return self.malformed("status", "should be three digits");
        };
        self.at += digits.len();
        self.space("status")?;
        Ok((status, digits))
    }

    /// Digits or `-`, and a space.
    fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let start = self.at;
        let word = self.word("bytes")?;
        if word == b"-" {
            return Ok(None);
        }
        if let Some(other) = word.iter().position(|byte| !byte.is_ascii_digit()) {
            return Err(Malformed {
                field: "bytes",
                at: start + other,
                problem: "should be digits, or `-` for none",
            });
        }
        // JSON knows no leading zeros.
        let zeros = word[..word.len() - 1].iter().take_while(|&&byte| byte == b'0').count();
        Ok(Some(&word[zeros..]))
    }
}

/// A request line taken apart; one that is no method, path and protocol is all path.
struct Request<'a> {
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(text: &'a [u8]) -> Self {
        let spaces = memchr(b' ', text).zip(memrchr(b' ', text)).filter(|(first, last)| first < last);
        match spaces {
            Some((first, last)) if text[last + 1..].starts_with(b"HTTP/") => Self {
                method: Some(&text[..first]),
                path: Some(&text[first + 1..last]),
                protocol: Some(&text[last + 1..]),
            },
            _ => Self { method: None, path: unless_dash(text), protocol: None },
        }
    }
}

fn unless_dash(text: &[u8]) -> Option<&[u8]> {
    (text != b"-").then_some(text)
}

fn number(digits: &[u8]) -> Option<u16> {
    digits
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u16::from(byte - b'0')))
}

fn month(name: [u8; 3]) -> Option<u8> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

fn days(year: u16, month: u8) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
