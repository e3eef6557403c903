//! The naming of the numbers in a log. Each name is written once, and tried again where there was no room for it.

use super::Log;
use crate::clock;
use crate::recorder::databases::{Library, MAX_FILES};
use crate::recorder::failure::Failure;
use crate::recorder::line::Line;
use crate::recorder::name_state::{NameState, Outcome};
use crate::recorder::notice::{self, Kind};
use crate::recorder::threads::{self, MAX_THREADS};
use crate::recorder::{sql_texts, thread};
use std::sync::atomic::Ordering;

/// Answers of `/proc/locks` that one log keeps at once. Each second it may keep one more, up to [`MAX_OUTSIDE`] in all.
const OUTSIDE_AT_ONCE: u32 = 256;
/// See [`OUTSIDE_AT_ONCE`].
const MAX_OUTSIDE: u32 = 4096;

impl Log {
    #[cold]
    #[inline(never)]
    pub(super) fn name_thread(&self) -> u32 {
        let mut room = [0; 64];
        let (tid, name) = threads::ask(self.is_sealed(), &mut room);
        thread::set_tid(tid, self.serial);
        match self.threads.count() {
            n if n < MAX_THREADS => {
                let named = self.names.write("thread", &|line| {
                    line.number("tid", tid).text("name", name);
                });
                match named {
                    Ok(()) => {}
                    // Put aside until there is room.
                    Err(failure) if self.threads.put_aside(tid, name) => self.miss_name(failure),
                    Err(failure) => self.lose_name(failure),
                }
            }
            n if n == MAX_THREADS => self.cap(None, "thread", MAX_THREADS),
            _ => {}
        }
        self.retry_names();
        tid
    }

    /// The kept copy of a statement's text of `len` bytes, of which `text` is the beginning; its name is written where the policy allows that.
    #[cold]
    #[inline(never)]
    pub fn learn(&self, hash: u64, text: &[u8], len: usize) -> Option<&'static [u8]> {
        let kept = sql_texts::learn(self, hash, text, len);
        self.retry_names();
        kept
    }

    /// The number of a database in this log; 0 past the cap.
    #[cold]
    #[inline(never)]
    pub fn file(&self, library: &Library, path: &[u8]) -> u32 {
        let number = self.files.number(self, library, path);
        self.retry_names();
        number
    }

    /// The path of the database with this number.
    pub fn database(&self, number: u32) -> Option<&'static [u8]> {
        self.files.path(number)
    }

    /// Device and inode of the database with this number in this log.
    pub(crate) fn identity(&self, file: u32) -> Option<(u64, u64)> {
        self.files.identity(file)
    }

    /// Whether another answer of `/proc/locks` would be kept at this time. One line notes that the cap is reached.
    pub(crate) fn has_room_outside(&self, now: u64) -> bool {
        let seconds = u32::try_from(now.saturating_sub(self.born) / 1_000_000_000).unwrap_or(u32::MAX);
        !self.is_sealed() && self.outside.load(Ordering::Relaxed) < OUTSIDE_AT_ONCE.saturating_add(seconds).min(MAX_OUTSIDE)
    }

    /// Keeps an answer of `/proc/locks`. `build` fills in the line, with the same text each time it is called.
    pub(crate) fn outside(&self, build: &dyn Fn(&mut Line<'_>)) {
        let n = self.outside.fetch_add(1, Ordering::Relaxed) + 1;
        if n > MAX_OUTSIDE {
            return;
        }
        if let Err(failure) = self.names.write("outside", build) {
            self.lose_name(failure);
        }
        if n == MAX_OUTSIDE {
            self.cap(None, "outside", MAX_OUTSIDE);
        }
    }

    /// Notes that recording was stopped in this log, or started again.
    #[cold]
    pub(in crate::recorder) fn name_recording(&self, on: bool) {
        let ticks = clock::now();
        if let Err(failure) = self.names.write("recording", &|line| {
            line.bool("on", on).hex("ticks", ticks);
        }) {
            self.lose_name(failure);
        }
    }

    /// Names something in this log, unless it has its name there. `false`: it has none yet.
    pub(in crate::recorder) fn name(&self, thing: &NameState, t: &str, build: &dyn Fn(&mut Line<'_>)) -> bool {
        match thing.name(self.serial, || self.names.write(t, build)) {
            Outcome::Known => return true,
            Outcome::Recovered => {
                self.map.lost_names().fetch_sub(1, Ordering::Relaxed);
                return true;
            }
            Outcome::Missed(failure) => self.miss_name(failure),
            Outcome::StillMissed(_) => self.nameless.store(true, Ordering::Relaxed),
        }
        false
    }

    /// Notes that something has no name. It gets one when there is room.
    fn miss_name(&self, failure: Failure) {
        self.nameless.store(true, Ordering::Relaxed);
        self.lose_name(failure);
    }

    /// Counts a name that could not be written.
    pub(in crate::recorder) fn lose_name(&self, failure: Failure) {
        self.map.lost_names().fetch_add(1, Ordering::Relaxed);
        notice::once(Kind::Lost, format_args!("names are being lost: {failure}. Records keep their numbers"));
    }

    /// Names everything that has no name yet, if there may be room by now.
    pub(super) fn retry_names(&self) {
        if !self.nameless.load(Ordering::Relaxed) || !self.names.may_retry() || self.retrying.swap(true, Ordering::Acquire) {
            return;
        }
        self.nameless.store(false, Ordering::Relaxed);
        let thread = |tid: u32, name: &[u8]| {
            let named = self
                .names
                .write("thread", &|line| {
                    line.number("tid", tid).text("name", name);
                })
                .is_ok();
            if named {
                self.map.lost_names().fetch_sub(1, Ordering::Relaxed);
            }
            named
        };
        if !(self.files.retry(self) && self.threads.retry(&thread) && sql_texts::retry(self)) {
            self.nameless.store(true, Ordering::Relaxed);
        }
        self.retrying.store(false, Ordering::Release);
    }

    fn cap(&self, once: Option<&NameState>, what: &str, limit: u32) {
        let build = |line: &mut Line<'_>| {
            line.str("what", what).number("limit", limit);
        };
        match once {
            Some(once) => {
                self.name(once, "cap", &build);
            }
            None => {
                if let Err(failure) = self.names.write("cap", &build) {
                    self.lose_name(failure);
                }
            }
        }
    }

    /// Notes that later statements are not named.
    pub(in crate::recorder) fn cap_sql(&self) {
        self.cap(Some(&self.sql_cap), "sql", sql_texts::MAX_SQL);
    }

    /// Notes that later databases are not named.
    pub(in crate::recorder) fn cap_files(&self) {
        self.cap(Some(&self.file_cap), "file", MAX_FILES as u32);
    }
}
