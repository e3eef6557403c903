//! The control of the recorder while the process runs: on and off, another directory, another policy; and its state.
//!
//! Answers `PRAGMA locktrace…`. Cold: no lock call comes here. Another directory or policy means another log, as after a
//! `fork`, and no log depends on another one.

use super::config::{self, SETTINGS, Settings, SqlPolicy, Unusable};
use super::failure::Failure;
use super::lifecycle::{OFF, create, current, in_force, is_off, pause, publish};
use super::line::Sink;
use super::log::Log;
use super::notice::Shown;
use super::process_state::{FAILED, OPEN, OPENING, STATE, STOPPED, UNOPENED};
use super::{filesystem, limits};
use crate::clock;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether anything is being recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// It is.
    On,
    /// It will be, once this process opens a database.
    Waiting,
    /// It was switched off.
    Off,
    /// The log could not be opened.
    Failed,
}

impl Recording {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Recording::On => "on",
            Recording::Waiting => "waiting",
            Recording::Off => "off",
            Recording::Failed => "failed",
        }
    }
}

/// The state of this process's recorder, on the heap: for a Rust program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether anything is being recorded.
    pub recording: Recording,
    /// The trace directory.
    pub dir: PathBuf,
    /// The file that the records are in; `None` before there is one.
    pub log: Option<PathBuf>,
    /// Records claimed in that log so far, including those that the ring has overwritten since.
    pub records: u64,
    /// Those of them that could not be written, and events that found no log.
    pub lost: u64,
    /// Names (paths, statements, threads) that are not written.
    pub lost_names: u64,
    /// Bytes of records kept.
    pub limit: u64,
    /// How much of SQL is kept.
    pub sql: SqlPolicy,
}

/// The same without a heap.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // see `Status`
pub struct Brief {
    pub recording: Recording,
    pub dir: &'static [u8],
    pub log: Option<&'static [u8]>,
    pub records: u64,
    pub lost: u64,
    pub lost_names: u64,
    pub limit: u64,
    pub sql: SqlPolicy,
}

/// The state of this process's recorder.
pub fn brief() -> Brief {
    let settings = in_force();
    let recording = match STATE.phase.load(Ordering::Relaxed) {
        OPEN => Recording::On,
        // Another log is being opened. The former one is still in use.
        OPENING if current().is_some() => Recording::On,
        UNOPENED if is_off() => Recording::Off,
        UNOPENED | OPENING => Recording::Waiting,
        STOPPED => Recording::Off,
        _ => Recording::Failed,
    };
    let log = process_log();
    Brief {
        recording,
        dir: settings.map_or(&[], |settings| settings.dir),
        log: log.map(|log| log.path().to_bytes()),
        records: log.map_or(0, Log::records),
        lost: log.map_or(0, Log::lost_records) + STATE.lost.load(Ordering::Relaxed),
        lost_names: log.map_or(0, Log::lost_names),
        limit: settings.map_or(config::DEFAULT_LIMIT, |settings| settings.limit),
        sql: settings.map_or(SqlPolicy::default(), |settings| settings.sql),
    }
}

/// The state of this process's recorder, for a Rust program.
pub fn status() -> Status {
    let Brief { recording, dir, log, records, lost, lost_names, limit, sql } = brief();
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    Status { recording, dir: path(dir), log: log.map(path), records, lost, lost_names, limit, sql }
}

/// The log of this process, stopped or not.
pub(crate) fn process_log() -> Option<&'static Log> {
    // SAFETY: null, or a log that lives for ever and was whole before it was published.
    current().or_else(|| unsafe { STATE.paused.load(Ordering::Acquire).as_ref() })
}

/// Stops recording. The log shows when, and counts nothing as lost from then on.
pub fn stop() -> Result<(), Busy> {
    loop {
        match settled()? {
            STOPPED => return Ok(()),
            phase => {
                if STATE.phase.compare_exchange(phase, STOPPED, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    continue;
                }
                OFF.store(true, Ordering::Relaxed);
                if let Some(log) = current() {
                    log.name_recording(false);
                    STATE.paused.store(ptr::from_ref(log).cast_mut(), Ordering::Release);
                    STATE.current.store(ptr::null_mut(), Ordering::Release);
                }
                return Ok(());
            }
        }
    }
}

