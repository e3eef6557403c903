//! STAND-IN, to be dropped at the merge: what the recorder will answer without a heap, by way of what answers today.

use super::config::SqlPolicy;
use super::control::{self, Recording};
use super::line::{Fixed, Length, Line, Sink};
use super::{Log, lookup};
use crate::memory;
use std::sync::atomic::{AtomicPtr, Ordering};

struct Known {
    hash: u64,
    text: &'static [u8],
    next: *mut Known,
}

static KNOWN: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut());

/// The text of a statement; `None` where none was kept.
pub fn find(hash: u64) -> Option<&'static [u8]> {
    let head = KNOWN.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: null, or kept for ever and published whole.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.hash == hash {
            return Some(known.text);
        }
        at = known.next;
    }
    let text = memory::keep_bytes(lookup::from_files([hash]).remove(&hash)?.as_bytes())?;
    let fresh = memory::keep(Known { hash, text, next: head })?;
    let _ = KNOWN.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
    Some(text)
}

/// The path of the database with this number in this log.
pub fn database(log: &'static Log, number: u32) -> Option<&'static [u8]> {
    let key = u64::from(number) << 32 | u64::from(log.serial());
    static PATHS: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut());
    let head = PATHS.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: null, or kept for ever and published whole.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.hash == key {
            return Some(known.text);
        }
        at = known.next;
    }
    let text = memory::keep_bytes(&log.database(number)?)?;
    let fresh = memory::keep(Known { hash: key, text, next: head })?;
    let _ = PATHS.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
    Some(text)
}

/// The state of this process's recorder, without a heap.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct State {
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
pub fn state() -> State {
    use super::{FAILED, LOST, OPEN, OPENING, PHASE, STOPPED, UNOPENED, current, in_force};
    use std::os::unix::ffi::OsStrExt;
    let config = in_force();
    let recording = match PHASE.load(Ordering::Relaxed) {
        OPEN => Recording::On,
        OPENING if current().is_some() => Recording::On,
        UNOPENED | OPENING => Recording::Waiting,
        STOPPED => Recording::Off,
        FAILED => Recording::Failed,
        _ => Recording::Failed,
    };
    let log = control::own_log();
    State {
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

/// A whole line on the heap, for the names file of today.
pub fn built(t: &str, fill: impl Fn(&mut Line<'_>)) -> String {
    let build = |out: &mut dyn Sink| {
        let mut line = Line::new(out, t);
        fill(&mut line);
        line.finish();
    };
    let mut length = Length::default();
    build(&mut length);
    let mut memory = vec![0; length.0];
    build(&mut Fixed::new(&mut memory));
    String::from_utf8(memory).unwrap_or_default()
}
