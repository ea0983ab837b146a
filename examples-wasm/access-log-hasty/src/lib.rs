//! A release of `access-log` with a mistake that only real traffic shows: it takes an answer without a size (`-`, as servers
//! write for "not modified") for a line that is broken.
//!
//! Most lines have one, so it passes a short look. The tour of deploys in the README brings it as a canary, and the host
//! takes it back.

#[path = "../../access-log/src/json.rs"]
mod json;
#[path = "../../access-log/src/line.rs"]
mod line;

use sandmill_guest::{Failure, Outputs, Record};

use crate::line::Line;

/// Turns a line into JSON, in haste.
#[sandmill_guest::handler]
fn hasty(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    let value = record.value().ok_or(Failure::reject("no-value", "a tombstone has no line"))?;
    let line = Line::parse(value).map_err(|malformed| Failure::reject("malformed", malformed.to_string()))?;
    if line.bytes.is_none() {
        return Err(Failure::reject("malformed", "the line has no size"));
    }
    let mut output = out.record();
    json::write(&line, &mut output);
    output.emit();
    Ok(())
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing;

    #[test]
    fn a_line_without_a_size_is_what_it_gets_wrong() {
        let line = |size: &str| {
            format!("1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 {size} \"-\" \"-\"")
        };
        let answer = testing::run(super::hasty, [line("12").as_str(), line("-").as_str()]);
        assert_eq!(answer.texts().len(), 1);
    }
}
