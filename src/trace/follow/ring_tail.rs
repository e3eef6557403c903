//! The end of a growing ring file.
//!
//! A record number is read after the header shows that it was claimed. If its slot does not contain it yet, the writer is still writing. The slot is
//! read again until it does, until [`PATIENCE`] has passed, or until the ring has overwritten it.
use crate::trace::error::{Error, Place};
use crate::trace::ring::{self, Tally, read_up_to};
use shim::format::header::{self, Header};
use shim::format::record::{self, Record, Slot};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a claimed record may stay unwritten before it is abandoned.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes read at a time.
const BLOCK: usize = 1 << 18;

/// Most claimed numbers that are waited for. Beyond this, the oldest are abandoned at once.
const MOST_HOLES: usize = 4096;

/// A number that was claimed but is not written yet.
struct Hole {
    number: u64,
    since: Instant,
    slot: Slot,
}

/// The end of a growing ring file.
pub(crate) struct RingTail {
    path: PathBuf,
    capacity: u64,
    /// The next number to read.
    next: u64,
    /// Most new records that are read at one time, the latest ones.
    most: u64,
    /// New records that were left out because of that limit.
    passed_over: u64,
    holes: Vec<Hole>,
    tally: Tally,
    /// All missing numbers are below this.
    lost_below: u64,
    lost_space: u64,
    buffer: Vec<u8>,
}

impl RingTail {
    /// Starts at record `from`, or at the oldest that is not overwritten.
    pub(crate) fn new(path: &Path, header: &Header, from: u64) -> RingTail {
        RingTail {
            path: path.to_owned(),
            capacity: header.capacity,
            next: from,
            most: u64::MAX,
            passed_over: 0,
            holes: Vec::new(),
            tally: Tally::default(),
            lost_below: 0,
            lost_space: 0,
            buffer: Vec::new(),
        }
    }

    /// Sets the first record to read, before anything was read.
    pub(crate) fn begin_at(&mut self, number: u64) {
        self.next = number;
    }

    /// Limits the new records at one time to this many, the latest ones.
    pub(crate) fn at_most(&mut self, records: u64) {
        self.most = records;
    }

    /// Passes every new record to `each`. Returns the header, and how many numbers are new.
    pub(crate) fn read(&mut self, now: Instant, each: &mut impl FnMut(u64, Record)) -> Result<(Header, u64), Error> {
        let (file, header) = ring::open(&self.path)?;
        let before = self.next;
        (self.tally.head, self.lost_space) = (header.head, header.lost_space);
        let holes = std::mem::take(&mut self.holes);
        for hole in holes {
            let slot = self.slot(&file, hole.number);
            match slot.and_then(|bytes| Record::decode(&bytes, hole.number).ok()) {
                Some(record) => {
                    self.tally.read += 1;
                    each(hole.number, record);
                }
                None => self.holes.push(hole),
            }
        }
        let oldest = header.head.saturating_sub(self.capacity);
        if self.next < oldest {
            self.tally.overwritten += oldest - self.next;
            (self.next, self.lost_below) = (oldest, oldest);
        }
        let latest = header.head.saturating_sub(self.most);
        if self.next < latest {
            self.passed_over += latest - self.next;
            (self.next, self.lost_below) = (latest, latest);
        }
        while self.next < header.head {
            self.block(&file, header.head, now, each)?;
        }
        self.settle(&file, now);
        Ok((header, header.head.saturating_sub(before)))
    }

