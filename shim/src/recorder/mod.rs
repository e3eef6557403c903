//! The recorder: one log a process, opened at its first event, and never in the application's way.
//!
//! Events come from the VFS as [`Record`](crate::format::record::Record)s, and go as bytes into files that are mapped. The program cannot
//! notice: nothing here takes memory from its heap, sets `errno`, is a cancellation point, waits for a lock, keeps a descriptor or writes to
//! one of the program's. Whatever goes wrong, the caller's result is not touched: an event is lost and counted, and a note says why
//! ([`notice`]). [`config`] lists the environment variables.
//!
//! | file | idea |
//! | --- | --- |
//! | `mod` | the log of this process: none yet, being opened, open |
//! | `state` | what a child of a fork does not inherit |
//! | `log`, `map`, `ring` | records: a ring of slots in a mapped file |
//! | `names`, `files`, `texts`, `threads`, `named` | names for the numbers in them |
//! | `mapped`, `place`, `disk`, `surroundings` | where the files are, and stores that cannot fault |
//! | `line`, `notice`, `failure` | words without a heap |

pub mod config;
pub mod control;
pub(crate) mod disk;
mod failure;
mod files;
#[cfg(test)]
pub(crate) mod heap;
pub mod line;
mod log;
mod lookup;
mod map;
mod mapped;
mod named;
mod names;
pub mod notice;
pub mod observer;
pub(crate) mod outside;
pub mod own;
mod own_thread;
mod place;
mod process;
mod ring;
mod state;
mod surroundings;
pub mod texts;
pub(crate) mod thread;
mod threads;

pub use disk::file_system;
pub use failure::Failure;
pub use files::Library;
pub use log::Log;
pub(crate) use lookup::thread_comm;
pub use lookup::{texts, thread_name};
pub(crate) use mapped::LITTLE_MEMORY;
pub use place::MEMORY as MEMORY_DIR;

use crate::clock;
#[cfg(feature = "preload")]
pub(crate) use config::variable;
use config::{Config, Settings, Unusable};
use rustix::thread::{ClockId, Timespec, clock_nanosleep_relative};
use state::STATE;
pub(crate) use state::pid;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering, fence};

/// How many logs this process and its ancestors opened: the serial number of the newest.
static SERIAL: AtomicU32 = AtomicU32::new(0);
/// What the recorder was told; fixed by the first that tells it, and inherited.
static SETTINGS: AtomicPtr<Settings> = AtomicPtr::new(std::ptr::null_mut());

/// How long a thread waits for another one to open the log before it gives up its event (in nanoseconds).
const OPENING_TAKES: u64 = 250_000_000;
/// A thread has waited so long in vain: nobody waits any more. The log's directory may be on a server that is away.
static GAVE_UP: AtomicBool = AtomicBool::new(false);

const UNOPENED: u8 = 0;
const OPENING: u8 = 1;
const OPEN: u8 = 2;
const FAILED: u8 = 3;
/// Switched off by [`control`]: nothing is recorded, and nothing is counted as lost.
const STOPPED: u8 = 4;

/// Fixes the configuration for the life of this process. Returns what is in force: the first one given.
///
/// A relative directory is resolved against the current one, now. Nothing is created yet: a process that opens no database
/// leaves no file. For a Rust program; [`configure_from_env`] is for the others.
///
/// # Errors
/// The directory's path is too long, or there is no memory.
pub fn configure(config: Config) -> Result<&'static Settings, Unusable> {
    state::own();
    notice::prepare();
    match settings() {
        Some(settings) => Ok(settings),
        None => fix(Settings::from_config(&config)?),
    }
}

/// Does the same with what the environment says, and takes nothing from the heap. Of a program that runs with more rights than who started it
/// the environment is ignored.
///
/// # Errors
/// Which variable cannot be used, and what is expected. Nothing is fixed then.
pub fn configure_from_env() -> Result<&'static Settings, Unusable> {
    state::own();
    notice::prepare();
    match settings() {
        Some(settings) => Ok(settings),
        None => fix(Settings::from_env()?),
    }
}

/// The settings in force: these, if none were given before.
fn fix(ours: Settings) -> Result<&'static Settings, Unusable> {
    let ours = ours.keep().ok_or(config::MEMORY)?;
    let place = std::ptr::from_ref(ours).cast_mut();
    match SETTINGS.compare_exchange(std::ptr::null_mut(), place, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            STATE.told.store(true, Ordering::Relaxed);
            Ok(ours)
        }
        // SAFETY: kept for the life of the process by the thread that published it.
        Err(theirs) => Ok(unsafe { &*theirs }),
    }
}

/// What the recorder was told last.
fn settings() -> Option<&'static Settings> {
    // SAFETY: null, or kept for the life of the process before it was published.
    unsafe { SETTINGS.load(Ordering::Acquire).as_ref() }
}

