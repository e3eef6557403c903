//! The build of `liblocktrace.so`, which the `locktrace` command carries: `cargo install --path .` alone gives a command that works.
//!
//! The library goes to `OUT_DIR`, where `src/cli/library.rs` includes it. A second cargo builds it, because the feature `preload` must not reach
//! the shim that is linked into this crate. It has its own target directory, because the outer cargo holds the lock of the other one. It shares the
//! outer cargo's job slots, and downloads nothing new.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let var = |name: &str| std::env::var_os(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CLI").is_none() {
        return;
    }
    let (root, out) = (PathBuf::from(var("CARGO_MANIFEST_DIR")), PathBuf::from(var("OUT_DIR")));
    let carried = out.join("liblocktrace.so");
    for path in ["shim/src", "shim/Cargo.toml", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    // Documentation needs no library, and a static musl host can have none. The command then reports that it has none.
    let static_host =
        std::env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.split(',').any(|f| f == "crt-static"));
    if std::env::var_os("DOCS_RS").is_some() || static_host {
        if let Err(error) = std::fs::write(&carried, "") {
            stop(&format!("cannot write {}: {error}", carried.display()));
        }
        return;
    }
    let built = build(&root, &out, &var("TARGET").to_string_lossy());
    if let Err(error) = std::fs::copy(&built, &carried) {
        stop(&format!("cannot copy {} to {}: {error}", built.display(), carried.display()));
    }
}

/// Runs the inner cargo. Returns the path of the library it built.
fn build(root: &Path, out: &Path, target: &str) -> PathBuf {
    let dir = out.join("shim");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--profile", "dist", "--lib", "--features", "preload", "--target", target])
        .args(["--config", "profile.dist.strip=\"debuginfo\""])
        .arg("--manifest-path")
        .arg(root.join("shim/Cargo.toml"))
        .arg("--target-dir")
        .arg(&dir)
        // Settings for the outer build: its flags (coverage, sanitizers, `--cfg loom`), and clippy in place of the compiler.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    match cargo.status() {
        Ok(status) if status.success() => dir.join(target).join("dist/liblocktrace.so"),
        Ok(status) => stop(&format!("building the library from {} failed: {status}", root.join("shim").display())),
        Err(error) => stop(&format!("cannot start cargo to build the library: {error}")),
    }
}

/// Prints why there is no build.
fn stop(why: &str) -> ! {
    println!("cargo::error={why}");
    std::process::exit(1)
}
