//! Compiles the handlers that `sandmill demo` and `sandmill bench` carry, so that an installed binary can show
//! and measure itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = here.parent().expect("the host is a folder of the workspace");
    for path in [
        "examples-wasm/access-log",
        "examples-wasm/noop",
        "examples-wasm/Cargo.toml",
        "guest-sdk/src",
        "guest-sdk/macros",
        "wit",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let target = guests_folder();
    let cargo = env::var("CARGO").expect("cargo sets it");
    let mut build = Command::new(cargo);
    build
        .current_dir(root.join("examples-wasm"))
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "access-log",
            "--package",
            "noop",
            "--target",
            "wasm32-wasip2",
            "--target-dir",
        ])
        .arg(&target);
    // The flags and wrappers of the outer build are for the host's machine.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let outer = text.starts_with("CARGO_ENCODED_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_");
        if outer
            || ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "TARGET", "HOST"]
                .contains(&&*text)
        {
            build.env_remove(&name);
        }
    }
    let status = build.status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err("an example handler does not compile; if the Wasm target is missing: rustup target add wasm32-wasip2"
            .to_owned());
    }
    for (name, file) in [("ACCESS_LOG", "access_log.wasm"), ("NOOP", "noop.wasm")] {
        let module = target.join("wasm32-wasip2/release").join(file);
        println!("cargo::rustc-env=SANDMILL_{name}={}", module.display());
        println!("cargo::rerun-if-changed={}", module.display());
    }
    println!("cargo::rustc-env=SANDMILL_WASMTIME={}", wasmtime_version(&root.join("Cargo.lock")));
    Ok(())
}

/// The engine's version, for `sandmill_build_info`: it tells nobody itself.
fn wasmtime_version(lock: &Path) -> String {
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let package = text.split("[[package]]").find(|package| package.contains("name = \"wasmtime\"\n"));
    let version = package.and_then(|package| package.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown").to_owned()
}

/// One folder for guests beside the profiles of the host, shared with `cargo xtask guests`.
fn guests_folder() -> PathBuf {
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    // OUT_DIR is TARGET/PROFILE/build/NAME/out.
    let target = out.ancestors().nth(4).map_or_else(|| out.clone(), Path::to_path_buf);
    target.join("guests")
}