/// Starts recording again, in the log it was stopped in.
pub fn start() -> Result<(), Busy> {
    // One thread starts; another that wants to finds it OPENING.
    while settled()? == STOPPED {
        if STATE.phase.compare_exchange(STOPPED, OPENING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        OFF.store(false, Ordering::Relaxed);
        // SAFETY: null, or a log that lives for ever and was whole before it was published.
        let paused = unsafe { STATE.paused.swap(ptr::null_mut(), Ordering::AcqRel).as_ref() };
        match paused {
            Some(log) => {
                log.name_recording(true);
                // Locks may have been released and taken again meanwhile. Two numbers without a record show a reader that the locks from before are
                // not certain any more.
                log.lose(2);
                STATE.current.store(ptr::from_ref(log).cast_mut(), Ordering::Release);
                STATE.phase.store(OPEN, Ordering::Release);
            }
            None => STATE.phase.store(UNOPENED, Ordering::Release),
        }
    }
    // Switched off before the fork, in a process that has not looked for its log yet.
    OFF.store(false, Ordering::Relaxed);
    Ok(())
}

/// Another thread is changing the configuration, or opening the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another thread is opening the log; try again")
    }
}

/// The phase, once no thread is opening a log. A bounded wait.
fn settled() -> Result<u8, Busy> {
    let begun = clock::monotonic_ns();
    loop {
        match STATE.phase.load(Ordering::Acquire) {
            OPENING if clock::monotonic_ns().saturating_sub(begun) > 1_000_000_000 => return Err(Busy),
            OPENING => pause(),
            // The child of a process that was switched off.
            UNOPENED if is_off() => {
                let _ = STATE.phase.compare_exchange(UNOPENED, STOPPED, Ordering::AcqRel, Ordering::Relaxed);
            }
            phase => return Ok(phase),
        }
    }
}

/// How many logs one process may have this way: each keeps its address space and leaves two files.
const MOST_LOGS: u32 = 64;

/// Why the settings could not be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unchanged {
    /// Another thread is changing them.
    Busy(Busy),
    /// These settings cannot be used.
    Unusable(Unusable),
    /// A log could not be made in this directory.
    Failed(&'static [u8], Failure),
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unchanged::Busy(busy) => busy.fmt(f),
            Unchanged::Unusable(unusable) => unusable.fmt(f),
            Unchanged::Failed(dir, failure) => write!(f, "{}: {failure}", Shown(dir)),
        }
    }
}

/// Uses these settings from now on, in a new log if there was one. Where that fails, the former log stays in use.
fn change(settings: Settings) -> Result<(), Unchanged> {
    static CHANGES: AtomicU32 = AtomicU32::new(0);
    if in_force() == Ok(&settings) {
        return Ok(());
    }
    let phase = loop {
        let phase = settled().map_err(Unchanged::Busy)?;
        if STATE.phase.compare_exchange(phase, OPENING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            break phase;
        }
    };
    let failed = |failure| Unchanged::Failed(settings.dir, failure);
    let kept = settings.keep().ok_or(Unchanged::Unusable(config::MEMORY));
    let changed = kept.and_then(|kept| {
        if CHANGES.load(Ordering::Relaxed) >= MOST_LOGS {
            return Err(failed(Failure::new("this process has changed its log 64 times, and may not any more")));
        }
        let log = match phase {
            OPEN => Some(create(kept).map_err(failed)?),
            _ => filesystem::make_dir(kept.dir, limits::sealed()).map(|()| None).map_err(failed)?,
        };
        Ok((kept, log))
    });
    let (kept, log) = match changed {
        Ok(changed) => changed,
        Err(why) => {
            STATE.phase.store(phase, Ordering::Release);
            return Err(why);
        }
    };
    CHANGES.fetch_add(1, Ordering::Relaxed);
    SETTINGS.store(ptr::from_ref(kept).cast_mut(), Ordering::Release);
    STATE.paused.store(ptr::null_mut(), Ordering::Release);
    let before = current();
    if let Some(log) = log {
        publish(log);
    }
    STATE.phase.store(if phase == FAILED { UNOPENED } else { phase }, Ordering::Release);
    if let Some(before) = before {
        before.name_recording(false);
        before.rest();
    }
    Ok(())
}

