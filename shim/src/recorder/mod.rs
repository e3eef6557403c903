//! The recorder: one log a process, opened at its first event, and never in the application's way.
//!
//! In come [`Record`](crate::format::record::Record)s from the VFS; out come bytes in the trace directory. Whatever goes wrong in
//! here, the caller's result is not touched: an event is lost and counted, and one line on stderr says so. [`config`] lists the
//! environment variables.

pub mod config;
pub mod control;
pub(crate) mod disk;
#[cfg(test)]
pub(crate) mod heap;
mod json;
pub mod line;
mod log;
mod lookup;
mod map;
mod names;
pub(crate) mod notice;
pub mod observer;
pub(crate) mod outside;
pub mod own;
mod process;
mod ring;
mod seen;
pub(crate) mod texts;
pub(crate) mod thread;

pub use disk::file_system;
pub use log::Log;
pub(crate) use lookup::thread_comm;
pub use lookup::{texts, thread_name};
pub use names::{Library, MAX_BYTES as MAX_NAMES_BYTES};

use config::Config;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// The open log of this process, or null.
static CURRENT: AtomicPtr<Log> = AtomicPtr::new(std::ptr::null_mut());
/// The newest log of this process or, as long as it has none, of the one it was forked from; or null.
static NEWEST: AtomicPtr<Log> = AtomicPtr::new(std::ptr::null_mut());
/// Where this process is on its way to a log.
static PHASE: AtomicU8 = AtomicU8::new(UNOPENED);
/// How many logs this process and its ancestors opened: the serial number of the newest.
static SERIAL: AtomicU32 = AtomicU32::new(0);
/// Events that found no log to go to.
static LOST: AtomicU64 = AtomicU64::new(0);
/// This process is the forked child of a traced one.
static FORKED: AtomicBool = AtomicBool::new(false);
/// What the recorder was told; fixed by the first that tells it.
///
/// A pointer and no `OnceLock`: the child of a fork in the middle of that one's initialisation would wait in it for ever.
static CONFIG: AtomicPtr<Config> = AtomicPtr::new(std::ptr::null_mut());

/// How long a thread waits for another one to open the log before it gives up its event.
const OPENING_TAKES: std::time::Duration = std::time::Duration::from_millis(50);

const UNOPENED: u8 = 0;
const OPENING: u8 = 1;
const OPEN: u8 = 2;
const FAILED: u8 = 3;
/// Switched off by [`control`]: nothing is recorded, and nothing is counted as lost.
const STOPPED: u8 = 4;

/// Fixes the configuration for the life of this process. Returns what is in force: the first one given.
///
/// A relative directory is resolved against the current one, now. Nothing is created yet: a process that opens no database
/// leaves no file.
pub fn configure(mut config: Config) -> &'static Config {
    if let Ok(absolute) = std::path::absolute(&config.dir) {
        config.dir = absolute;
    }
    let in_force = fix(config);
    static HANDLED: AtomicBool = AtomicBool::new(false);
    if !HANDLED.load(Ordering::Acquire) {
        // Two threads may both do this: doing the handler's work twice changes nothing.
        // SAFETY: the handler is a function of this library, which stays loaded (SQLITE_OK_LOAD_PERMANENTLY, or linked in).
        unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
        HANDLED.store(true, Ordering::Release);
    }
    in_force
}

/// The configuration in force: this one, if none was given before.
fn fix(config: Config) -> &'static Config {
    let ours = Box::into_raw(Box::new(config));
    let theirs = match CONFIG.compare_exchange(std::ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: leaked just now.
        Ok(_) => return unsafe { &*ours },
        Err(theirs) => theirs,
    };
    // SAFETY: made by `into_raw` above, and nobody else has seen it.
    drop(unsafe { Box::from_raw(ours) });
    // SAFETY: leaked by the thread that published it.
    unsafe { &*theirs }
}

/// In the child of a `fork`: forget the parent's log. Only atomic stores: the child may be one thread of many gone, in a process
/// where any lock may be held for ever. The parent's mapping stays in the child's address space, unused.
extern "C" fn after_fork_in_child() {
    CURRENT.store(std::ptr::null_mut(), Ordering::Relaxed);
    control::forget_parents_log();
    if !matches!(PHASE.load(Ordering::Relaxed), FAILED | STOPPED) {
        PHASE.store(UNOPENED, Ordering::Relaxed);
    }
    LOST.store(0, Ordering::Relaxed);
    FORKED.store(true, Ordering::Relaxed);
    observer::forget();
    // The one thread that lives on has a new number.
    thread::set_tid(0, 0);
}

/// The open log, if there is one. One load.
#[inline(always)]
pub fn current() -> Option<&'static Log> {
    let log = CURRENT.load(Ordering::Acquire);
    // SAFETY: null, or a log that was leaked before it was published with Release.
    unsafe { log.as_ref() }
}

