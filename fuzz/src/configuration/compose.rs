//! A configuration file out of bytes: tables and keys of the schema, with values that fit and others, in the order of
//! the file, and a few characters changed at the end.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use super::SECRETS;
use crate::config::{client_property_names, schema};
use crate::input::Input;

/// Pipelines of a file, and changed characters.
const MOST: u8 = 3;
/// Keys of a table that are written.
const KEYS: u8 = 6;

/// Values of any type, right for some key.
const VALUES: [&str; 28] = [
    "true",
    "false",
    "0",
    "1",
    "-1",
    "64",
    "4096",
    "1_000_000",
    "9223372036854775807",
    "1e3",
    "1979-05-27",
    "\"\"",
    "\"0\"",
    "\"1s\"",
    "\"100ms\"",
    "\"1m 30s\"",
    "\"64MiB\"",
    "\"1 KB\"",
    "\"\\u0000\"",
    "\"\\\"\\n\"",
    "\"a\"",
    "\"a.b-c_d\"",
    "\"..\"",
    "[]",
    "[\"a\"]",
    "[\"a\", \"a\"]",
    "{}",
    "{ a = \"b\" }",
];

/// Values of client properties.
const PROPERTIES: [&str; 10] = [
    "\"x\"",
    "\"\"",
    "5",
    "true",
    "1.5",
    "[]",
    "{ env = \"KEY\" }",
    "{ env = \"NONE\" }",
    "{ file = \"none\" }",
    "{ env = \"KEY\", file = \"none\" }",
];

/// A table of the file with its keys, and values that fit each.
struct Table {
    header: String,
    keys: Vec<(String, Vec<String>)>,
}

/// The composed file.
pub fn text(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    kafka(&mut text, "[kafka]", input);
    let (host, pipeline) = tables();
    host.iter().for_each(|table| write_table(&mut text, table, input));
    for number in 0..=input.byte() % MOST {
        let (start, rest) = pipeline.split_first().expect("a pipeline is a table");
        text.push_str("[[pipeline]]\n");
        // What each needs, mostly.
        let there = input.byte();
        let needed = ["name = \"p\"", "handler = \"h.wasm\"", "input = [\"in\"]"];
        for (bit, line) in needed.iter().enumerate().filter(|(bit, _)| there >> bit & 1 == 0) {
            let number = if bit == 0 { format!("{number}\"") } else { String::new() };
            _ = writeln!(text, "{}{number}", if bit == 0 { line.trim_end_matches('"') } else { line });
        }
        keys(&mut text, start, input);
        rest.iter().for_each(|table| write_table(&mut text, table, input));
        if there & 0x80 != 0 {
            kafka(&mut text, "[pipeline.kafka]", input);
        }
    }
    for _ in 0..input.byte() % MOST {
        change(&mut text, input);
    }
    text
}

fn kafka(text: &mut String, header: &str, input: &mut Input<'_>) {
    let there = input.byte();
    _ = writeln!(text, "{header}");
    if header == "[kafka]" && there & 1 == 0 {
        text.push_str("\"bootstrap.servers\" = \"broker:9092\"\n");
    }
    if there & 2 == 0 {
        _ = writeln!(text, "\"sasl.password\" = {:?}", SECRETS[0]);
    }
    if there & 0x3c == 0x3c {
        // A property that there is not has a value all the same.
        _ = writeln!(text, "\"own.password\" = {:?}", SECRETS[0]);
    }
    let names: Vec<&str> = client_property_names().collect();
    for _ in 0..there >> 6 {
        let name = names[input.number() as usize % names.len()];
        let value = PROPERTIES[usize::from(input.byte()) % PROPERTIES.len()];
        _ = writeln!(text, "{name:?} = {value}");
    }
}

fn write_table(text: &mut String, table: &Table, input: &mut Input<'_>) {
    if input.byte() % 2 == 1 {
        _ = writeln!(text, "{}", table.header);
        keys(text, table, input);
    }
}

fn keys(text: &mut String, table: &Table, input: &mut Input<'_>) {
    for _ in 0..input.byte() % KEYS {
        let (key, fitting) = &table.keys[usize::from(input.byte()) % table.keys.len()];
        let which = usize::from(input.byte());
        // Seven of eight fit.
        let value = if which % 8 != 0 && !fitting.is_empty() {
            fitting[which / 8 % fitting.len()].as_str()
        } else {
            VALUES[usize::from(input.byte()) % VALUES.len()]
        };
        _ = writeln!(text, "{key} = {value}");
    }
}

fn change(text: &mut String, input: &mut Input<'_>) {
    let (place, how) = (input.number() as usize % (text.len() + 1), input.byte());
    let place = text.floor_char_boundary(place);
    match how % 4 {
        0 => text.truncate(place),
        1 if place < text.len() => drop(text.remove(place)),
        _ => text.insert(place, char::from(how)),
    }
}

/// The tables of the host and those of a pipeline, as the schema has them.
fn tables() -> &'static (Vec<Table>, Vec<Table>) {
    static TABLES: OnceLock<(Vec<Table>, Vec<Table>)> = OnceLock::new();
    TABLES.get_or_init(|| {
        let schema = schema();
        let properties = |schema: &Json| schema["properties"].as_object().cloned().unwrap_or_default();
        let (mut host, mut pipeline) = (Vec::new(), Vec::new());
        for name in ["host", "http"] {
            collect(&format!("[{name}]"), &properties(&schema["properties"][name]), &mut host);
        }
        collect("[pipeline]", &properties(&schema["properties"]["pipeline"]["items"]), &mut pipeline);
        (host, pipeline)
    })
}

fn collect(header: &str, properties: &Map<String, Json>, tables: &mut Vec<Table>) {
    let at = tables.len();
    tables.push(Table { header: header.to_owned(), keys: Vec::new() });
    for (name, schema) in properties {
        match schema["properties"].as_object() {
            Some(_) if name == "kafka" => {}
            Some(inner) => {
                collect(&format!("{}.{name}]", header.trim_end_matches(']')), inner, tables);
            }
            None => tables[at].keys.push((name.clone(), fitting(schema))),
        }
    }
}

/// Values that the schema allows, and some just outside of its bounds.
fn fitting(schema: &Json) -> Vec<String> {
    let choices = schema["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["const"]);
    let named = choices.chain([&schema["default"], &schema["minimum"], &schema["maximum"]]);
    let mut values: Vec<String> =
        named.filter(|value| !value.is_null() && !value.is_object()).map(Json::to_string).collect();
    for bound in [&schema["minimum"], &schema["maximum"]] {
        values.extend(bound.as_i64().map(|bound| bound.saturating_add(1).to_string()));
        values.extend(bound.as_i64().map(|bound| bound.saturating_sub(1).to_string()));
    }
    values
}