/// Answers a `PRAGMA` of this name and value. `None`: it is none of ours. Otherwise whether it succeeded; the answer or the error is written to
/// `out`.
///
/// | | |
/// | --- | --- |
/// | `locktrace` | one line with the state of the recorder |
/// | `locktrace = on`, `off` | switches recording |
/// | `locktrace_dir` | the trace directory |
/// | `locktrace_dir = '…'` | another directory, which is made if it is missing; only under `LOCKTRACE_PRAGMA_DIR=1` |
/// | `locktrace_sql`, `locktrace_sql = text`, `hash`, `off` | how much of SQL is kept |
pub fn pragma(name: &[u8], value: Option<&[u8]>, out: &mut dyn Sink) -> Option<bool> {
    let is = |own: &[u8]| name.eq_ignore_ascii_case(own);
    let answer = if is(b"locktrace") {
        switch(value, out)
    } else if is(b"locktrace_dir") {
        directory(value, out)
    } else if is(b"locktrace_sql") {
        policy(value, out)
    } else {
        return None;
    };
    if let Err(why) = answer {
        say(out, format_args!("{why}"));
        return Some(false);
    }
    Some(true)
}

/// Why a pragma fails.
enum Wrong<'a> {
    Unknown { name: &'static str, value: &'a [u8], expected: &'static str },
    Words(&'static str),
    Busy(Busy),
    Unchanged(Unchanged),
    Unusable(Unusable),
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unknown { name, value, expected } => match std::str::from_utf8(value) {
                Ok(value) => write!(f, "{name} = {value:?}; expected {expected}"),
                Err(_) => write!(f, "{name} = \"{}\"; expected {expected}", value.escape_ascii()),
            },
            Wrong::Words(words) => f.write_str(words),
            Wrong::Busy(busy) => busy.fmt(f),
            Wrong::Unchanged(unchanged) => unchanged.fmt(f),
            Wrong::Unusable(unusable) => unusable.fmt(f),
        }
    }
}

fn say(out: &mut dyn Sink, words: fmt::Arguments<'_>) {
    struct Text<'a>(&'a mut dyn Sink);
    impl fmt::Write for Text<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.put(text.as_bytes());
            Ok(())
        }
    }
    let _ = Text(out).write_fmt(words);
}

fn switch<'a>(value: Option<&'a [u8]>, out: &mut dyn Sink) -> Result<(), Wrong<'a>> {
    if let Some(value) = value {
        let is = |words: [&str; 4]| words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
        let switched = match () {
            () if is(["on", "1", "true", "yes"]) => start(),
            () if is(["off", "0", "false", "no"]) => stop(),
            () => return Err(Wrong::Unknown { name: "locktrace", value, expected: "on or off" }),
        };
        switched.map_err(Wrong::Busy)?;
    }
    say(out, format_args!("{}", brief()));
    Ok(())
}

fn directory<'a>(value: Option<&'a [u8]>, out: &mut dyn Sink) -> Result<(), Wrong<'a>> {
    let settings = in_force().map_err(Wrong::Unusable)?;
    if let Some(value) = value {
        if value.is_empty() {
            return Err(Wrong::Words("locktrace_dir is empty; expected a directory"));
        }
        if !settings.pragma_dir {
            return Err(Wrong::Words(
                "locktrace_dir cannot be set by a statement here: the program was not started with LOCKTRACE_PRAGMA_DIR=1",
            ));
        }
        let dir = config::absolute(value).map_err(Wrong::Unusable)?;
        change(Settings { dir, ..*settings }).map_err(Wrong::Unchanged)?;
    }
    out.put(in_force().map_err(Wrong::Unusable)?.dir);
    Ok(())
}

fn policy<'a>(value: Option<&'a [u8]>, out: &mut dyn Sink) -> Result<(), Wrong<'a>> {
    let settings = in_force().map_err(Wrong::Unusable)?;
    if let Some(value) = value {
        let all = [SqlPolicy::Text, SqlPolicy::Hash, SqlPolicy::Off];
        let named = all.into_iter().find(|policy| value.eq_ignore_ascii_case(policy.name().as_bytes()));
        let sql = named.ok_or(Wrong::Unknown { name: "locktrace_sql", value, expected: "text, hash or off" })?;
        change(Settings { sql, ..*settings }).map_err(Wrong::Unchanged)?;
    }
    out.put(in_force().map_err(Wrong::Unusable)?.sql.name().as_bytes());
    Ok(())
}

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recording {}, {} records, {} lost", self.recording.name(), self.records, self.lost)?;
        if self.lost_names > 0 {
            write!(f, ", {} names lost", self.lost_names)?;
        }
        write!(f, ", SQL {}, limit {} bytes, {}", self.sql.name(), self.limit, Shown(self.dir))
    }
}
