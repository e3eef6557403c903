//! One process's log: the ring and the names that go with it. Records come from any thread, and go into two mapped files.

use super::config::{Settings, SqlPolicy};
use super::failure::Failure;
use super::files::{Files, Library, MAX_FILES};
use super::line::Line;
use super::map::{CHUNK, Map, STEPS, WINDOW, piece};
use super::named::{Named, Outcome};
use super::names::{MAX_BYTES, Names};
use super::notice::{self, Kind};
use super::place::Place;
use super::surroundings::{self, Surroundings};
use super::threads::{self, MAX_THREADS, Threads};
use super::{Errno, observer, process, ring, texts, thread};
use crate::clock;
use crate::format::header::Header;
use crate::format::record::{Record, SIZE};
use crate::format::{NAMES_EXTENSION, RING_EXTENSION};
use crate::memory::{Mapping, keep_c_str};
use crate::sys::{self, Path};
use std::ffi::CStr;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Answers to the question who holds a lock outside this trace, in one log: so many at once, one more each second, and so many in all.
const OUTSIDE_AT_ONCE: u32 = 256;
/// See [`OUTSIDE_AT_ONCE`].
const MAX_OUTSIDE: u32 = 4096;

/// An open log. It lives until the process ends: any thread may be writing to it at any time.
#[derive(Debug)]
pub struct Log {
    map: Map,
    /// Records with a number below this need no thought: their slots are ready, and so are plenty after them.
    guard: AtomicU64,
    /// Numbers below this have slots that are ready.
    ready: AtomicU64,
    /// A thread is making the next chunk ready.
    preparing: AtomicBool,
    /// The last attempt to make a chunk ready failed.
    starved: AtomicBool,
    /// The next time (in ticks) the last anchor is due.
    anchor_due: AtomicU64,
    serial: u32,
    policy: SqlPolicy,
    /// A filter of system calls is in force; see [`Surroundings::sealed`].
    sealed: bool,
    names: Names,
    files: Files,
    threads: Threads,
    /// Something has no name that should have one.
    nameless: AtomicBool,
    /// A thread is naming such things.
    retrying: AtomicBool,
    sql_cap: Named,
    file_cap: Named,
    outside: AtomicU32,
    /// When this log began: nanoseconds of `CLOCK_MONOTONIC`.
    born: u64,
    /// Its ring file, in the trace directory.
    path: &'static CStr,
}

/// Bytes of names that are made ready before the program installs a filter of system calls.
#[cfg(feature = "preload")]
const NAMES_AHEAD: u64 = 1 << 20;

/// How far before the end of what is ready the next chunk is prepared; earlier where little is ready yet.
const AHEAD: u64 = CHUNK / 2;

