//! The jars of Apache Kafka, fetched by Maven once a machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::{shell, tools};

/// The release that the end-to-end tests run against.
const VERSION: &str = "4.1.1";

/// A pinned plugin: what Maven takes by itself changes with its version.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder of the jars; fetches them if it is not there.
pub fn jars(paths: &Paths) -> Result<PathBuf> {
    let home = paths.cache.join(format!("kafka-{VERSION}"));
    let libs = home.join("libs");
    if libs.is_dir() {
        return Ok(libs);
    }
    tools::require(&[tools::MAVEN])?;
    println!("fetching the jars of Apache Kafka {VERSION} (about 55 MB) into {}", libs.display());
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let project = home.join("pom.xml");
    fs::write(&project, pom()).with_context(|| format!("cannot write {}", project.display()))?;
    // Complete or not there at all: an interrupted fetch leaves only the partial folder behind.
    let partial = home.join(format!("libs.{}", std::process::id()));
    let fetched = shell::run(
        paths
            .command("mvn")
            .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "--file"])
            .arg(&project)
            .arg(COPY)
            .arg(format!("-DoutputDirectory={}", partial.display()))
            .arg("-DincludeScope=runtime"),
    );
    let moved = fetched.and_then(|()| match fs::rename(&partial, &libs) {
        // Another run was quicker.
        Err(_) if libs.is_dir() => Ok(()),
        other => other.with_context(|| format!("cannot rename {} to libs", partial.display())),
    });
    let _ = fs::remove_dir_all(&partial);
    moved.map(|()| libs)
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    let dependencies = [
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.apache.kafka", "kafka-tools", VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    ]
    .concat();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         \x20 <modelVersion>4.0.0</modelVersion>\n\
         \x20 <groupId>local</groupId><artifactId>kafka-node</artifactId><version>1</version>\
         <packaging>pom</packaging>\n\
         \x20 <dependencies>\n{dependencies}  </dependencies>\n\
         </project>\n"
    )
}
