//! The log of this process: none yet, being opened, open.

use super::config::{self, Config, SETTINGS, Settings, Unusable, settings};
use super::failure::Failure;
use super::guard::guarded;
#[cfg(feature = "preload")]
use super::limits;
use super::log::Log;
use super::notice;
use super::process_state::{self, FAILED, OPEN, OPENING, STATE, STOPPED, UNOPENED};
use crate::clock;
use crate::errno::SavedErrno;
use rustix::thread::{ClockId, Timespec, clock_nanosleep_relative};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

/// How many logs this process and its ancestors opened: the serial number of the newest.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// How long a thread waits for another one to open the log before its event is lost (in nanoseconds).
const OPENING_TAKES: u64 = 250_000_000;
/// A thread has waited that long without success: no thread waits any more. The log's directory may be on a server that does not answer.
static GAVE_UP: AtomicBool = AtomicBool::new(false);

/// Fixes the configuration for the life of this process. Returns the one in force, which is the first that was given.
///
/// A relative directory is resolved against the current one, now. Nothing is created yet: a process that opens no database
/// leaves no file. For Rust programs; [`configure_from_env`] is for all others.
///
/// # Errors
/// The directory's path is too long, or there is no memory.
pub fn configure(config: Config) -> Result<&'static Settings, Unusable> {
    process_state::own();
    notice::prepare();
    match settings() {
        Some(settings) => Ok(settings),
        None => fix(Settings::from_config(&config)?),
    }
}

/// Does the same from the environment, without the heap. The environment of a program with more rights than the user who started it is ignored.
///
/// # Errors
/// Which variable cannot be used, and what it may hold. Then nothing is fixed.
pub fn configure_from_env() -> Result<&'static Settings, Unusable> {
    process_state::own();
    notice::prepare();
    match settings() {
        Some(settings) => Ok(settings),
        None => fix(Settings::from_env()?),
    }
}

/// Fixes these settings, if none are fixed. Returns those in force.
fn fix(ours: Settings) -> Result<&'static Settings, Unusable> {
    let ours = ours.keep().ok_or(config::MEMORY)?;
    let place = std::ptr::from_ref(ours).cast_mut();
    match SETTINGS.compare_exchange(std::ptr::null_mut(), place, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            STATE.configured_here.store(true, Ordering::Relaxed);
            Ok(ours)
        }
        // SAFETY: kept for the life of the process by the thread that published it.
        Err(theirs) => Ok(unsafe { &*theirs }),
    }
}

/// The settings in force; those of the environment where none are fixed. With a variable that cannot be used nothing is recorded.
pub(super) fn in_force() -> Result<&'static Settings, Unusable> {
    settings().map_or_else(configure_from_env, Ok)
}

/// The program is about to install a filter of system calls. Everything that needs system calls SQLite does not make is done now.
#[cfg(feature = "preload")]
pub(crate) fn seal() {
    let _errno = SavedErrno::save();
    if let Some(log) = current() {
        log.make_ready();
    }
    limits::expect_filter();
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

/// Recording was switched off by the program. A child inherits it.
pub(super) static OFF: AtomicBool = AtomicBool::new(false);

/// Whether recording was switched off, in this process or the one it was forked from.
pub(super) fn is_off() -> bool {
    OFF.load(Ordering::Relaxed)
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
    let _errno = SavedErrno::save();
    match phase.compare_exchange(UNOPENED, OPENING, Ordering::Relaxed, Ordering::Relaxed) {
        // The child of a process that was switched off stays off.
        Ok(_) if is_off() => {
            phase.store(STOPPED, Ordering::Relaxed);
            return None;
        }
        Ok(_) => {}
        Err(FAILED) if again() => {}
        Err(OPENING) => {
            // Another thread is opening it, once in the life of a process. That takes a millisecond or two, and longer on a busy machine, so the
            // wait is bounded.
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
                // The events of threads that found no log until this moment: see `current_or_lost`.
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
pub(super) fn create(settings: &Settings) -> Result<&'static Log, Failure> {
    process_state::own();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
    // The child of a process that was configured may use that one's connections.
    let forked = !STATE.configured_here.load(Ordering::Relaxed);
    let create = || Some(Log::create(settings, serial, forked));
    guarded(create).unwrap_or(Err(Failure::new("internal error")))
}

/// Publishes it as the log of this process.
pub(super) fn publish(log: &'static Log) {
    let log = std::ptr::from_ref(log).cast_mut();
    STATE.current.store(log, Ordering::Release);
}

/// Sleeps for a moment, as SQLite does. A plain system call is no cancellation point.
pub(super) fn pause() {
    let _ = clock_nanosleep_relative(ClockId::Realtime, &Timespec { tv_sec: 0, tv_nsec: 50_000 });
}

/// Whether to try again to open a log that could not be opened: at every 1024th event. The disk may have been full, or descriptors short,
/// for a moment only, and a server runs for months.
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
        // The log may be published between the load above and the count, after its opener has taken over the count. With the fences, the opener
        // sees this event or this thread sees the log. The first to swap the count takes it over.
        fence(Ordering::SeqCst);
        if let Some(log) = current() {
            log.lose(STATE.lost.swap(0, Ordering::Relaxed));
        }
    }
    log
}
