//! The workloads `noop` and `parse` as functions for Bento's `wasm` processor.
//!
//! The configuration's `function` chooses one. `noop` reads the bytes of a message and passes it on. `parse`
//! makes JSON of a line of an access log, with the source of the handler in examples-wasm/access-log; a line
//! that it cannot read ends in a trap, which Bento tells as the error of that batch.
//!
//! A message is fetched and given back through two imports; `abi` has them.

#[cfg(target_arch = "wasm32")]
mod abi;
#[path = "../../../../examples-wasm/access-log/src/json.rs"]
mod json;
#[expect(dead_code, reason = "the status as a number is for the handler's configuration")]
#[path = "../../../../examples-wasm/access-log/src/line.rs"]
mod line;

// The parser writes to an output of the SDK; here that is the type below.
extern crate self as sandmill_guest;

use json::{field, field_or_null};
use line::Line;

/// Where JSON is written to.
pub struct OutputRecord<'a>(&'a mut Vec<u8>);

impl OutputRecord<'_> {
    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Writes the JSON of a line to `out`, in place of what is there; the error says why the line is none.
pub fn parse(line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let line = Line::parse(line).map_err(|malformed| malformed.to_string())?;
    out.clear();
    write(&line, &mut OutputRecord(out));
    Ok(())
}

fn write(line: &Line<'_>, out: &mut OutputRecord<'_>) {
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
