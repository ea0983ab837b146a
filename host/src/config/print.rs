//! The configuration in force as a file, for `sandmill check --print` and the log at start. Secrets are left out.

use std::fmt;

use serde::Serialize;

use super::host::{HttpTable, Listen};
use super::{ClientProperties, Config, Host, Pipeline};

#[derive(Serialize)]
struct Effective<'a> {
    #[serde(skip_serializing_if = "ClientProperties::is_empty")]
    kafka: &'a ClientProperties,
    host: &'a Host,
    http: HttpTable,
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
            http: HttpTable { listen: self.http.map_or(Listen::Off, |http| Listen::At(http.listen)) },
            pipeline: self.pipelines.iter().map(own).collect(),
        };
        f.write_str(&toml::to_string(&effective).map_err(|_| fmt::Error)?)
    }
}
