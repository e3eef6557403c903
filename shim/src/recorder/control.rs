//! Recording switched off and on, another directory, another policy, while the process runs; and what state all that is in.
//!
//! In come the words of `PRAGMA locktrace…`, or a question; out go answers and their reasons in words. Cold: nothing here is on the way
//! of a lock. Another directory or policy is another log, as after a `fork`: what is written in one never depends on the other.

use super::config::{Config, SqlPolicy};
use super::{CONFIG, CURRENT, FAILED, LOST, Log, OPEN, OPENING, PHASE, STOPPED, UNOPENED};
use super::{create, current, disk, in_force, publish};
use std::fmt;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Whether anything is being recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// It is.
    On,
    /// It will be, from the first database on that this process opens.
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

/// The state of this process's recorder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether anything is being recorded.
    pub recording: Recording,
    /// The trace directory.
    pub dir: PathBuf,
    /// The file that the records are in; `None` before there is one.
    pub log: Option<PathBuf>,
    /// Records claimed in that log so far, those that the ring has overwritten since included.
    pub records: u64,
    /// Of those, the ones that could not be written; and events that met no log.
    pub lost: u64,
    /// Names (paths, statements, threads) that could not be written.
    pub lost_names: u64,
    /// Bytes of records kept.
    pub limit: u64,
    /// What is kept of SQL.
    pub sql: SqlPolicy,
}

/// The state of this process's recorder.
pub fn status() -> Status {
    let config = in_force();
    let recording = match PHASE.load(Ordering::Relaxed) {
        OPEN => Recording::On,
        // Another log is being opened; the one of before goes on.
        OPENING if current().is_some() => Recording::On,
        UNOPENED | OPENING => Recording::Waiting,
        STOPPED => Recording::Off,
        _ => Recording::Failed,
    };
    let log = own_log();
    let waiting = LOST.load(Ordering::Relaxed);
    Status {
        recording,
        dir: config.dir.clone(),
        log: log.map(|log| log.path().to_owned()),
        records: log.map_or(0, Log::records),
        lost: log.map_or(0, Log::lost_records) + waiting,
        lost_names: log.map_or(0, Log::lost_names),
        limit: config.limit,
        sql: config.sql,
    }
}

/// STAND-IN, to be dropped at the merge: the state of this process's recorder, without a heap.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
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

/// As it is now.
pub fn brief() -> Brief {
    use std::os::unix::ffi::OsStrExt;
    let config = in_force();
    let recording = match PHASE.load(Ordering::Relaxed) {
        OPEN => Recording::On,
        OPENING if current().is_some() => Recording::On,
        UNOPENED | OPENING => Recording::Waiting,
        STOPPED => Recording::Off,
        _ => Recording::Failed,
    };
    let log = own_log();
    Brief {
        recording,
        dir: config.dir.as_os_str().as_bytes(),
        log: log.map(|log| log.path().as_os_str().as_bytes()),
        records: log.map_or(0, Log::records),
        lost: log.map_or(0, Log::lost_records) + LOST.load(Ordering::Relaxed),
        lost_names: log.map_or(0, Log::lost_names),
        limit: config.limit,
        sql: config.sql,
    }
}

/// The log of this process, stopped or not.
pub(crate) fn own_log() -> Option<&'static Log> {
    // SAFETY: null, or a log that was leaked before it was published.
    current().or_else(|| unsafe { PAUSED.load(Ordering::Acquire).as_ref() })
}

/// The log that recording was stopped in.
static PAUSED: AtomicPtr<Log> = AtomicPtr::new(ptr::null_mut());

