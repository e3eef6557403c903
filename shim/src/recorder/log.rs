//! One process's log: the ring and the names that go with it. In come records from any thread; out come bytes in two files.

use super::config::{Config, SqlPolicy};
use super::map::{CHUNK, Map, STEPS, WINDOW, piece};
use super::names::{Library, Names};
use super::{disk, notice, observer, ring, thread};
use crate::clock;
use crate::format::header::Header;
use crate::format::record::Record;
use crate::format::{NAMES_EXTENSION, RING_EXTENSION};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    names: Names,
    /// The log this process had before, or its parent before the fork.
    previous: Option<&'static Log>,
}

/// How far before the end of what is ready the next chunk is prepared; earlier where little is ready yet.
const AHEAD: u64 = CHUNK / 2;

impl Log {
    /// Creates the two files of this process in the configured directory.
    pub fn create(config: &Config, serial: u32, forked: bool, previous: Option<&'static Log>) -> io::Result<Log> {
        disk::make_dir(&config.dir)?;
        let first = clock::anchor();
        let id = format!("{}-{:016x}", std::process::id(), first.real_ns);
        let names_path = config.dir.join(format!("{id}.{NAMES_EXTENSION}"));
        let names = Names::create(&names_path, first.real_ns, forked, config.sql)?;
        let header = Header::new(clock::kind(), config.capacity(), std::process::id(), boot_id(), first);
        let map = Map::create(&config.dir.join(format!("{id}.{RING_EXTENSION}")), &header).inspect_err(|_| {
            let _ = std::fs::remove_file(&names_path);
        })?;
        let log = Log {
            map,
            guard: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            preparing: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            anchor_due: AtomicU64::new(0),
            serial,
            policy: config.sql,
            names,
            previous,
        };
        log.ready_to(STEPS[0]);
        log.anchor(clock::now());
        Ok(log)
    }

