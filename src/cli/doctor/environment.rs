//! The environment of the program: the trace directory, and `LD_PRELOAD`.
#![forbid(unsafe_code)]

use super::database::is_network;
use super::finding::{Finding, FindingLevel};
use crate::cli::io::{log_files, quote};
use rustix::fs::Access;
use shim::recorder::config::Config;
use shim::recorder::file_system;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Space for the logs of one or two processes.
const ROOM: u64 = 32 << 20;

/// Examines the trace directory and `LD_PRELOAD`.
pub(super) fn examine() -> Vec<Finding> {
    let mut found = Vec::new();
    match Config::from_env() {
        Ok(config) => trace_directory(&std::path::absolute(&config.dir).unwrap_or(config.dir), &mut found),
        Err(error) => found.push(Finding::new("settings", FindingLevel::Problem, error.to_string())),
    }
    if let Some(list) = std::env::var_os("LD_PRELOAD").filter(|list| !list.is_empty()) {
        let what = format!("LD_PRELOAD is set to {}: `locktrace run` keeps it, after its own library", list.display());
        found.push(Finding::new("preload-set", FindingLevel::Note, what));
    }
    found
}

fn trace_directory(dir: &Path, found: &mut Vec<Finding>) {
    let shown = dir.display();
    let mut say = |level, what: String| found.push(Finding::new("trace-directory", level, what));
    match std::fs::symlink_metadata(dir) {
        Ok(meta) if meta.is_symlink() => {
            return say(
                FindingLevel::Problem,
                format!("{shown} is a link, and the recorder follows no links: give the directory itself"),
            );
        }
        Ok(meta) if !meta.is_dir() => {
            return say(FindingLevel::Problem, format!("{shown} is not a directory, so the trace cannot go there"));
        }
        _ => {}
    }
    // A missing directory is created in its nearest existing ancestor.
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return say(
            FindingLevel::Problem,
            format!("you cannot write {}: traces go to {shown}. Set LOCKTRACE_DIR, or use -o DIR", there.display()),
        );
    }
    if let Ok(space) = rustix::fs::statvfs(there) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < ROOM {
            let what = format!("{} has {} MiB left: records without space are lost (and counted)", there.display(), free >> 20);
            say(FindingLevel::Warning, what);
        }
    }
    if let Some(kind) = file_system(there.as_os_str().as_bytes()).filter(|kind| is_network(kind)) {
        say(
            FindingLevel::Warning,
            format!("{shown} is on a file system of type {kind}: a local disk or a tmpfs is faster and does not stall"),
        );
    }
    match log_files(dir) {
        Ok(logs) if !logs.is_empty() => found.push(
            Finding::new(
                "trace-directory",
                FindingLevel::Note,
                format!("{shown} holds a trace already: `run` needs another directory, or --add"),
            )
            .typed(format!("locktrace report {}", quote::quoted(dir.as_os_str()))),
        ),
        Ok(_) => say(FindingLevel::Ok, format!("traces go to {shown}")),
        Err(_) => say(FindingLevel::Problem, format!("{shown} cannot be read")),
    }
}
