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

/// How long a thread waits for another one to open the log before it gives up its event (in nanoseconds).
const OPENING_TAKES: u64 = 250_000_000;
/// A thread has waited so long in vain: nobody waits any more. The log's directory may be on a server that is away.
static GAVE_UP: AtomicBool = AtomicBool::new(false);

/// Fixes the configuration for the life of this process. Returns what is in force: the first one given.
///
/// A relative directory is resolved against the current one, now. Nothing is created yet: a process that opens no database
/// leaves no file. For a Rust program; [`configure_from_env`] is for the others.
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

/// Does the same with what the environment says, and takes nothing from the heap. Of a program that runs with more rights than who started it
/// the environment is ignored.
///
/// # Errors
/// Which variable cannot be used, and what is expected. Nothing is fixed then.
pub fn configure_from_env() -> Result<&'static Settings, Unusable> {
    process_state::own();
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
            STATE.configured_here.store(true, Ordering::Relaxed);
            Ok(ours)
        }
        // SAFETY: kept for the life of the process by the thread that published it.
        Err(theirs) => Ok(unsafe { &*theirs }),
    }
}

/// The settings in force; those of the environment where none were given. A variable that cannot be used stops recording.
pub(super) fn in_force() -> Result<&'static Settings, Unusable> {
    settings().map_or_else(configure_from_env, Ok)
}

/// The program is about to install a filter of system calls: what needs others than SQLite's own is done now, or never.
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
pub(super) fn create(settings: &Settings) -> Result<&'static Log, Failure> {
    process_state::own();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
    // The child of a process that was told: its connections may be in use here.
    let forked = !STATE.configured_here.load(Ordering::Relaxed);
    let create = || Some(Log::create(settings, serial, forked));
    guarded(create).unwrap_or(Err(Failure::new("internal error")))
}

/// Makes it the log of this process.
pub(super) fn publish(log: &'static Log) {
    let log = std::ptr::from_ref(log).cast_mut();
    STATE.current.store(log, Ordering::Release);
}

/// Lets others run for a moment. A sleep, since that is what SQLite does; as a plain system call it is no cancellation point.
pub(super) fn pause() {
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