/// In the child of a `fork`: atomic stores only.
pub(super) fn forget_parents_log() {
    PAUSED.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Stops recording. Nothing is lost by it that was not meant to be: the log says when it was stopped.
pub fn stop() -> Result<(), Busy> {
    loop {
        match settled()? {
            STOPPED => return Ok(()),
            phase => {
                if PHASE.compare_exchange(phase, STOPPED, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    continue;
                }
                if let Some(log) = current() {
                    log.name_recording(false);
                    PAUSED.store(ptr::from_ref(log).cast_mut(), Ordering::Release);
                    CURRENT.store(ptr::null_mut(), Ordering::Release);
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
        if PHASE.compare_exchange(STOPPED, OPENING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        // SAFETY: null, or a log that was leaked before it was published.
        let paused = unsafe { PAUSED.swap(ptr::null_mut(), Ordering::AcqRel).as_ref() };
        match paused {
            Some(log) => {
                log.name_recording(true);
                // What happened meanwhile nobody knows: a release and another acquisition, say. Two numbers that no record has tell a
                // reader that the locks of before are not certain any more.
                log.lose(2);
                CURRENT.store(ptr::from_ref(log).cast_mut(), Ordering::Release);
                PHASE.store(OPEN, Ordering::Release);
            }
            None => PHASE.store(UNOPENED, Ordering::Release),
        }
    }
    Ok(())
}

/// The configuration was changed, or is being changed, by another thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another thread is opening the log; try again")
    }
}

/// The phase, once nobody is opening a log. A bounded wait.
fn settled() -> Result<u8, Busy> {
    let begun = std::time::Instant::now();
    loop {
        match PHASE.load(Ordering::Acquire) {
            OPENING if begun.elapsed() > std::time::Duration::from_secs(1) => return Err(Busy),
            OPENING => std::thread::yield_now(),
            phase => return Ok(phase),
        }
    }
}

/// How many logs one process may have this way: each leaves its address space and two files behind.
const MOST_LOGS: u32 = 64;

/// Records after this configuration from now on, in a new log if there was one. The one of before goes on where that fails.
///
/// # Errors
/// Why not, in words.
pub fn change(config: Config) -> Result<(), String> {
    static CHANGES: AtomicU32 = AtomicU32::new(0);
    let dir = std::path::absolute(&config.dir).map_err(|error| format!("{}: {error}", config.dir.display()))?;
    let config = Config { dir, ..config };
    if config == *in_force() {
        return Ok(());
    }
    let phase = loop {
        let phase = settled().map_err(|busy| busy.to_string())?;
        if PHASE.compare_exchange(phase, OPENING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            break phase;
        }
    };
    let named = |error: &dyn fmt::Display| format!("{}: {error}", config.dir.display());
    let changed = if CHANGES.load(Ordering::Relaxed) >= MOST_LOGS {
        Err(format!("this process has changed its log {MOST_LOGS} times, and may not any more"))
    } else if phase == OPEN {
        create(&config).map(Some).map_err(|error| named(&error))
    } else {
        disk::make_dir(&config.dir).map(|()| None).map_err(|error| named(&error))
    };
    let log = match changed {
        Ok(log) => log,
        Err(error) => {
            PHASE.store(phase, Ordering::Release);
            return Err(error);
        }
    };
    CHANGES.fetch_add(1, Ordering::Relaxed);
    CONFIG.store(Box::into_raw(Box::new(config)), Ordering::Release);
    PAUSED.store(ptr::null_mut(), Ordering::Release);
    let before = current();
    if let Some(log) = log {
        publish(log);
    }
    PHASE.store(if phase == FAILED { UNOPENED } else { phase }, Ordering::Release);
    if let Some(before) = before {
        before.name_recording(false);
        before.rest();
    }
    Ok(())
}

/// What a `PRAGMA` of this name and value answers: `None` where it is none of ours.
///
/// | | |
/// | --- | --- |
/// | `locktrace` | one line that says what state the recorder is in |
/// | `locktrace = on`, `off` | switches recording |
/// | `locktrace_dir`, `locktrace_dir = '…'` | the trace directory |
/// | `locktrace_sql`, `locktrace_sql = text`, `hash`, `off` | what is kept of SQL |
pub fn pragma(name: &[u8], value: Option<&[u8]>) -> Option<Result<String, String>> {
    let name = name.to_ascii_lowercase();
    let value = value.map(String::from_utf8_lossy);
    let word = value.as_deref().map(str::to_ascii_lowercase);
    Some(match (name.as_slice(), word.as_deref()) {
        (b"locktrace", None) => Ok(status().to_string()),
        (b"locktrace", Some("on" | "1" | "true" | "yes")) => {
            start().map(|()| status().to_string()).map_err(|busy| busy.to_string())
        }
        (b"locktrace", Some("off" | "0" | "false" | "no")) => {
            stop().map(|()| status().to_string()).map_err(|busy| busy.to_string())
        }
        (b"locktrace", Some(_)) => Err(unknown("locktrace", &value, "on or off")),
        (b"locktrace_dir", None) => Ok(in_force().dir.display().to_string()),
        (b"locktrace_dir", Some("")) => Err("locktrace_dir is empty; expected a directory".to_owned()),
        (b"locktrace_dir", Some(_)) => {
            let dir = PathBuf::from(value.as_deref().unwrap_or_default());
            change(Config { dir, ..in_force().clone() }).map(|()| in_force().dir.display().to_string())
        }
        (b"locktrace_sql", None) => Ok(in_force().sql.name().to_owned()),
        (b"locktrace_sql", Some(policy)) => match SqlPolicy::from_name(policy) {
            Some(sql) => change(Config { sql, ..in_force().clone() }).map(|()| in_force().sql.name().to_owned()),
            None => Err(unknown("locktrace_sql", &value, "text, hash or off")),
        },
        _ => return None,
    })
}

fn unknown(name: &str, value: &Option<std::borrow::Cow<'_, str>>, expected: &str) -> String {
    format!("{name} = {:?}; expected {expected}", value.as_deref().unwrap_or_default())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recording {}, {} records, {} lost", self.recording.name(), self.records, self.lost)?;
        if self.lost_names > 0 {
            write!(f, ", {} names lost", self.lost_names)?;
        }
        write!(f, ", SQL {}, limit {} bytes, {}", self.sql.name(), self.limit, self.dir.display())
    }
}
