//! The handler `access-log`, compiled into this program: the same parser, the same writer and the same SDK,
//! without a sandbox. The distance to `contract/access-log` is what the sandbox costs.

use sandmill::batch::Batch;
use sandmill_guest::__private::Slot;
use sandmill_guest::{Config, Failure, Handler, OutputRecord, Outputs, Record, StartError, raw};

use crate::json::{field, field_or_null};
use crate::line::Line;

/// One instance.
pub struct AccessLog(Slot<Parse>);

impl AccessLog {
    pub fn start() -> Self {
        let slot = Slot::new();
        slot.start(Vec::new()).expect("it needs no config");
        AccessLog(slot)
    }

    /// Bytes of all outputs.
    pub fn handle(&self, batch: &raw::Batch) -> usize {
        self.0.call(batch, |outputs, _| outputs.values.len())
    }
}

struct Parse;

impl Handler for Parse {
    fn start(_: &Config) -> Result<Self, StartError> {
        Ok(Parse)
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let value = record.value().ok_or(Failure::reject("no-value", "a tombstone has no line"))?;
        let line =
            Line::parse(value).map_err(|malformed| Failure::reject("malformed", malformed.to_string()))?;
        let mut output = out.record();
        write(&line, &mut output);
        output.emit();
        Ok(())
    }
}

/// As `examples-wasm/access-log` writes it.
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

/// A batch as the host copies it into a guest.
pub fn columns(batch: &Batch) -> raw::Batch {
    let ((keys, key_ends), (values, value_ends)) = (batch.keys(), batch.values());
    raw::Batch {
        topic: "orders".to_owned(),
        partition: 3,
        offsets: batch.offsets().to_vec(),
        timestamps: batch.timestamps().to_vec(),
        keys: keys.to_vec(),
        key_ends: key_ends.to_vec(),
        values: values.to_vec(),
        value_ends: value_ends.to_vec(),
        ..raw::Batch::default()
    }
}
