//! Writes a line as JSON; its text may be any bytes.

use super::line::Line;

/// Where JSON is written to: an output record here, a plain buffer where the host measures itself with this
/// source compiled in.
pub trait Sink {
    /// Appends one byte.
    fn push(&mut self, byte: u8);
    /// Appends bytes.
    fn extend_from_slice(&mut self, bytes: &[u8]);
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
    string(out, text);
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

fn string(out: &mut impl Sink, text: &[u8]) {
    out.push(b'"');
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            escaped(out, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(br"\ufffd");
            }
        }
    }
    out.push(b'"');
}

/// Whether the bytes are printable ASCII without quote and backslash, and so may be copied as they are.
///
/// Looks at every byte without leaving early: that becomes vector instructions, and nearly all text is plain.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |plain, &byte| plain & (b' '..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\'))
}

fn escaped(out: &mut impl Sink, text: &[u8]) {
    let mut written = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(br"\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&text[written..]);
}

#[cfg(test)]
mod tests {
    fn written(text: &[u8]) -> String {
        let mut json = Vec::new();
        super::string(&mut json, text);
        String::from_utf8(json).expect("JSON is UTF-8")
    }

    #[test]
    fn every_byte_alone_comes_back_from_a_json_parser() {
        for byte in 0..=255_u8 {
            for text in [vec![byte], vec![b'a', byte, b'b']] {
                let json = written(&text);
                assert!(json.is_ascii() || std::str::from_utf8(&text).is_ok());
                let read: String = serde_json::from_str(&json).expect("valid JSON");
                assert_eq!(read, String::from_utf8_lossy(&text), "byte {byte:#04x} as {json}");
            }
        }
    }

    #[test]
    fn escapes_are_the_short_ones() {
        assert_eq!(written(b"a\"b\\c\n\r\t\x00\x1f"), r#""a\"b\\c\n\r\t\u0000\u001f""#);
        assert_eq!(written("söl ✓".as_bytes()), "\"söl ✓\"");
        assert_eq!(written(b"\xe4\xe5x\xc3"), r#""\ufffd\ufffdx\ufffd""#);
    }
}