    /// The next block of records, up to the end of this lap.
    fn block(&mut self, file: &File, head: u64, now: Instant, each: &mut impl FnMut(u64, Record)) -> Result<(), Error> {
        let slot = self.next & (self.capacity - 1);
        let count = (head - self.next).min(self.capacity - slot).min((BLOCK / record::SIZE) as u64) as usize;
        self.buffer.resize(count * record::SIZE, 0);
        let offset = header::SIZE as u64 + slot * record::SIZE as u64;
        let have = read_up_to(file, &mut self.buffer, offset)
            .map_err(|error| Error::io(&self.path, Place::Byte(offset), "read the records", error))?;
        let slots = self.buffer.as_chunks::<{ record::SIZE }>().0.iter().take(have / record::SIZE);
        for (number, bytes) in (self.next..).zip(slots) {
            match Record::decode(bytes, number) {
                Ok(record) => {
                    self.tally.read += 1;
                    each(number, record);
                }
                Err(slot) => self.holes.push(Hole { number, since: now, slot }),
            }
        }
        // Slots are allocated before they are written, so no record comes beyond the end of the file.
        let missing = (count - have / record::SIZE) as u64;
        self.tally.missing += missing;
        self.next += count as u64;
        if missing > 0 {
            self.lost_below = self.next;
        }
        Ok(())
    }

