//! One process's log: a ring of records and the names of their numbers, in two mapped files. Any thread writes to it.

mod naming;

use super::config::{Settings, SqlPolicy};
use super::databases::Databases;
use super::failure::Failure;
use super::limits::{self, Limits};
use super::location::Location;
use super::mapped_file::LITTLE_MEMORY;
use super::name_state::NameState;
use super::names_file::{MAX_BYTES, NamesFile};
use super::notice::{self, Kind};
use super::ring_file::{CHUNK, RingFile, STEPS, WINDOW, piece};
use super::threads::Threads;
use super::{observer, process, ring, thread};
use crate::clock;
use crate::errno::SavedErrno;
use crate::format::header::Header;
use crate::format::record::{Record, SIZE};
use crate::format::{NAMES_EXTENSION, RING_EXTENSION};
use crate::memory::{self, Mapping, SPARE, keep_c_str};
use crate::sys;
use std::ffi::CStr;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// An open log. It lives until the process ends: any thread may be writing to it at any time.
#[derive(Debug)]
pub struct Log {
    map: RingFile,
    /// Numbers below this have slots that are ready, and enough ready ones after them.
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
    /// A filter of system calls is in force; see [`Limits::sealed`].
    sealed: bool,
    names: NamesFile,
    files: Databases,
    threads: Threads,
    /// Something that should have a name has none.
    nameless: AtomicBool,
    /// A thread is naming such things now.
    retrying: AtomicBool,
    sql_cap: NameState,
    file_cap: NameState,
    outside: AtomicU32,
    /// When this log began: nanoseconds of `CLOCK_MONOTONIC`.
    born: u64,
    /// Its ring file, in the trace directory.
    path: &'static CStr,
}

/// Bytes of names that are made ready before the program installs a filter of system calls.
#[cfg(feature = "preload")]
const NAMES_AHEAD: u64 = 1 << 20;

/// The next chunk is prepared this many records before the end of the ready ones; earlier where few are ready yet.
const AHEAD: u64 = CHUNK / 2;

const NO_MEMORY: Failure = Failure::of("", rustix::io::Errno::NOMEM);

/// Writes the first line of names, which describes this process.
#[inline(never)]
fn name_process(names: &NamesFile, started_ns: u64, forked: bool, policy: SqlPolicy) -> Result<(), Failure> {
    let mut scratch = Mapping::new(process::SCRATCH).ok_or(NO_MEMORY)?;
    let facts = process::read(scratch.bytes());
    names.write("process", &|line| facts.write(line, started_ns, forked, policy))
}