/// The settings in force; those of the environment where none were given. A variable that cannot be used stops recording.
fn in_force() -> Result<&'static Settings, Unusable> {
    settings().map_or_else(configure_from_env, Ok)
}

/// The program is about to install a filter of system calls: what needs others than SQLite's own is done now, or never.
#[cfg(feature = "preload")]
pub(crate) fn seal() {
    let _errno = Errno::save();
    if let Some(log) = current() {
        log.make_ready();
    }
    surroundings::expect_filter();
}

/// Whether this process has a log.
#[cfg(feature = "preload")]
pub(crate) fn has_log() -> bool {
    current().is_some() || !STATE.paused.load(Ordering::Relaxed).is_null()
}

/// The open log, if there is one. One load.
#[inline(always)]
pub fn current() -> Option<&'static Log> {
    let log = STATE.current.load(Ordering::Acquire);
    // SAFETY: null, or a log that lives for ever and was whole before it was published with Release.
    unsafe { log.as_ref() }
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
    let phase = &STATE.phase;
    if phase.load(Ordering::Relaxed) == STOPPED {
        return None;
    }
    let _errno = Errno::save();
    match phase.compare_exchange(UNOPENED, OPENING, Ordering::Relaxed, Ordering::Relaxed) {
        // The child of a process that was switched off stays off.
        Ok(_) if control::is_off() => {
            phase.store(STOPPED, Ordering::Relaxed);
            return None;
        }
        Ok(_) => {}
        Err(FAILED) if again() => {}
        Err(OPENING) => {
            // Another thread is at it, which takes a millisecond or two, once in the life of a process; on a busy machine it may
            // be put aside meanwhile. A bounded wait: never stand in the way for long.
            let begun = clock::monotonic_ns();
            while phase.load(Ordering::Relaxed) == OPENING && !GAVE_UP.load(Ordering::Relaxed) {
                if clock::monotonic_ns().saturating_sub(begun) > OPENING_TAKES {
                    GAVE_UP.store(true, Ordering::Relaxed);
                }
                pause();
            }
            return current_or_lost();
        }
        Err(STOPPED) => return None,
        Err(_) => {
            return current_or_lost();
        }
    }
    match in_force() {
        Ok(settings) => match create(settings) {
            Ok(log) => {
                log.lose(STATE.lost.swap(0, Ordering::Relaxed));
                publish(log);
                phase.store(OPEN, Ordering::Release);
                // Those that found none until just now: see `current_or_lost`.
                fence(Ordering::SeqCst);
                log.lose(STATE.lost.swap(0, Ordering::Relaxed));
                return Some(log);
            }
            Err(failure) => notice::not_recording(settings.dir, &failure),
        },
        Err(unusable) => notice::once(notice::Kind::Config, format_args!("not recording: {unusable}")),
    }
    phase.store(FAILED, Ordering::Relaxed);
    STATE.lost.fetch_add(1, Ordering::Relaxed);
    None
}

/// Creates a log after these settings.
fn create(settings: &Settings) -> Result<&'static Log, Failure> {
    state::own();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
    // The child of a process that was told: its connections may be in use here.
    let forked = !STATE.told.load(Ordering::Relaxed);
    let create = || Some(Log::create(settings, serial, forked));
    guarded(create).unwrap_or(Err(Failure::new("internal error")))
}

/// Makes it the log of this process.
fn publish(log: &'static Log) {
    let log = std::ptr::from_ref(log).cast_mut();
    STATE.current.store(log, Ordering::Release);
}

/// Lets others run for a moment. A sleep, since that is what SQLite does; as a plain system call it is no cancellation point.
fn pause() {
    let _ = clock_nanosleep_relative(ClockId::Realtime, &Timespec { tv_sec: 0, tv_nsec: 50_000 });
}

/// Whether to try again to open a log that could not be opened: at every 1024th event. The disk was full or descriptors were short
/// for a moment, perhaps, and a server runs for months.
fn again() -> bool {
    static SINCE: AtomicU32 = AtomicU32::new(0);
    SINCE.fetch_add(1, Ordering::Relaxed) % 1024 == 1023
        && STATE.phase.compare_exchange(FAILED, OPENING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// The log, if it is open by now; otherwise the event is counted as lost.
fn current_or_lost() -> Option<&'static Log> {
    let log = current();
    if log.is_none() {
        STATE.lost.fetch_add(1, Ordering::Relaxed);
        // The log may be published between the look above and the count, after its opener has taken over what was counted. The
        // fences see to it that the opener then sees this one, or we see the log; whoever swaps first takes it over.
        fence(Ordering::SeqCst);
        if let Some(log) = current() {
            log.lose(STATE.lost.swap(0, Ordering::Relaxed));
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