    fn slot(&self, file: &File, number: u64) -> Option<[u8; record::SIZE]> {
        let mut bytes = [0; record::SIZE];
        let offset = header::SIZE as u64 + (number & (self.capacity - 1)) * record::SIZE as u64;
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// Abandons unwritten numbers that the ring has overwritten, that are too old, or that are too many.
    fn settle(&mut self, file: &File, now: Instant) {
        if self.holes.is_empty() {
            return;
        }
        let mut le = [0; 8];
        let head = file.read_exact_at(&mut le, header::word::HEAD as u64 * 8).map_or(self.tally.head, |()| u64::from_le_bytes(le));
        let oldest = head.saturating_sub(self.capacity);
        let surplus = self.holes.len().saturating_sub(MOST_HOLES);
        let (tally, lost_below) = (&mut self.tally, &mut self.lost_below);
        let mut index = 0;
        self.holes.retain(|hole| {
            index += 1;
            if hole.number < oldest {
                tally.overwritten += 1;
            } else if index <= surplus || now.duration_since(hole.since) >= PATIENCE {
                give_up(tally, hole.slot);
            } else {
                return true;
            }
            *lost_below = (*lost_below).max(hole.number + 1);
            false
        });
    }

    /// The account of every number. Unwritten ones are abandoned.
    pub(crate) fn finish(&mut self) -> Tally {
        for hole in self.holes.drain(..) {
            give_up(&mut self.tally, hole.slot);
        }
        self.tally.settle_lost(self.lost_space);
        self.tally
    }

    /// New records that were not read because there were too many at one time. The tally does not count them.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// All numbers that are missing for good are below this.
    pub(crate) fn lost_below(&self) -> u64 {
        self.lost_below
    }

    /// The account of every number so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }
}

fn give_up(tally: &mut Tally, slot: Slot) {
    match slot {
        Slot::Empty => tally.empty += 1,
        Slot::Torn => tally.torn += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::event::Kind;
    use shim::format::header::{Anchor, ClockKind};
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    const CAPACITY: u64 = 64;

    fn header(head: u64) -> Header {
        Header { head, ..Header::new(ClockKind::Monotonic, CAPACITY, 1, [1; 16], Anchor::default()) }
    }

    /// Puts one record where its number belongs, after having claimed it.
    fn put(file: &File, number: u64) {
        file.write_all_at(&(number + 1).to_le_bytes(), header::word::HEAD as u64 * 8).unwrap();
        commit(file, number);
    }

    fn commit(file: &File, number: u64) {
        let record = Record { start: number * 7, arg: !number, ..Record::new(Kind::SYNC) };
        file.write_all_at(&record.encode(number), header::SIZE as u64 + number % CAPACITY * record::SIZE as u64).unwrap();
    }

    fn create(path: &Path) -> File {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        file.write_all_at(&header(0).encode()[..], 0).unwrap();
        file.set_len(header::SIZE as u64 + CAPACITY * record::SIZE as u64).unwrap();
        file
    }

    fn sum(tally: &Tally) -> u64 {
        tally.read + tally.unread()
    }

    /// A writer that never rests laps the reader all the time: each number comes once or is counted.
    #[test]
    fn a_ring_that_wraps_under_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.ring");
        let (file, done) = (create(&path), AtomicBool::new(false));
        const LAPS: u64 = 1000;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..LAPS * CAPACITY {
                    put(&file, number);
                    // Now and then it is overtaken: both ways must come about, whatever the machine does.
                    if number % (5 * CAPACITY) == 0 {
                        std::thread::yield_now();
                    }
                }
                done.store(true, Ordering::Release);
            });
            let mut tail = RingTail::new(&path, &header(0), 0);
            let mut seen = BTreeSet::new();
            loop {
                let last = done.load(Ordering::Acquire);
                let read = tail.read(Instant::now(), &mut |number, record: Record| {
                    assert_eq!((record.start, record.arg), (number * 7, !number), "never another's words");
                    assert!(seen.insert(number), "{number} came twice");
                });
                read.unwrap();
                assert_eq!(sum(tail.tally()) + tail.holes.len() as u64, tail.tally().head, "every number is accounted for");
                if last {
                    break;
                }
            }
            writer.join().unwrap();
            let tally = tail.finish();
            assert_eq!((tally.head, tally.read), (LAPS * CAPACITY, seen.len() as u64));
            assert_eq!(sum(&tally), tally.head);
            assert!((LAPS * CAPACITY - CAPACITY..LAPS * CAPACITY).all(|number| seen.contains(&number)), "the last lap is whole");
        });
    }

    #[test]
    fn of_too_many_at_one_time_the_latest_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.ring");
        let file = create(&path);
        let mut tail = RingTail::new(&path, &header(0), 0);
        tail.at_most(16);
        let mut read = |from: u64, to: u64| {
            (from..to).for_each(|number| put(&file, number));
            let mut numbers = Vec::new();
            tail.read(Instant::now(), &mut |number, _| numbers.push(number)).unwrap();
            (numbers, tail.passed_over(), tail.lost_below(), tail.tally().unread())
        };
        assert_eq!(read(0, 16), ((0..16).collect(), 0, 0, 0));
        assert_eq!(read(16, 50), ((34..50).collect(), 18, 34, 0));
        // The ring has gone over some of them: those nobody could have read.
        assert_eq!(read(50, 50 + 3 * CAPACITY), ((226..242).collect(), 18 + CAPACITY - 16, 226, 2 * CAPACITY));
    }

    #[test]
    fn what_is_claimed_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.ring");
        let file = create(&path);
        let claim = |head: u64| file.write_all_at(&head.to_le_bytes(), header::word::HEAD as u64 * 8).unwrap();
        let mut tail = RingTail::new(&path, &header(0), 0);
        let start = Instant::now();
        let read = |tail: &mut RingTail, after: Duration| {
            let mut numbers = Vec::new();
            tail.read(start + after, &mut |number, _| numbers.push(number)).unwrap();
            numbers
        };
        put(&file, 0);
        claim(3);
        commit(&file, 2);
        assert_eq!(read(&mut tail, Duration::ZERO), [0, 2]);
        commit(&file, 1);
        claim(4);
        assert_eq!(read(&mut tail, PATIENCE / 2), [1], "it was only late");
        assert_eq!(read(&mut tail, PATIENCE * 2), [0; 0], "and this one does not come");
        assert_eq!(*tail.tally(), Tally { head: 4, read: 3, empty: 1, ..Tally::default() });
        commit(&file, 3);
        assert_eq!(read(&mut tail, PATIENCE * 2), [0; 0], "counted as lost, so never shown");
        // Gone over while it is waited for.
        claim(5);
        assert_eq!(read(&mut tail, PATIENCE * 2), [0; 0]);
        for number in 5..5 + CAPACITY {
            put(&file, number);
        }
        assert_eq!(read(&mut tail, PATIENCE * 2).len() as u64, CAPACITY);
        assert_eq!(tail.finish(), Tally { head: 5 + CAPACITY, read: 3 + CAPACITY, empty: 1, overwritten: 1, ..Tally::default() });
    }
}
