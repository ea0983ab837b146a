//! The OpenAPI document, made from the table of routes.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{Answers, Route, Takes, all};
use super::{SIGNATURE, VERSION};

/// The document, in version 3.1. Without routes of deploys where there are none.
pub(super) fn document(has_admin: bool) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in all().iter().filter(|route| has_admin || route.always) {
        let answer = match &route.answers {
            Answers::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
            Answers::Json(schema) => json!({ "application/json": { "schema": schema(&mut generator) } }),
        };
        let mut operation = json!({
            "summary": route.about,
            "parameters": parameters(route),
            "responses": { route.status.to_string(): { "description": "done, or begun", "content": answer } },
        });
        for (status, about) in refusals(route) {
            let headers = match status {
                "429" | "503" => {
                    json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "seconds" } })
                }
                _ => json!({}),
            };
            operation["responses"][status] = json!({
                "description": about,
                "headers": headers,
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
        }
        if let Some(role) = route.needs {
            let mut ways = vec![json!({ "token": [] })];
            if route.is_read {
                // Unless `http.reads` says otherwise.
                ways.push(json!({}));
            }
            operation["security"] = json!(ways);
            operation["x-role"] = json!(role);
        }
        if let Some(body) = body(route.takes) {
            operation["requestBody"] = body;
        }
        let method = route.method.as_str().to_ascii_lowercase();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), json!({
        "type": "object",
        "properties": { "error": { "type": "string", "description": "What is wrong, where, and what to do." } },
        "required": ["error"],
    }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sandmill",
            "version": VERSION,
            "description": "Metrics, health and status of a host, and deploys of handlers. Times are milliseconds since \
                            1970, durations milliseconds.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn parameters(route: &Route) -> Vec<Value> {
    let open = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let open = open
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let query = route.query.iter().map(|query| {
        let mut schema = json!({ "type": query.kind });
        if let Some((least, most)) = query.range {
            (schema["minimum"], schema["maximum"]) = (json!(least), json!(most));
        }
        json!({ "name": query.name, "in": "query", "description": query.about, "schema": schema })
    });
    let signature = (route.takes == Takes::Module).then(|| {
        json!({
            "name": SIGNATURE,
            "in": "header",
            "description": "base64 of the minisign file of the module in the body",
            "schema": { "type": "string", "contentEncoding": "base64" },
        })
    });
    open.chain(query).chain(signature).collect()
}

fn refusals(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut refusals = Vec::new();
    if route.needs.is_some() {
        refusals.extend([
            ("401", "no token, or none that is known"),
            ("403", "the token's role does not allow it"),
            ("404", "no such pipeline, or deploy"),
            ("429", "too many requests; `Retry-After` says when to ask again"),
            ("503", "the host starts, stops, or has too much of that to do"),
        ]);
    }
    if route.takes != Takes::Nothing || !route.query.is_empty() {
        refusals.push(("400", "it makes no sense"));
    }
    if route.takes != Takes::Nothing {
        refusals.extend([("408", "the body came too slowly"), ("413", "the body is too large")]);
    }
    if route.takes == Takes::Module {
        refusals.push(("415", "the body is of another kind"));
    }
    if route.is_change() {
        refusals.extend([
            ("409", "it cannot be done here"),
            ("500", "it cannot be written down, so it is not done"),
        ]);
    }
    refusals
}

fn body(takes: Takes) -> Option<Value> {
    let content = match takes {
        Takes::Nothing => return None,
        Takes::Module => json!({
            "application/wasm": { "schema": { "type": "string", "contentMediaType": "application/wasm" } },
            "application/octet-stream": { "schema": { "type": "string" } },
            "application/json": { "schema": {
                "type": "object",
                "properties": { "reference": { "type": "string", "description": "oci://HOST/NAME@sha256:DIGEST" } },
                "required": ["reference"],
                "additionalProperties": false,
            } },
        }),
        Takes::Records => json!({ "application/x-ndjson": { "schema": { "type": "string" } } }),
    };
    // Without records those that flow count again.
    Some(json!({ "required": takes != Takes::Records, "content": content }))
}
