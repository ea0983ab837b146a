//! `access-log`, natively: reading and writing are the module's own source, and the SDK's.

#[path = "../../../../examples-wasm/access-log/src/json.rs"]
mod json;
#[path = "../../../../examples-wasm/access-log/src/line.rs"]
mod line;

use std::hint::black_box;

use line::Line;

use crate::batch::Batch;
use crate::wasm::{FailureKind, RawAnswer, RawFailure};
use crate::worker::NativeHandler;

/// Lines to JSON, one output each.
#[derive(Debug)]
pub struct AccessLog {
    /// Throw the JSON away, as the module does with this key of its config.
    pub dry_run: bool,
}

impl NativeHandler for AccessLog {
    fn handle(&self, batch: &Batch, answer: &mut RawAnswer) {
        let outputs = &mut answer.outputs;
        // JSON is about one and a half times as long as its line: no growing on the way.
        outputs.values.reserve(batch.values().0.len() * 2);
        for (input, record) in (0_u32..).zip(batch.records()) {
            let before = outputs.values.len();
            if let Err(message) = to_json(record.value, &mut outputs.values) {
                let code = if record.value.is_none() { "no-value" } else { "malformed" };
                let kind = FailureKind::Reject;
                answer.failures.push(RawFailure { input, kind, code: code.to_owned(), message });
            } else if self.dry_run {
                black_box(&outputs.values);
            } else {
                let end = u32::try_from(outputs.values.len()).expect("lines of a batch stay below 4 GiB");
                outputs.inputs.push(input);
                outputs.value_ends.push(end);
                continue;
            }
            outputs.values.truncate(before);
        }
    }
}

/// Writes what the handler makes of a record's value.
///
/// # Errors
/// Why it cannot be read. What was written is then of no use.
pub fn to_json(value: Option<&[u8]>, json: &mut Vec<u8>) -> Result<(), String> {
    let value = value.ok_or("a tombstone has no line")?;
    let line = Line::parse(value).map_err(|malformed| malformed.to_string())?;
    json::write(&line, json);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Headers, Record};
    use crate::bench::content;
    use crate::ids::Offset;

    fn answer(handler: &AccessLog, values: &[Option<&[u8]>]) -> RawAnswer {
        let mut batch = Batch::new();
        for (offset, value) in (0..).zip(values) {
            let record = Record {
                offset: Offset(offset),
                timestamp: 0,
                key: None,
                value: *value,
                headers: Headers::None,
            };
            batch.push(&record, 0, 0);
        }
        let mut answer = RawAnswer::default();
        handler.handle(&batch, &mut answer);
        answer
    }

    #[test]
    fn lines_become_outputs_of_their_records_and_what_is_none_fails() {
        let line: &[u8] = br#"::1 - - [29/Feb/2016:23:59:60 -0730] "-" 304 - "-" "-""#;
        let answer = answer(&AccessLog { dry_run: false }, &[Some(line), Some(b"no"), None, Some(line)]);
        assert_eq!(answer.outputs.inputs, [0, 3]);
        let json = r#"{"client":"::1","ident":null,"user":null,"time":"2016-02-29T23:59:60-07:30","method":null,"path":null,"protocol":null,"status":304,"bytes":null,"referer":null,"agent":null}"#;
        assert_eq!(answer.outputs.values, [json, json].concat().into_bytes());
        assert_eq!(answer.outputs.value_ends, [json.len() as u32, 2 * json.len() as u32]);
        let failures: Vec<_> =
            answer.failures.iter().map(|failure| (failure.input, &*failure.code)).collect();
        assert_eq!(failures, [(1, "malformed"), (2, "no-value")]);
    }

    #[test]
    fn a_dry_run_emits_nothing_and_still_fails() {
        let log = content::log().unwrap();
        let lines: Vec<_> = log.split(|byte| *byte == b'\n').take(100).map(Some).chain([None]).collect();
        let answer = answer(&AccessLog { dry_run: true }, &lines);
        assert_eq!((answer.outputs.inputs.len(), answer.outputs.values.len()), (0, 0));
        assert_eq!(answer.failures.len(), 1);
    }

    #[test]
    fn every_line_of_the_built_in_log_can_be_read() {
        let log = content::log().unwrap();
        let mut lines = 0;
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines += 1;
            let mut json = Vec::new();
            to_json(Some(line), &mut json).unwrap();
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
        assert_eq!(lines, 10_000);
    }
}