impl Log {
    /// Creates the two files of this process in the configured directory.
    pub(super) fn create(settings: &Settings, serial: u32, forked: bool) -> Result<&'static Log, Failure> {
        let no_memory = Failure::from(rustix::io::Errno::NOMEM);
        let around = Surroundings::look().ok_or(Surroundings::UNKNOWN)?;
        let first = clock::anchor();
        let pid = super::pid();
        let mut id = Path::new(&[]).ok_or(no_memory)?;
        write!(id, "{pid}-{:016x}", first.real_ns).map_err(|_| no_memory)?;
        let id = std::str::from_utf8(id.as_bytes()).map_err(|_| no_memory)?;
        let (files, threads) = (Files::new()?, Threads::new()?);
        let place = Mapping::new(size_of::<Log>()).ok_or(no_memory)?;
        let at = Place::choose(settings.dir, settings.place, &around)?;
        let path = keep_c_str(at.path(id, RING_EXTENSION)?.as_c_str()).ok_or(no_memory)?;
        let capacity = settings.capacity();
        let bytes = Map::bytes(capacity).ok_or(no_memory)?;
        // What the names get must not take from the ring what it needs.
        let left = around.file_size.min(around.address_space.saturating_sub(bytes as u64 + super::mapped::SPARE));
        let len = (MAX_BYTES.min(left) / 4096 * 4096).max(4096) as usize;
        let names = Names::new(at.create(id, NAMES_EXTENSION, len, &around)?);
        let mut scratch = Mapping::new(process::SCRATCH).ok_or(no_memory);
        let named = scratch.as_mut().map_err(|failure| *failure).and_then(|scratch| {
            let facts = process::read(scratch.bytes());
            names.write("process", &|line| facts.write(line, first.real_ns, forked, settings.sql))
        });
        let header = Header::new(clock::kind(), capacity, pid, boot_id(), first);
        let map = named.and_then(|()| at.create(id, RING_EXTENSION, bytes, &around)).map(|file| Map::new(file, &header));
        let map = match map {
            // The first piece, or nothing is left behind.
            Ok(map) => match map.prepare(0, 0) {
                Ok(()) => Ok(map),
                Err(failure) => {
                    at.discard(map.into_file(), id, RING_EXTENSION);
                    Err(failure)
                }
            },
            Err(failure) => Err(failure),
        };
        let map = match map {
            Ok(map) => map,
            Err(failure) => {
                at.discard(names.into_file(), id, NAMES_EXTENSION);
                return Err(failure);
            }
        };
        let log = Log {
            map,
            guard: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            preparing: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            anchor_due: AtomicU64::new(0),
            serial,
            policy: settings.sql,
            sealed: around.sealed,
            names,
            files,
            threads,
            nameless: AtomicBool::new(false),
            retrying: AtomicBool::new(false),
            sql_cap: Named::new(),
            file_cap: Named::new(),
            outside: AtomicU32::new(0),
            born: clock::monotonic_ns(),
            path,
        };
        log.ready_to(STEPS[0]);
        log.anchor(clock::now());
        let place = place.leak().cast::<Log>();
        // SAFETY: fresh memory, page-aligned and as large as a log, for ever.
        unsafe {
            place.write(log);
            Ok(place.as_ref())
        }
    }

    /// Which of this process's logs it is; numbers of one log mean nothing in another.
    #[inline(always)]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// What this log keeps of SQL.
    #[inline(always)]
    pub fn policy(&self) -> SqlPolicy {
        self.policy
    }

    /// Whether a filter of system calls is in force, so that none may be made that SQLite does not make itself.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed || surroundings::filter_expected()
    }

    /// Makes all of it ready that can be, because later it may not be possible: see [`super::seal`].
    #[cfg(feature = "preload")]
    pub(super) fn make_ready(&self) {
        let last = self.map.capacity().min(WINDOW) - 1;
        if self.ready.load(Ordering::Relaxed) <= last {
            self.prepare(last);
        }
        self.names.make_ready(NAMES_AHEAD);
    }

    /// Writes one record; `tid` is filled in here.
    pub fn write(&'static self, record: &Record) {
        self.put(record.to_words());
    }

    /// Writes one record, given as words; the thread's id is filled in here (it must be 0 in them), and returned.
    ///
    /// One copy of this code for every caller, on purpose: between two records SQLite runs through more code than the innermost
    /// cache holds, so that what is fetched anew costs more than a call.
    #[inline(never)]
    pub fn put(&'static self, mut words: [u64; 7]) -> u32 {
        let tid = match thread::tid(self.serial) {
            Some(tid) => tid,
            None => self.name_thread(),
        };
        words[2] |= u64::from(tid);
        let number = ring::claim(self.map.head());
        if number >= self.guard.load(Ordering::Relaxed) {
            self.put_at_the_edge(number, &words);
            // Lost or not: it happened, and whoever listens hears it.
            observer::tell(self, &words, number);
            return tid;
        }
        // SAFETY: numbers below `guard` are below `ready`, and those have had their chunks prepared. Relaxed is enough: what
        // `prepare` changes is the kernel's page tables, which every core sees, and not memory.
        ring::commit(unsafe { self.map.slot(number) }, &words, number);
        observer::tell(self, &words, number);
        tid
    }

    /// Past the guard: sees to it that the slot, and then the next chunk, is ready.
    ///
    /// One thread prepares ahead while there is still room for the others. A thread that finds no room left prepares its own
    /// chunk, beside any other that does (it is idempotent); and if that fails, for want of disk space, the record is lost and counted, and
    /// only every 1024th one tries again. Where a chunk is made ready by writing zeros, only one thread does, and the others lose theirs.
    #[cold]
    #[inline(never)]
    fn put_at_the_edge(&self, number: u64, words: &[u64; 7]) {
        let _errno = Errno::save();
        let ready = self.ready.load(Ordering::Relaxed);
        if number >= ready {
            // Where the disk is full, what has its space is used again on every lap.
            let has_space = self.has_space(number, ready);
            let untried = self.starved.load(Ordering::Relaxed) && !number.is_multiple_of(1024);
            if (untried || !self.prepare_own(number)) && !has_space {
                self.map.lost_space().fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        // SAFETY: below `ready`, or prepared just now or on an earlier lap.
        ring::commit(unsafe { self.map.slot(number) }, words, number);
        if number < ready && !self.starved.load(Ordering::Relaxed) && !self.preparing.swap(true, Ordering::Acquire) {
            if self.ready.load(Ordering::Relaxed) == ready {
                self.prepare(ready);
            }
            self.preparing.store(false, Ordering::Release);
            self.anchor(clock::now());
        }
        self.retry_names();
    }

    /// Whether the slot of this number was made ready, on this lap or an earlier one.
    fn has_space(&self, number: u64, ready: u64) -> bool {
        number & (self.map.capacity() - 1) < ready
    }

    fn prepare_own(&self, number: u64) -> bool {
        if !self.map.one_at_a_time() {
            return self.prepare(number);
        }
        if self.preparing.swap(true, Ordering::Acquire) {
            return false;
        }
        let done = number < self.ready.load(Ordering::Relaxed) || self.prepare(number);
        self.preparing.store(false, Ordering::Release);
        done
    }

    /// Prepares every piece that is not ready, up to and with that of `number`: what is below `ready` must be ready without gaps.
    /// After a long famine one lap is enough, since it covers every slot; but only the whole of it, so nothing is called ready
    /// before the last chunk is.
    fn prepare(&self, number: u64) -> bool {
        let chunk = number / CHUNK * CHUNK;
        let lap = chunk.saturating_sub(self.map.capacity() - CHUNK);
        let ready = self.ready.load(Ordering::Relaxed);
        let mut next = ready.max(lap);
        while next <= number {
            if let Err(failure) = self.map.prepare(next, ready) {
                self.starved.store(true, Ordering::Relaxed);
                notice::once(Kind::Lost, format_args!("records are being lost: {failure}. Make room in the trace directory"));
                return false;
            }
            next = piece(next).1;
        }
        self.ready_to(next);
        self.starved.store(false, Ordering::Relaxed);
        true
    }

    /// Moves `ready` and `guard` forward.
    fn ready_to(&self, ready: u64) {
        let capacity = self.map.capacity();
        // A ring that stays mapped whole is ready for ever once it has been ready once.
        let for_ever = ready >= capacity && capacity <= WINDOW;
        let (ready, guard) = if for_ever { (u64::MAX, u64::MAX) } else { (ready, ready - AHEAD.min(ready / 2)) };
        self.ready.fetch_max(ready, Ordering::Relaxed);
        self.guard.fetch_max(guard, Ordering::Relaxed);
    }

    /// Rewrites the last anchor, if the time has come: soon after the first, then less and less often.
    pub fn anchor(&self, now: u64) {
        let due = self.anchor_due.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let anchor = clock::anchor();
        // Ticks are a third of a nanosecond to 40 ns long; 2^20 of them are from 0.3 ms to 40 ms.
        let next = anchor.ticks.saturating_add(1 << 20);
        if self.anchor_due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.map.set_last_anchor(anchor);
            self.retry_names();
        }
    }

    /// Record number so-and-so, if the ring holds it whole.
    pub fn record(&self, number: u64) -> Option<Record> {
        if !self.has_space(number, self.ready.load(Ordering::Relaxed)) {
            return None;
        }
        // SAFETY: its chunk has been prepared.
        let slot = unsafe { self.map.slot(number) };
        let mut bytes = [0; SIZE];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(slot) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        Record::decode(&bytes, number).ok()
    }

    #[cold]
    #[inline(never)]
    fn name_thread(&self) -> u32 {
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
                    // Kept aside until there is room.
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

    /// The kept copy of a statement's text of `len` bytes, of which `text` is the beginning; its name is written where the policy says so.
    #[cold]
    #[inline(never)]
    pub fn learn(&self, hash: u64, text: &[u8], len: usize) -> Option<&'static [u8]> {
        let kept = texts::learn(self, hash, text, len);
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

    /// Whether another answer of `/proc/locks` at this time would be kept. Past the cap nobody is asked any more, and one line says so.
    pub(crate) fn has_room_outside(&self, now: u64) -> bool {
        let seconds = u32::try_from(now.saturating_sub(self.born) / 1_000_000_000).unwrap_or(u32::MAX);
        !self.is_sealed() && self.outside.load(Ordering::Relaxed) < OUTSIDE_AT_ONCE.saturating_add(seconds).min(MAX_OUTSIDE)
    }

    /// Keeps what `/proc/locks` answered: `build` fills in the line, and does the same each time it is called.
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

    /// Notes that recording was stopped in this log, or goes on.
    #[cold]
    pub(super) fn name_recording(&self, on: bool) {
        let ticks = clock::now();
        if let Err(failure) = self.names.write("recording", &|line| {
            line.bool("on", on).hex("ticks", ticks);
        }) {
            self.lose_name(failure);
        }
    }

    /// Sees to it that something has its name in this log; `false`: it has none yet.
    pub(super) fn name(&self, thing: &Named, t: &str, build: &dyn Fn(&mut Line<'_>)) -> bool {
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

    /// Something has no name, and will get one when there is room.
    fn miss_name(&self, failure: Failure) {
        self.nameless.store(true, Ordering::Relaxed);
        self.lose_name(failure);
    }

    /// A name could not be written.
    pub(super) fn lose_name(&self, failure: Failure) {
        self.map.lost_names().fetch_add(1, Ordering::Relaxed);
        notice::once(Kind::Lost, format_args!("names are being lost: {failure}. Records keep their numbers"));
    }

    /// Names what has no name yet, if there may be room by now.
    fn retry_names(&self) {
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
        if !(self.files.retry(self) && self.threads.retry(&thread) && texts::retry(self)) {
            self.nameless.store(true, Ordering::Relaxed);
        }
        self.retrying.store(false, Ordering::Release);
    }

    fn cap(&self, once: Option<&Named>, what: &str, limit: u32) {
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
    pub(super) fn cap_sql(&self) {
        self.cap(Some(&self.sql_cap), "sql", texts::MAX_SQL);
    }

    /// Notes that later databases are not named.
    pub(super) fn cap_files(&self) {
        self.cap(Some(&self.file_cap), "file", MAX_FILES as u32);
    }

    /// Its ring file, in the trace directory.
    pub fn path(&self) -> &'static CStr {
        self.path
    }

    /// Copies what its names file holds from this byte on, as much as there is room for; gives the number of bytes. A line that is being written
    /// begins with a NUL, and is there the next time.
    pub fn copy_names(&self, from: u64, into: &mut [u8]) -> usize {
        self.names.copy(from, into)
    }

    /// How many records the ring holds.
    pub fn capacity(&self) -> u64 {
        self.map.capacity()
    }

    /// Records claimed so far.
    pub fn records(&self) -> u64 {
        self.map.head().load(Ordering::Relaxed)
    }

    /// Of those, the ones that were never written.
    pub fn lost_records(&self) -> u64 {
        self.map.lost_space().load(Ordering::Relaxed)
    }

    /// Names that are not written.
    pub fn lost_names(&self) -> u64 {
        self.map.lost_names().load(Ordering::Relaxed)
    }

    /// Nobody records here any more, but for those that are inside just now: gives its memory back.
    pub(super) fn rest(&self) {
        self.map.rest();
        self.names.rest();
    }

    /// Adds to the records that were lost before this log was open.
    pub(super) fn lose(&self, records: u64) {
        if records > 0 {
            self.map.head().fetch_add(records, Ordering::Relaxed);
            self.map.lost_space().fetch_add(records, Ordering::Relaxed);
        }
    }
}

/// The kernel's boot id as 16 bytes; zeros where there is none.
fn boot_id() -> [u8; 16] {
    let (mut id, mut room) = ([0; 16], [0; 64]);
    let text = sys::read_file(c"/proc/sys/kernel/random/boot_id", &mut room).unwrap_or_default();
    let digits = text.iter().filter_map(|&c| (c as char).to_digit(16));
    for (i, digit) in digits.take(32).enumerate() {
        if let Some(byte) = id.get_mut(i / 2) {
            *byte = *byte << 4 | digit as u8;
        }
    }
    id
}
