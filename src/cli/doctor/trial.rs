//! The trial of a way in: the user's interpreter creates a table in a scratch database, and the trace must contain the write lock.
//!
//! A failed trial returns the reason. All files are in a directory that is removed again.
#![forbid(unsafe_code)]

use super::child::ask;
use crate::cli::program::notes::{self, Notes};
use crate::cli::program::reasons;
use crate::trace::Trace;
use shim::event::{Kind, Level};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory for one trial, removed with everything in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Scratch, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("locktrace-doctor-{}-{number}", std::process::id()));
        // Fails if the name exists, so that no directory of somebody else is used.
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => Ok(Scratch(dir)),
            Err(error) => Err(format!("{}: {error}", dir.display())),
        }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.join("doctor.db")
    }

    fn trace(&self) -> PathBuf {
        self.0.join("trace")
    }

    /// Runs a command that creates a table in this directory's database. The error says why its locks were not recorded.
    pub(super) fn records(&self, command: &mut Command) -> Result<(), String> {
        let notes = Notes::new().map_err(|error| format!("cannot make a file for its notes: {error}"))?;
        let said = ask(command.env("LOCKTRACE_DIR", self.trace()).env(notes::VARIABLE, notes.path()))?;
        if !said.success {
            return Err(format!("it failed: {}", said.complaint()));
        }
        let events = Trace::open(&self.trace()).map_err(|_| {
            let complaint = reasons::troubles(&notes.read()).into_iter().next();
            let complaint = complaint.or_else(|| said.err.lines().find(|line| line.contains("locktrace")).map(str::to_owned));
            format!("it ran, but nothing was recorded{}", complaint.map_or_else(String::new, |line| format!(" ({line})")))
        })?;
        let mut events = events.events().map_err(|error| error.to_string())?;
        // RESERVED: only a writer takes it, in the first transaction of every journal mode.
        if events
            .any(|event| event.record.kind == Kind::LOCK && event.record.requested == Level::RESERVED && event.record.rc.is_ok())
        {
            Ok(())
        } else {
            Err("it ran, but its write lock was not recorded".to_owned())
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
