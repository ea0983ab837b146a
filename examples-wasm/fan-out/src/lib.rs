//! Routes lines of a web server's access log by the class of their status, unchanged and with their keys and
//! headers, to none, one or two of four declared outputs.
//!
//! | status | output 0 (fine) | output 1 (elsewhere) | output 2 (failed) | output 3 (our fault) |
//! |---|---|---|---|---|
//! | 2xx | ✓ | | | |
//! | 3xx | | ✓ | | |
//! | 4xx | | | ✓ | |
//! | 5xx | | | ✓ | ✓ |
//! | other | | | | |
//!
//! A line without a status is rejected with the code `malformed`.
//!
//! | config | meaning |
//! |---|---|
//! | `ignore` | classes whose lines go nowhere, such as `3` or `2,3` |

use std::num::ParseIntError;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

struct FanOut {
    ignored: Vec<u8>,
}

#[sandmill_guest::handler]
impl Handler for FanOut {
    fn start(config: &Config) -> Result<Self, StartError> {
        let ignore = config.get("ignore").unwrap_or_default();
        let classes = ignore.split(',').map(str::trim).filter(|class| !class.is_empty());
        let ignored = classes.map(str::parse).collect::<Result<_, ParseIntError>>();
        Ok(Self { ignored: ignored.map_err(|error| format!("config key `ignore` is {ignore:?}: {error}"))? })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let class = record.value().and_then(status_class);
        let class =
            class.ok_or(Failure::reject("malformed", "no status of three digits behind the request"))?;
        if !self.ignored.contains(&class) {
            for &destination in destinations(class) {
                out.record().to(destination).copy_of(record).emit();
            }
        }
        Ok(())
    }
}

fn destinations(class: u8) -> &'static [u8] {
    match class {
        2 => &[0],
        3 => &[1],
        4 => &[2],
        5 => &[2, 3],
        _ => &[],
    }
}

/// The first digit of the three behind the quoted request.
fn status_class(line: &[u8]) -> Option<u8> {
    let request = line.iter().position(|&byte| byte == b'"')? + 1;
    let mut escaped = false;
    let length = line[request..].iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    match line[request + length + 1..] {
        [b' ', class @ b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] => Some(class - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{Answered, Harness, Input};
    use sandmill_guest::{Config, Failure};

    fn line(status: &str) -> Input {
        let line = format!(r#"::1 - - [17/May/2015:10:05:03 +0000] "GET /\"a HTTP/1.1" {status} 1 "-" "-""#);
        Input::new(line).key("::1").header("trace", status)
    }

    fn run(config: Config, statuses: &[&str]) -> Answered {
        let mut harness = Harness::<super::FanOut>::start(config).expect("the config is right");
        harness.run(statuses.iter().map(|status| line(status)))
    }

    #[test]
    fn a_line_goes_to_the_outputs_of_its_class_with_key_and_headers() {
        let answer = run(Config::new(), &["200", "301", "404", "503", "101"]);
        let outputs: Vec<_> = answer.outputs().collect();
        let routes: Vec<_> =
            outputs.iter().map(|output| (output.headers[0].1.clone().unwrap(), output.destination)).collect();
        let expected = [("200", 0), ("301", 1), ("404", 2), ("503", 2), ("503", 3)];
        assert_eq!(routes, expected.map(|(status, output)| (status.as_bytes().to_vec(), output)));
        assert!(outputs.iter().all(|output| output.key.as_deref() == Some(b"::1")));
        assert!(outputs[0].value.as_deref().is_some_and(|value| value.ends_with(br#"200 1 "-" "-""#)));
    }

    #[test]
    fn an_ignored_class_goes_nowhere() {
        let answer = run(Config::from([("ignore", "2, 5")]), &["200", "301", "503"]);
        assert_eq!(answer.outputs().count(), 1);
        assert!((0..3).all(|index| answer.failure(index).is_none()));
        let error = Harness::<super::FanOut>::start(Config::from([("ignore", "x")])).err();
        assert!(error.expect("no number").to_string().contains("`ignore` is \"x\""));
    }

    #[test]
    fn a_line_without_a_status_is_rejected() {
        let answer = run(Config::new(), &["20", "2000", "-"]);
        let codes: Vec<_> = (0..3).map(|index| answer.failure(index).map(Failure::code)).collect();
        assert_eq!(codes, [Some("malformed"); 3]);
        let mut harness = Harness::<super::FanOut>::start(Config::new()).expect("no config is fine");
        assert!(harness.run([Input::tombstone()]).failure(0).is_some());
    }
}