    /// Which of this process's logs it is; numbers of one log mean nothing in another.
    #[inline(always)]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The log before this one.
    pub fn previous(&self) -> Option<&'static Log> {
        self.previous
    }

    /// Its names file, to be read.
    pub fn names_file(&self) -> io::Result<std::fs::File> {
        self.names.open()
    }

    /// What this log keeps of SQL.
    #[inline(always)]
    pub fn policy(&self) -> SqlPolicy {
        self.policy
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
    /// chunk, beside any other that does (it is idempotent); and if that fails, for want of disk space or because the directory
    /// is gone, the record is lost and counted, and only every 1024th one tries again.
    #[cold]
    #[inline(never)]
    fn put_at_the_edge(&self, number: u64, words: &[u64; 7]) {
        let _errno = super::Errno::save();
        let ready = self.ready.load(Ordering::Relaxed);
        if number >= ready {
            let untried = self.starved.load(Ordering::Relaxed) && !number.is_multiple_of(1024);
            if untried || !self.prepare(number) {
                self.map.lost_space().fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        // SAFETY: below `ready`, or prepared just now.
        ring::commit(unsafe { self.map.slot(number) }, words, number);
        if number < ready && !self.starved.load(Ordering::Relaxed) && !self.preparing.swap(true, Ordering::Relaxed) {
            if self.ready.load(Ordering::Relaxed) == ready {
                self.prepare(ready);
            }
            self.preparing.store(false, Ordering::Relaxed);
            self.anchor(clock::now());
        }
    }

    /// Prepares every piece that is not ready, up to and with that of `number`: what is below `ready` must be ready without gaps.
    /// After a long famine one lap is enough, since it covers every slot; but only the whole of it, so nothing is called ready
    /// before the last chunk is.
    fn prepare(&self, number: u64) -> bool {
        let chunk = number / CHUNK * CHUNK;
        let lap = chunk.saturating_sub(self.map.capacity() - CHUNK);
        let mut next = self.ready.load(Ordering::Relaxed).max(lap);
        while next <= number {
            if let Err(error) = self.map.prepare(next) {
                self.starved.store(true, Ordering::Relaxed);
                notice::once(format_args!(
                    "records are being lost: {error}. The application is not affected; make room in the trace directory, or set LOCKTRACE_DIR to another one"
                ));
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
        }
    }

    #[cold]
    #[inline(never)]
    fn name_thread(&self) -> u32 {
        let _errno = super::Errno::save();
        // SAFETY: gettid has no preconditions.
        let tid = unsafe { libc::gettid() } as u32;
        thread::set_tid(tid, self.serial);
        let mut name = [0u8; 16];
        // SAFETY: PR_GET_NAME writes up to 16 bytes, NUL included, to the buffer it is given.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        self.named(self.names.thread(tid, name.get(..end).unwrap_or_default()));
        tid
    }

    /// Keeps the text of a statement, where the policy says so.
    #[cold]
    #[inline(never)]
    pub fn name_sql(&self, hash: u64, text: &[u8], len: usize) {
        if self.policy == SqlPolicy::Text {
            let _errno = super::Errno::save();
            self.named(self.names.sql(hash, text, len));
        }
    }

    /// The number of a database in this log; 0 past the cap.
    #[cold]
    #[inline(never)]
    pub fn file(&self, library: &Library, path: &[u8]) -> u32 {
        let _errno = super::Errno::save();
        let (number, result) = self.names.file(library, path);
        self.named(result);
        number
    }

    /// Device and inode of the database with this number in this log.
    pub(crate) fn identity(&self, file: u32) -> Option<(u64, u64)> {
        self.names.identity(file)
    }

    /// Whether another answer of `/proc/locks` would be kept.
    pub(crate) fn has_room_outside(&self, now: u64) -> bool {
        self.names.has_room_outside(now)
    }

    /// Keeps what `/proc/locks` answered: `build` fills in the line.
    pub(crate) fn outside(&self, build: &dyn Fn(&mut super::line::Line<'_>)) {
        self.named(self.names.outside(&super::texts::built("outside", build)));
    }

    fn named(&self, result: io::Result<()>) {
        if let Err(error) = result {
            self.map.lost_names().fetch_add(1, Ordering::Relaxed);
            notice::once(format_args!(
                "names are being lost: {error}. The application is not affected; records keep their numbers"
            ));
        }
    }

    /// Notes that recording was stopped in this log, or goes on.
    #[cold]
    pub fn name_recording(&self, on: bool) {
        let _errno = super::Errno::save();
        self.named(self.names.recording(on, clock::now()));
    }

    /// Its ring file.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// Its ring file, to be read.
    pub fn ring_file(&self) -> io::Result<std::fs::File> {
        self.map.open()
    }

    /// How many records the ring holds.
    pub fn capacity(&self) -> u64 {
        self.map.capacity()
    }

    /// Records claimed so far.
    pub fn records(&self) -> u64 {
        self.map.head().load(Ordering::Relaxed)
    }

    /// STAND-IN, to be dropped at the merge: record `number`, if the ring has it whole.
    pub fn record(&self, number: u64) -> Option<Record> {
        if number >= self.ready.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: numbers below `ready` are in chunks that have been prepared.
        let [check, words @ ..] = unsafe { self.map.slot(number) };
        let words = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        (check.load(Ordering::Relaxed) == crate::format::check(&words, number)).then(|| Record::from_words(&words))
    }

    /// Of those, the ones that were never written.
    pub fn lost_records(&self) -> u64 {
        self.map.lost_space().load(Ordering::Relaxed)
    }

    /// Names that were never written.
    pub fn lost_names(&self) -> u64 {
        self.map.lost_names().load(Ordering::Relaxed)
    }

    /// STAND-IN, to be dropped at the merge: the path of the database with this number.
    pub fn database(&self, number: u32) -> Option<&'static [u8]> {
        super::texts::database(u64::from(number) << 32 | u64::from(self.serial), || self.names.database(number))
    }

    /// Nobody records here any more, but for those that are inside just now: gives its memory back.
    pub fn rest(&self) {
        self.map.rest();
    }

    /// Adds to the records that were lost before this log was open.
    pub fn lose(&self, records: u64) {
        if records > 0 {
            self.map.head().fetch_add(records, Ordering::Relaxed);
            self.map.lost_space().fetch_add(records, Ordering::Relaxed);
        }
    }
}

/// The kernel's boot id as 16 bytes; zeros where there is none.
fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let text = std::fs::read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    let digits = text.iter().filter_map(|&c| (c as char).to_digit(16));
    for (i, digit) in digits.take(32).enumerate() {
        if let Some(byte) = id.get_mut(i / 2) {
            *byte = *byte << 4 | digit as u8;
        }
    }
    id
}