impl Log {
    /// Creates the two files of this process in the configured directory.
    ///
    /// Its steps are not inlined into each other: a thread's stack may be small, and SQLite has used some of it.
    pub(super) fn create(settings: &Settings, serial: u32, forked: bool) -> Result<&'static Log, Failure> {
        let limits = Limits::look().ok_or(Limits::UNKNOWN)?;
        if limits.memory < SPARE {
            return Err(LITTLE_MEMORY);
        }
        let first = clock::anchor();
        let mut id = [0; 40];
        write!(&mut id[..], "{}-{:016x}", sys::pid(), first.real_ns).map_err(|_| NO_MEMORY)?;
        let id = CStr::from_bytes_until_nul(&id).ok().and_then(|id| id.to_str().ok()).ok_or(NO_MEMORY)?;
        let mut at = Location::choose(settings.dir, settings.place, &limits)?;
        let path = keep_c_str(at.path(id, RING_EXTENSION)?.as_c_str()).ok_or(NO_MEMORY)?;
        let place = Mapping::new(size_of::<Log>()).ok_or(NO_MEMORY)?;
        let capacity = settings.capacity();
        let bytes = RingFile::bytes(capacity).ok_or(NO_MEMORY)?;
        // The names must leave the ring the space it needs.
        let left = limits.file_size.min(limits.memory.saturating_sub(bytes as u64 + SPARE));
        let names = Log::create_names(&mut at, id, left, &limits)?;
        let made = name_process(&names, first.real_ns, forked, settings.sql).and_then(|()| {
            let header = Header::new(clock::kind(), capacity, sys::pid(), boot_id(), first);
            let map = Log::create_ring(&mut at, id, bytes, &limits, &header)?;
            // Last: memory for these is never given back.
            match Databases::new().and_then(|files| Ok((files, Threads::new()?))) {
                Ok(tables) => Ok((map, tables)),
                Err(failure) => {
                    at.discard(map.into_file(), id, RING_EXTENSION);
                    Err(failure)
                }
            }
        });
        let (map, (files, threads)) = match made {
            Ok(made) => made,
            // Both files are made, or none is left.
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
            sealed: limits.sealed,
            names,
            files,
            threads,
            nameless: AtomicBool::new(false),
            retrying: AtomicBool::new(false),
            sql_cap: NameState::new(),
            file_cap: NameState::new(),
            outside: AtomicU32::new(0),
            born: clock::monotonic_ns(),
            path,
        };
        log.ready_to(STEPS[0]);
        log.anchor(clock::now());
        if limits.memory != u64::MAX {
            memory::bound(memory::left());
        }
        let place = place.leak().cast::<Log>();
        // SAFETY: fresh memory, page-aligned and as large as a log, for ever.
        unsafe {
            place.write(log);
            Ok(place.as_ref())
        }
    }

    /// The names file, of up to `left` bytes.
    #[inline(never)]
    fn create_names(at: &mut Location, id: &str, left: u64, limits: &Limits) -> Result<NamesFile, Failure> {
        let len = (MAX_BYTES.min(left) / 4096 * 4096).max(4096) as usize;
        Ok(NamesFile::new(at.create(id, NAMES_EXTENSION, len, limits)?))
    }

    /// The ring file of so many bytes, with its first piece ready. Nothing is left behind where that fails.
    #[inline(never)]
    fn create_ring(at: &mut Location, id: &str, bytes: usize, limits: &Limits, header: &Header) -> Result<RingFile, Failure> {
        let map = RingFile::new(at.create(id, RING_EXTENSION, bytes, limits)?, header);
        match map.prepare(0, 0) {
            Ok(()) => Ok(map),
            Err(failure) => {
                at.discard(map.into_file(), id, RING_EXTENSION);
                Err(failure)
            }
        }
    }

    /// Its serial number in this process. Numbers of one log mean nothing in another.
    #[inline(always)]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// How much of SQL this log keeps.
    #[inline(always)]
    pub fn policy(&self) -> SqlPolicy {
        self.policy
    }

    /// Whether a filter of system calls is in force, so that none may be made that SQLite does not make itself.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed || limits::filter_expected()
    }

    /// Makes as much ready as possible, because later it may not be possible: see [`super::lifecycle::seal`].
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
    /// cache holds, and fetching inlined copies again costs more than a call.
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
            // The observer gets lost records, too.
            observer::notify(self, &words, number);
            return tid;
        }
        // SAFETY: numbers below `guard` are below `ready`, and those have had their chunks prepared. Relaxed is enough: what
        // `prepare` changes is the kernel's page tables, which every core sees, and not memory.
        ring::commit(unsafe { self.map.slot(number) }, &words, number);
        observer::notify(self, &words, number);
        tid
    }

    /// Writes a record past the guard: makes its slot ready if need be, and then the next chunk.
    ///
    /// One thread prepares ahead while there is still room for the others. A thread that finds no room left prepares its own
    /// chunk, beside any other that does (it is idempotent); and if that fails, for want of disk space, the record is lost and counted, and
    /// only every 1024th one tries again. Where a chunk is made ready by writing zeros, only one thread does, and the others lose theirs.
    #[cold]
    #[inline(never)]
    fn put_at_the_edge(&self, number: u64, words: &[u64; 7]) {
        let _errno = SavedErrno::save();
        let ready = self.ready.load(Ordering::Relaxed);
        if number >= ready {
            // Where the disk is full, slots that have their space are used again on every lap.
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

    /// Prepares every piece that is not ready, up to that of `number`: below `ready` there are no gaps.
    /// After a long time without space one lap is enough, since it covers every slot. Nothing is called ready before the last chunk of it is.
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
        // A ring that stays mapped as a whole stays ready.
        let for_ever = ready >= capacity && capacity <= WINDOW;
        let (ready, guard) = if for_ever { (u64::MAX, u64::MAX) } else { (ready, ready - AHEAD.min(ready / 2)) };
        self.ready.fetch_max(ready, Ordering::Relaxed);
        self.guard.fetch_max(guard, Ordering::Relaxed);
    }

    /// Rewrites the last anchor, if it is due.
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

    /// The record of this number, if the ring holds it whole.
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

    /// Its ring file, in the trace directory.
    pub fn path(&self) -> &'static CStr {
        self.path
    }

    /// Copies its names file from this byte on, as far as there is room. Returns the number of bytes. A line that is being written begins with a
    /// NUL, and can be copied later.
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

    /// Those of them that were never written.
    pub fn lost_records(&self) -> u64 {
        self.map.lost_space().load(Ordering::Relaxed)
    }

    /// Names that are not written.
    pub fn lost_names(&self) -> u64 {
        self.map.lost_names().load(Ordering::Relaxed)
    }

    /// Releases its memory. No thread records here any more, except those that are inside at this moment.
    pub(super) fn rest(&self) {
        self.map.rest();
        self.names.rest();
    }

    /// Counts records that were lost before this log was open.
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