/// Every log this process has or had, the newest first, and behind them those of the process it was forked from.
fn logs() -> impl Iterator<Item = &'static Log> {
    // SAFETY: null, or a log that was leaked before it was published with Release.
    let newest = unsafe { NEWEST.load(Ordering::Acquire).as_ref() };
    std::iter::successors(newest, |log| log.previous())
}

/// The log, opening it if this process has none yet. `None`: recording failed, and the event was counted as lost.
#[inline(always)]
pub fn get() -> Option<&'static Log> {
    match current() {
        Some(log) => Some(log),
        None => open(),
    }
}

#[cold]
#[inline(never)]
fn open() -> Option<&'static Log> {
    if PHASE.load(Ordering::Relaxed) == STOPPED {
        return None;
    }
    let _errno = Errno::save();
    match PHASE.compare_exchange(UNOPENED, OPENING, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(FAILED) if again() => {}
        Err(OPENING) => {
            // Another thread is at it, which takes a millisecond or two, once in the life of a process; on a busy machine it may
            // be put aside meanwhile. A bounded wait: never stand in the way for long.
            let begun = std::time::Instant::now();
            while PHASE.load(Ordering::Relaxed) == OPENING && begun.elapsed() < OPENING_TAKES {
                std::thread::yield_now();
            }
            return current_or_lost();
        }
        Err(STOPPED) => return None,
        Err(_) => {
            return current_or_lost();
        }
    }
    let config = in_force();
    match create(config) {
        Ok(log) => {
            log.lose(LOST.swap(0, Ordering::Relaxed));
            publish(log);
            PHASE.store(OPEN, Ordering::Release);
            // Those that found none until just now: see `current_or_lost`.
            fence(Ordering::SeqCst);
            log.lose(LOST.swap(0, Ordering::Relaxed));
            Some(log)
        }
        Err(reason) => {
            PHASE.store(FAILED, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
            notice::once(format_args!(
                "not recording: {}: {reason}. The application runs on untraced until that has changed; set LOCKTRACE_DIR to a directory this process can write",
                config.dir.display()
            ));
            None
        }
    }
}

/// What the recorder was told last.
fn in_force() -> &'static Config {
    // SAFETY: null, or leaked before it was published.
    unsafe { CONFIG.load(Ordering::Acquire).as_ref() }.unwrap_or_else(|| fix(Config::default()))
}

/// Creates a log after this configuration.
fn create(config: &Config) -> Result<&'static Log, String> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
    match std::panic::catch_unwind(|| Log::create(config, serial, FORKED.load(Ordering::Relaxed), logs().next())) {
        Ok(Ok(log)) => Ok(Box::leak(Box::new(log))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("internal error".to_owned()),
    }
}

/// Makes it the log of this process.
fn publish(log: &'static Log) {
    let log = std::ptr::from_ref(log).cast_mut();
    NEWEST.store(log, Ordering::Release);
    CURRENT.store(log, Ordering::Release);
}

/// Whether to try again to open a log that could not be opened: at every 1024th event. The disk was full or descriptors were short
/// for a moment, perhaps, and a server runs for months.
fn again() -> bool {
    static SINCE: AtomicU32 = AtomicU32::new(0);
    SINCE.fetch_add(1, Ordering::Relaxed) % 1024 == 1023
        && PHASE.compare_exchange(FAILED, OPENING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// The log, if it is open by now; otherwise the event is counted as lost.
fn current_or_lost() -> Option<&'static Log> {
    let log = current();
    if log.is_none() {
        LOST.fetch_add(1, Ordering::Relaxed);
        // The log may be published between the look above and the count, after its opener has taken over what was counted. The
        // fences see to it that the opener then sees this one, or we see the log; whoever swaps first takes it over.
        fence(Ordering::SeqCst);
        if let Some(log) = current() {
            log.lose(LOST.swap(0, Ordering::Relaxed));
        }
    }
    log
}

/// Runs what may panic for a reason nobody thought of, on a cold path, so that it cannot unwind into SQLite's C.
pub(crate) fn guarded<R: Default>(f: impl FnOnce() -> R) -> R {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_default()
}

/// Puts `errno` back: SQLite's unix VFS reads it after its own calls have returned (`xGetLastError`, `sqlite3_system_errno`).
pub(crate) struct Errno(pub(crate) libc::c_int);

impl Errno {
    /// Remembers `errno` until dropped.
    pub(crate) fn save() -> Errno {
        // SAFETY: the location is this thread's own and always valid.
        Errno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: as in `save`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

pub fn configure_from_env() {
    if let Ok(config) = Config::from_env() {
        configure(config);
    }
}

pub fn has_recorded() -> bool {
    !NEWEST.load(Ordering::Relaxed).is_null()
}
