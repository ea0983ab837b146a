//! The module's promises from the outside: a source goes in, a configuration or the exact errors come out.

mod capabilities;
mod docs;
mod layers;
mod mistakes;
mod properties;
mod result;

use super::{Config, Overrides, Source};

/// A file with the least that is valid, and `more` at its end: in the pipeline's own table, unless it opens one.
fn file(more: &str) -> String {
    format!(
        "[kafka]\n\"bootstrap.servers\" = \"broker:9092\"\n[[pipeline]]\nname = \"access-log\"\n\
         handler = \"handler.wasm\"\ninput = [\"access\"]\n{more}"
    )
}

/// The line on which `more` of [`file`] begins.
const MORE: usize = 7;

fn source(text: &str, variables: &[(&str, &str)]) -> Source {
    let variables = [("HOME", "/home/mill")].iter().chain(variables);
    Source::new(variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        .text("conf/sandmill.toml", text)
}

fn load(text: &str, variables: &[(&str, &str)]) -> Config {
    Config::load(source(text, variables)).unwrap_or_else(|errors| panic!("{errors}\n\n{text}"))
}

/// What the errors display, with the file's name cut to `:`.
fn errors(text: &str, variables: &[(&str, &str)]) -> String {
    failure(source(text, variables))
}

fn failure(source: Source) -> String {
    match Config::load(source) {
        Ok(config) => panic!("loaded:\n{config}"),
        Err(errors) => errors.to_string().replace("conf/sandmill.toml:", ":"),
    }
}

fn flags(overrides: Overrides) -> Source {
    Source::new([("HOME".to_owned(), "/home/mill".to_owned())]).overrides(overrides)
}
