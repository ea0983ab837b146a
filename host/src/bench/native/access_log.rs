//! `access-log`, natively: reading and writing are the module's own source.

#[path = "../../../../examples-wasm/access-log/src/json.rs"]
mod json;
#[path = "../../../../examples-wasm/access-log/src/line.rs"]
mod line;

use line::Line;

/// Writes what the handler makes of a record's value.
///
/// # Errors
/// Why it cannot be read.
pub fn to_json(value: Option<&[u8]>, json: &mut Vec<u8>) -> Result<(), String> {
    let value = value.ok_or("a tombstone has no line")?;
    let line = Line::parse(value).map_err(|malformed| malformed.to_string())?;
    json::write(&line, json);
    Ok(())
}
