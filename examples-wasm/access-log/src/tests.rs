//! The handler as a whole, on real lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use flate2::read::GzDecoder;
use sandmill_guest::testing::{Answered, Harness, Input};
use sandmill_guest::{Config, Failure, FailureKind};
use serde_json::{Value, json};

use crate::AccessLog;

const GET: &str = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /presentations/a.png HTTP/1.1" 200 203023 "http://semicomplete.com/" "Mozilla/5.0 (Macintosh)""#;

fn run<I: Into<Input>>(config: Config, inputs: impl IntoIterator<Item = I>) -> Answered {
    Harness::<AccessLog>::start(config).expect("the config is right").run(inputs)
}

fn json_of(line: impl AsRef<[u8]>) -> Value {
    let answer = run(Config::new(), [Input::new(line)]);
    assert_eq!(answer.failure(0), None);
    serde_json::from_str(&answer.texts()[0]).expect("the output is JSON")
}

fn message_of(line: impl AsRef<[u8]>) -> String {
    let answer = run(Config::new(), [Input::new(line)]);
    let failure = answer.failure(0).expect("the line is rejected");
    assert_eq!((failure.kind(), failure.code()), (FailureKind::Reject, "malformed"));
    assert_eq!(answer.outputs().count(), 0);
    failure.message().to_owned()
}

/// The line with one part of it replaced.
fn with(part: &str, other: &str) -> String {
    assert!(GET.contains(part));
    GET.replacen(part, other, 1)
}

#[test]
fn a_line_becomes_an_object_with_all_fields_in_order() {
    let answer = run(Config::new(), [GET]);
    assert_eq!(
        answer.texts(),
        [concat!(
            r#"{"client":"83.149.9.216","ident":null,"user":null,"time":"2015-05-17T10:05:03Z","#,
            r#""method":"GET","path":"/presentations/a.png","protocol":"HTTP/1.1","status":200,"#,
            r#""bytes":203023,"referer":"http://semicomplete.com/","agent":"Mozilla/5.0 (Macintosh)"}"#
        )]
    );
}

#[test]
fn a_dash_is_null_and_a_text_is_not() {
    let line = r#"::1 id mary ann [29/Feb/2016:23:59:60 -0730] "-" 304 - "-" "-""#;
    assert_eq!(
        json_of(line),
        json!({
            "client": "::1", "ident": "id", "user": "mary ann", "time": "2016-02-29T23:59:60-07:30",
            "method": null, "path": null, "protocol": null, "status": 304, "bytes": null,
            "referer": null, "agent": null,
        })
    );
}

#[test]
fn a_request_that_is_none_is_given_as_it_stands() {
    assert_eq!(json_of(with("GET /presentations/a.png HTTP/1.1", r"\x16\x03\x01"))["path"], r"\x16\x03\x01");
    let spaces = json_of(with("a.png", "a b.png"));
    assert_eq!((&spaces["method"], &spaces["path"]), (&json!("GET"), &json!("/presentations/a b.png")));
    let old = json_of(with(" HTTP/1.1", ""));
    assert_eq!((&old["method"], &old["path"]), (&Value::Null, &json!("GET /presentations/a.png")));
}

