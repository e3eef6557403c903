//! The files of `locktrace export`, read by independent code that needs no network: `inferno` draws the folded stacks, and the crate with which samply writes
//! profiles for Firefox shows what a profile must contain.
#![allow(clippy::unwrap_used)]

mod firefox;
mod folded;
mod inputs;

use std::path::Path;
use std::process::{Command, Stdio};

/// What a format makes of a trace.
fn export(trace: &Path, format: &str) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.arg("export").arg(trace).args(["--format", format]).env_remove("LOCKTRACE_DIR").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
