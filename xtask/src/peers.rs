//! The peers of the benchmarks, as far as they can be built on this machine.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::{shell, tools};

/// Peers written in Go: the level of the ladder, and the folder of its program.
const GO: [(&str, &str); 2] = [("franz", "franz"), ("bento", "bento")];

/// One peer.
pub struct Peer {
    /// The ladder's name of it.
    pub level: &'static str,
    /// Its program, or why there is none.
    pub program: Result<PathBuf, String>,
}

/// Builds all peers that are not in `skip`.
pub fn build(paths: &Paths, skip: &[String]) -> Result<Vec<Peer>> {
    let skipped = |level: &str| skip.iter().any(|name| name == level || name == "peers");
    let mut peers = Vec::new();
    let mut add = |level: &'static str, build: &dyn Fn() -> Result<PathBuf>| {
        if skipped(level) {
            return;
        }
        let program = build().map_err(|error| format!("{error:#}"));
        if let Err(reason) = &program {
            println!("!! {level} left out: {reason}");
        }
        peers.push(Peer { level, program });
    };
    // One jar has both of Java.
    if skipped("java") {
        add("confluent", &|| java(paths));
    } else {
        add("java", &|| java(paths));
    }
    for (level, folder) in GO {
        add(level, &|| go(paths, folder));
    }
    Ok(peers)
}

/// The jar of the plain loop and of Confluent's Parallel Consumer.
pub fn java(paths: &Paths) -> Result<PathBuf> {
    tools::require(&[tools::JAVA, tools::MAVEN])?;
    let folder = paths.root.join("benches/peers/java");
    ensure!(folder.is_dir(), "{} is not there", folder.display());
    shell::run(
        paths
            .command("mvn")
            .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "-DskipTests", "package"])
            .current_dir(&folder),
    )?;
    let jar = folder.join("target/java-peers.jar");
    ensure!(jar.is_file(), "maven made no {}", jar.display());
    Ok(jar)
}

fn go(paths: &Paths, name: &str) -> Result<PathBuf> {
    let folder = paths.root.join("benches/peers/go");
    ensure!(folder.join(name).is_dir(), "there is no program of it: benches/peers/go/README.md says why");
    tools::require(&[tools::GO])?;
    let program = paths.target.join("peers").join(name);
    shell::run(
        paths
            .command("go")
            .arg("build")
            .arg("-o")
            .arg(&program)
            .arg(format!("./{name}"))
            .current_dir(&folder),
    )
    .with_context(|| format!("benches/peers/go/{name} cannot be built"))?;
    Ok(program)
}
