//! Writes a line as JSON; its text may be any bytes.

use sandmill_guest::OutputRecord;

use super::line::Line;

/// Where JSON is written to: an output record here, a plain buffer where the host measures itself with this
/// source compiled in.
pub trait Sink {
    /// Appends one byte.
    fn push(&mut self, byte: u8);
    /// Appends bytes.
    fn extend_from_slice(&mut self, bytes: &[u8]);
    /// Appends text as a JSON string, with quotes and escapes.
    fn push_json(&mut self, text: &[u8]);
}

impl Sink for OutputRecord<'_> {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn push_json(&mut self, text: &[u8]) {
        self.push_json(text);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn push_json(&mut self, text: &[u8]) {
        sandmill_guest::json::string(self, text);
    }
}

/// Writes the object.
pub fn write(line: &Line<'_>, out: &mut impl Sink) {
    field(out, br#"{"client":"#, line.client);
    field_or_null(out, br#","ident":"#, line.ident);
    field_or_null(out, br#","user":"#, line.user);
    out.extend_from_slice(br#","time":""#);
    out.extend_from_slice(line.time.rfc3339().as_bytes());
    out.push(b'"');
    field_or_null(out, br#","method":"#, line.method);
    field_or_null(out, br#","path":"#, line.path);
    field_or_null(out, br#","protocol":"#, line.protocol);
    out.extend_from_slice(br#","status":"#);
    out.extend_from_slice(line.status_digits);
    out.extend_from_slice(br#","bytes":"#);
    out.extend_from_slice(line.bytes.unwrap_or(b"null"));
    field_or_null(out, br#","referer":"#, line.referer);
    field_or_null(out, br#","agent":"#, line.agent);
    out.push(b'}');
}

/// Writes `name`, which brings its own punctuation, and `text` as a string.
fn field(out: &mut impl Sink, name: &[u8], text: &[u8]) {
    out.extend_from_slice(name);
    out.push_json(text);
}

/// As [`field`], with null for nothing.
fn field_or_null(out: &mut impl Sink, name: &[u8], text: Option<&[u8]>) {
    match text {
        Some(text) => field(out, name, text),
        None => {
            out.extend_from_slice(name);
            out.extend_from_slice(b"null");
        }
    }
}