#[test]
fn an_escaped_quote_does_not_end_a_field() {
    let line = json_of(with("Mozilla/5.0", r#"a\"b\\"#));
    assert_eq!(line["agent"], r#"a\"b\\ (Macintosh)"#);
}

#[test]
fn bytes_that_are_no_utf8_are_replaced_and_control_characters_escaped() {
    let mut line = GET.replace("Macintosh", "\u{7}?").into_bytes();
    let at = line.iter().position(|&byte| byte == b'?').expect("the mark is there");
    line[at] = 0xff;
    assert_eq!(json_of(line)["agent"], "Mozilla/5.0 (\u{7}\u{fffd})");
}

#[test]
fn an_open_last_field_is_taken_as_it_stands_and_a_line_break_is_no_part_of_it() {
    let open = GET.strip_suffix("tosh)\"").expect("the line ends so");
    assert_eq!(json_of(open)["agent"], "Mozilla/5.0 (Macin");
    assert_eq!(json_of(format!("{open}\\"))["agent"], "Mozilla/5.0 (Macin\\");
    assert_eq!(json_of(format!("{GET}\r\n")), json_of(GET));
}

#[test]
fn leading_zeros_of_a_size_make_no_wrong_json() {
    assert_eq!(json_of(with("203023", "000"))["bytes"], 0);
    assert_eq!(json_of(with("203023", "0070"))["bytes"], 70);
}

#[test]
fn a_malformed_line_is_rejected_with_the_field_and_the_byte() {
    assert_eq!(message_of(""), "client at byte 0: missing: the line ends here");
    assert_eq!(message_of("83.149.9.216"), "client at byte 12: a space should follow");
    assert_eq!(message_of(" - -"), "client at byte 0: empty");
    assert_eq!(message_of("1.2.3.4 - - x"), "time at byte 12: should begin with `[` and a digit");
    assert_eq!(
        message_of(with("May", "Mai")),
        "time at byte 21: the month should be one of Jan, Feb, …, Dec"
    );
    assert_eq!(message_of(with("17/May", "31/Feb")), "time at byte 18: the month has no such day");
    assert_eq!(message_of(with("10:05:03", "24:05:03")), "time at byte 30: the hour should be 00 to 23");
    let at = |part: &str| GET.find(part).expect("the part is in the line");
    let message = |field: &str, at: usize, problem: &str| format!("{field} at byte {at}: {problem}");
    let quote = "should begin with a quote";
    assert_eq!(message_of(with("\"GET", "GET")), message("request", at("\"GET"), quote));
    let digits = "should be three digits";
    assert_eq!(message_of(with(" 200 ", " 20x ")), message("status", at("200 "), digits));
    let space = "a space should follow";
    assert_eq!(message_of(with(" 200 ", " 2000 ")), message("status", at("200 ") + 3, space));
    let number = "should be digits, or `-` for none";
    assert_eq!(message_of(with("203023", "20k")), message("bytes", at("203023") + 2, number));
    let end = "the line should end behind its closing quote";
    assert_eq!(message_of(format!("{GET} x")), message("agent", GET.len(), end));
    let cut = at("semi");
    assert_eq!(message_of(&GET[..cut]), message("referer", cut, "the closing quote is missing"));
}

#[test]
fn no_line_that_is_cut_anywhere_or_changed_in_a_byte_panics() {
    for length in 0..GET.len() {
        run(Config::new(), [&GET.as_bytes()[..length]]);
        for byte in [0, b' ', b'"', b'[', b'\\', 0xff] {
            let mut line = GET.as_bytes().to_vec();
            line[length] = byte;
            let answer = run(Config::new(), [line.as_slice()]);
            for text in answer.texts() {
                serde_json::from_str::<Value>(&text).expect("what comes out is JSON");
            }
        }
    }
}

#[test]
fn a_tombstone_is_rejected() {
    let answer = run(Config::new(), [Input::tombstone()]);
    assert_eq!(answer.failure(0).map(Failure::code), Some("no-value"));
}

#[test]
fn only_lines_with_the_configured_status_are_emitted() {
    let lines = [GET.to_owned(), with(" 200 ", " 404 ")];
    let answer = run(Config::from([("status", "404")]), lines.iter().map(String::as_str));
    assert_eq!(answer.texts().len(), 1);
    assert!(answer.texts()[0].contains(r#""status":404"#));
    assert!(answer.failure(0).is_none());
    let error = Harness::<AccessLog>::start(Config::from([("status", "teapot")])).err();
    assert!(error.expect("the status is no number").to_string().contains("`status` is \"teapot\""));
}

#[test]
fn a_dry_run_reads_and_rejects_but_emits_nothing() {
    let answer = run(Config::from([("dry_run", "true")]), [GET, "no line"]);
    assert_eq!(answer.outputs().count(), 0);
    assert!(answer.failure(0).is_none() && answer.failure(1).is_some());
}

#[test]
fn all_lines_of_a_real_log_come_out_with_the_known_statuses() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/assets/apache_access.log.gz");
    let mut log = String::new();
    GzDecoder::new(File::open(path).expect("the log is in the repository"))
        .read_to_string(&mut log)
        .expect("the log is UTF-8");
    let answer = run(Config::new(), log.lines());
    let mut statuses = BTreeMap::new();
    for (line, text) in log.lines().zip(answer.texts()) {
        let object: Value = serde_json::from_str(&text).expect("every output is JSON");
        assert!(line.starts_with(object["client"].as_str().expect("a client")));
        assert!(object["method"].is_string() && object["protocol"].is_string());
        *statuses.entry(object["status"].as_u64().expect("a number")).or_insert(0) += 1;
    }
    let known = [(200, 9126), (206, 45), (301, 164), (304, 445), (403, 2), (404, 213), (416, 2), (500, 3)];
    assert_eq!(statuses, BTreeMap::from(known));
    let cut: Value = serde_json::from_str(&answer.texts()[8898]).expect("JSON");
    assert!(cut["agent"].as_str().is_some_and(|agent| agent.ends_with("+http://www.google.com/bot.html")));
}
