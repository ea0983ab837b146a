//! The copy of the handler's writing part; the rest is the handler's own source.

const GET: &str = r#"::1 - ann [17/May/2015:10:05:03 +0000] "GET /\"a HTTP/1.1" 200 203023 "-" "curl/7.1""#;
const JSON: &str = concat!(
    r#"{"client":"::1","ident":null,"user":"ann","time":"2015-05-17T10:05:03Z","method":"GET","#,
    r#""path":"/\\\"a","protocol":"HTTP/1.1","status":200,"bytes":203023,"referer":null,"agent":"curl/7.1"}"#
);

#[test]
fn a_line_becomes_the_json_of_the_handler_in_place_of_what_was_there() {
    let mut out = b"of the last line".to_vec();
    bento_guest::parse(GET.as_bytes(), &mut out).expect("the line is right");
    assert_eq!(str::from_utf8(&out), Ok(JSON));
    bento_guest::parse(GET.replace("203023", "-").as_bytes(), &mut out).expect("the line is right");
    assert_eq!(str::from_utf8(&out), Ok(&*JSON.replace("203023", "null")));
}

#[test]
fn a_malformed_line_is_refused() {
    let malformed = bento_guest::parse(b"no line", &mut Vec::new()).expect_err("that is no line");
    assert_eq!(malformed, "ident at byte 7: a space should follow");
}
