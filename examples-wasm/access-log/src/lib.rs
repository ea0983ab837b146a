//! Turns lines of a web server's access log, combined format, into JSON.
//!
//! ```text
//! 83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "-" "curl/7.1"
//! {"client":"83.149.9.216","ident":null,"user":null,"time":"2015-05-17T10:05:03Z","method":"GET",
//!  "path":"/a","protocol":"HTTP/1.1","status":200,"bytes":203023,"referer":null,"agent":"curl/7.1"}
//! ```
//!
//! A field that the server had nothing to say about (`-`) is null. A request that is not a method, a path
//! and a protocol is given as it stands, as the path. Text stays as the server wrote it: an escape such as
//! `\xe4` is kept, so nothing is lost; bytes that are no UTF-8 become U+FFFD.
//!
//! A line that cannot be read is rejected with the code `malformed`; the message says which field is wrong,
//! at which byte, and why. A last field without its closing quote is taken as it stands.
//!
//! | config | meaning |
//! |---|---|
//! | `status` | emit only lines with this status, such as `404`; the others are done and emit nothing |
//! | `dry_run` | `true`: make the JSON and throw it away, to measure what that costs without any output |
//!
//! `line` reads, `json` writes; neither allocates, and the JSON is written where the host will read it.

mod json;
mod line;

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

use crate::line::Line;

struct AccessLog {
    /// Emit only lines with this status.
    status: Option<u16>,
    /// Throw the JSON away.
    dry_run: bool,
}

#[sandmill_guest::handler]
impl Handler for AccessLog {
    fn start(config: &Config) -> Result<Self, StartError> {
        Ok(Self { status: config.parse("status")?, dry_run: config.parse_or("dry_run", false)? })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let value = record.value().ok_or(Failure::reject("no-value", "a tombstone has no line"))?;
        let line =
            Line::parse(value).map_err(|malformed| Failure::reject("malformed", malformed.to_string()))?;
        if self.status.is_none_or(|status| status == line.status) {
            let mut output = out.record();
            json::write(&line, &mut output);
            if self.dry_run {
                black_box(&output);
            } else {
                output.emit();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
