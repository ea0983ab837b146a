//! The configuration in force as a file, for `sandmill check --print` and the log at start. Secrets are left out.

use std::fmt;

use serde::Serialize;

use super::admin::HttpTable;
use super::{ClientProperties, Config, Host, Modules, Pipeline};

#[derive(Serialize)]
struct Effective<'a> {
    #[serde(skip_serializing_if = "ClientProperties::is_empty")]
    kafka: &'a ClientProperties,
    host: &'a Host,
    http: HttpTable,
    modules: &'a Modules,
    pipeline: Vec<Pipeline>,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = |pipeline: &Pipeline| Pipeline {
            kafka: pipeline.kafka.clone().without(&self.kafka),
            ..pipeline.clone()
        };
        let effective = Effective {
            kafka: &self.kafka,
            host: &self.host,
            http: HttpTable::of(self.http.as_ref(), &self.written_http),
            modules: &self.modules,
            pipeline: self.pipelines.iter().map(own).collect(),
        };
        f.write_str(&toml::to_string(&effective).map_err(|_| fmt::Error)?)
    }
}
