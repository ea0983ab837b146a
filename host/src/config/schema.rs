//! The JSON schema of the file, made from the types: for editors, for the names of environment variables, and
//! for the tests that hold the documentation complete.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::File;
use super::bounds::BOUNDS;

/// The schema of `sandmill.toml` as JSON Schema (2020-12), with descriptions, defaults and bounds.
pub fn schema() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = Json::from(settings.into_generator().into_root_schema_for::<File>());
    schema["title"] = json!("sandmill.toml");
    schema["required"] = json!(["pipeline"]);
    let top = &mut schema["properties"];
    // What has no default, or one that is known only when the configuration is loaded.
    drop_default(&mut top["host"], "data_dir");
    drop_default(&mut top["host"], "workers");
    if let Some(list) = top["pipeline"].as_object_mut() {
        list.remove("default");
        list.insert("minItems".to_owned(), json!(1));
    }
    let pipeline = &mut top["pipeline"]["items"];
    for key in ["name", "handler", "input", "group", "kafka"] {
        drop_default(pipeline, key);
    }
    drop_default(&mut pipeline["properties"]["limits"], "total_memory");
    for key in ["then", "retry_for", "dead_letter_topic"] {
        drop_default(&mut pipeline["properties"]["on_failure"], key);
    }
    pipeline["required"] = json!(["name", "handler", "input"]);
    for bound in BOUNDS {
        let (table, key) = bound.key.rsplit_once('.').unwrap_or(("", bound.key));
        let table = table.split('.').filter(|step| !step.is_empty()).fold(
            match bound.in_pipeline() {
                true => &mut schema["properties"]["pipeline"]["items"],
                false => &mut schema,
            },
            |table, step| &mut table["properties"][step],
        );
        bound.describe(&mut table["properties"][key]);
    }
    clean(&mut schema, true);
    schema
}

fn drop_default(table: &mut Json, key: &str) {
    if let Some(key) = table["properties"][key].as_object_mut() {
        key.remove("default");
    }
}

/// Takes out what only repeats: a table's default (its keys have theirs) and Rust's number formats.
fn clean(schema: &mut Json, keys: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    if keys && schema.contains_key("properties") {
        schema.remove("default");
    }
    schema.remove("format");
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.values_mut().for_each(|property| clean(property, true));
    }
    if let Some(items) = schema.get_mut("items") {
        clean(items, true);
    }
}

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// From the pipeline, or from the top if it is not in one: `["limits", "fuel"]`.
    pub path: Vec<String>,
    pub in_pipeline: bool,
    /// A table of names that the user chooses.
    pub open: bool,
    /// A list of texts.
    pub list: bool,
}

impl Key {
    /// The table that this key belongs in, as its header is written.
    pub fn table(&self) -> String {
        let table = self.path.split_last().map_or(String::new(), |(_, table)| table.join("."));
        match (self.in_pipeline, table.as_str()) {
            (true, "") => "[[pipeline]]".to_owned(),
            (true, table) => format!("[pipeline.{table}]"),
            (false, "") => "the file's top level".to_owned(),
            (false, table) => format!("[{table}]"),
        }
    }
}

/// All keys of the file that hold a value, and the tables with names of the user's choice.
pub(super) fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let schema = schema();
        let mut keys = Vec::new();
        if let Some(top) = schema["properties"].as_object() {
            collect(top, &[], false, &mut keys);
        }
        keys
    })
}

fn collect(properties: &Map<String, Json>, table: &[String], in_pipeline: bool, keys: &mut Vec<Key>) {
    for (name, schema) in properties {
        let path = [table, std::slice::from_ref(name)].concat();
        let open = schema["additionalProperties"].is_object();
        let list = schema["type"] == "array";
        if let (Some(properties), true) = (schema["items"]["properties"].as_object(), list) {
            collect(properties, &[], true, keys);
        } else if let (Some(properties), false) = (schema["properties"].as_object(), open) {
            collect(properties, &path, in_pipeline, keys);
        } else {
            keys.push(Key { path, in_pipeline, open, list });
        }
    }
}
