//! The handler `access-log`, compiled into this program: the same parser, the same writer and the same SDK,
//! without a sandbox. The distance to `contract/access-log` is what the sandbox costs.

use sandmill::batch::Batch;
use sandmill_guest::__private::Slot;
use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, raw};

use crate::json;
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
        json::write(&line, &mut output);
        output.emit();
        Ok(())
    }
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
