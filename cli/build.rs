//! Tells the binary which compiler made it, for the header of its benchmarks.

use std::{env, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.as_deref().map_or("rustc of unknown version", str::trim);
    let level = env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo:rustc-env=GRANDMODEL_COMPILER={version}, opt-level {level}");
    println!("cargo:rerun-if-changed=build.rs");
}
