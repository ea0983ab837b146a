//! Fields of a JSON object, from bytes that may be anything.

use sandmill_guest::OutputRecord;

/// Writes `name`, which brings its own punctuation, and `text` as a string.
pub fn field(out: &mut OutputRecord<'_>, name: &[u8], text: &[u8]) {
    out.extend_from_slice(name);
    out.push_json(text);
}

/// As [`field`], with null for nothing.
pub fn field_or_null(out: &mut OutputRecord<'_>, name: &[u8], text: Option<&[u8]>) {
    match text {
        Some(text) => field(out, name, text),
        None => {
            out.extend_from_slice(name);
            out.extend_from_slice(b"null");
        }
    }
}
