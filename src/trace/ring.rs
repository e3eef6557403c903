//! One ring file: its header, its records in blocks in the order of their claims, and a [`Tally`] of every record number.
//!
//! It is read with `pread` and not through a mapping, so that a file that is truncated meanwhile is an error and not a signal. A process may write to
//! the log while it is read.
#![forbid(unsafe_code)]

use super::error::{Error, Place, Problem};
use shim::event::Kind;
use shim::format::header::{self, Header};
use shim::format::record::{self, Record, Slot};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most records read at a time: few enough to stay in the processor's cache until they are decoded.
pub(crate) const BLOCK: u64 = 2048;

/// What became of the record numbers `0..head` of one log. The other counts add up to `head`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Records claimed when reading began.
    pub head: u64,
    /// Whole records that were read.
    pub read: u64,
    /// Overwritten by later ones, before or while the log was read.
    pub overwritten: u64,
    /// Never written for want of disk space, or before the log was open.
    pub lost: u64,
    /// Claimed and not written: still being written, or the writer died.
    pub empty: u64,
    /// Half a record, or damage.
    pub torn: u64,
    /// Beyond the end of a truncated file, or unreadable.
    pub missing: u64,
}

/// A saturating sum, because a damaged trace can have any numbers.
pub(crate) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

impl Tally {
    /// Records that could not be read, for any reason.
    pub fn unread(&self) -> u64 {
        self.overwritten + self.lost + self.empty + self.torn + self.missing
    }

    /// Counts this many of the empty and missing records as lost: a record without disk space leaves its slot empty, or the file short.
    pub(crate) fn settle_lost(&mut self, lost_space: u64) {
        self.lost = lost_space.min(self.empty + self.missing);
        let from_empty = self.lost.min(self.empty);
        self.empty -= from_empty;
        self.missing -= self.lost - from_empty;
    }
}

/// A buffer for the latest records of a log, as they are in the file. A record's place follows from its number, and it replaces an earlier one.
pub(crate) struct Room {
    bytes: Vec<u8>,
    /// The first place, aligned so that each record is one cache line.
    begins: usize,
    /// The number of places, a power of two.
    places: u64,
}

impl Room {
    /// Room for at least this many records.
    pub(crate) fn new(records: u64) -> Room {
        let places = records.next_power_of_two();
        let bytes = vec![0; (places as usize + 1) * record::SIZE];
        let begins = bytes.as_ptr().align_offset(record::SIZE).min(record::SIZE);
        Room { bytes, begins, places }
    }

    pub(crate) fn places(&self) -> u64 {
        self.places
    }

    /// The places of `count` numbers from `number` on, or of as many as are contiguous.
    fn bytes(&mut self, number: u64, count: u64) -> &mut [u8] {
        let place = number & (self.places - 1);
        let count = count.min(self.places - place);
        let from = self.begins + place as usize * record::SIZE;
        &mut self.bytes[from..from + count as usize * record::SIZE]
    }

    /// The record in the place of this number.
    #[inline]
    pub(crate) fn record(&self, number: u64) -> Record {
        let from = self.begins + (number & (self.places - 1)) as usize * record::SIZE;
        self.bytes[from..].first_chunk().map_or(Record::new(Kind(0)), Record::decode_again)
    }
}

/// Opens a ring file and reads its header.
pub(crate) fn open(path: &Path) -> Result<(File, Header), Error> {
    let meta = std::fs::metadata(path).map_err(|error| match std::fs::read_link(path) {
        Ok(target) if error.kind() == std::io::ErrorKind::NotFound => Error::new(path, Place::Whole, gone(&target)),
        _ => Error::io(path, Place::Whole, "look at the file", error),
    })?;
    if !meta.is_file() {
        return Err(Error::new(path, Place::Whole, "not a regular file; expected a ring file"));
    }
    let file = File::open(path).map_err(|error| Error::io(path, Place::Whole, "open the file", error))?;
    let mut bytes = vec![0; header::SIZE];
    let have = read_up_to(&file, &mut bytes, 0).map_err(|error| Error::io(path, Place::Byte(0), "read the header", error))?;
    match Header::decode(&bytes[..have]) {
        Ok(header) => Ok((file, header)),
        Err(error) => Err(refused(path, error)),
    }
}

/// The message about a missing target: the recorder keeps its files in memory if the directory's file system cannot hold them safely.
#[cold]
fn gone(target: &Path) -> String {
    format!(
        "it leads to {}, which is gone: the file was in memory, and the machine has been started again since, or it was deleted",
        target.display()
    )
}

#[cold]
fn refused(path: &Path, error: header::HeaderError) -> Error {
    use header::HeaderError::*;
    let byte = match error {
        Short { have } => have as u64,
        Magic => 0,
        Version { .. } => 8,
        Field { offset, .. } => offset as u64,
        Check => 80,
    };
    let text = error.to_string();
    let what = text.strip_prefix(&format!("byte {byte}: ")).unwrap_or(&text);
    let next = match error {
        Short { .. } => "; the process died while it made the file, or the copy was cut: nothing in it can be read",
        _ => "",
    };
    Error::new(path, Place::Byte(byte), format!("{what}{next}"))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read_at(&mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// The latest whole record near the end of a ring with `head` claimed records; `None` if there is none, or the file cannot be read.
pub(crate) fn last_record(path: &Path, capacity: u64, head: u64) -> Option<Record> {
    /// How many slots are searched: each thread can leave one empty.
    const LOOK: u64 = 64;
    let file = File::open(path).ok()?;
    (head.saturating_sub(LOOK.min(capacity))..head).rev().find_map(|number| {
        let mut bytes = [0; record::SIZE];
        let offset = header::SIZE as u64 + number % capacity * record::SIZE as u64;
        file.read_exact_at(&mut bytes, offset).ok()?;
        Record::decode(&bytes, number).ok()
    })
}

/// A walk over the records of one ring file.
pub(crate) struct Cursor {
    path: PathBuf,
    capacity: u64,
    lost_space: u64,
    /// The next record number, and the one to stop before.
    next: u64,
    end: u64,
    /// Whole slots in the file, and its length in bytes.
    slots: u64,
    length: u64,
    tally: Tally,
    problem: Option<Problem>,
}

impl Cursor {
    /// Starts at the oldest record that is not overwritten.
    pub(crate) fn new(path: &Path) -> Result<Cursor, Error> {
        let (file, header) = open(path)?;
        // The length is read after the head, so a growing file contains all records below the head.
        let length = file.metadata().map_err(|error| Error::io(path, Place::Whole, "look at the file", error))?.len();
        let next = header.head.saturating_sub(header.capacity);
        let tally = Tally { head: header.head, overwritten: next, ..Tally::default() };
        let slots = length.saturating_sub(header::SIZE as u64) / record::SIZE as u64;
        let lost_space = header.lost_space;
        let path = path.to_owned();
        let capacity = header.capacity;
        Ok(Cursor { path, capacity, lost_space, next, end: header.head, slots, length, tally, problem: None })
    }

    /// Reads the next block of records into `room`, and passes the whole ones to `each` with their numbers. Returns `false` at the end. The places
    /// of the [`BLOCK`] numbers from [`Cursor::next`] on are overwritten.
    ///
    /// The file is opened for each block: a trace can have more logs than a process may have open files.
    pub(crate) fn block(&mut self, room: &mut Room, each: &mut impl FnMut(u64, Record)) -> bool {
        if self.next >= self.end {
            return false;
        }
        let slot = self.next & (self.capacity - 1);
        // Up to the end of this lap. Records beyond the end of the file are missing.
        let run = (self.end - self.next).min(self.capacity - slot);
        let there = self.slots.saturating_sub(slot).min(run);
        if there == 0 {
            self.missing(run);
            return true;
        }
        let bytes = room.bytes(self.next, there.min(BLOCK));
        let there = (bytes.len() / record::SIZE) as u64;
        let offset = header::SIZE as u64 + slot * record::SIZE as u64;
        let have = File::open(&self.path).and_then(|file| read_up_to(&file, bytes, offset).map(|have| (file, have)));
        let (file, have) = match have {
            Ok((file, have)) => (file, have / record::SIZE),
            Err(error) => {
                let what = format!("cannot read the records from here: {error}");
                self.problem.get_or_insert(Problem::unusable(&self.path, Place::Byte(offset), what));
                self.tally.missing += self.end - self.next;
                self.next = self.end;
                return true;
            }
        };
        let mut bad = Vec::new();
        for (number, bytes) in (self.next..).zip(&bytes.as_chunks::<{ record::SIZE }>().0[..have]) {
            match Record::decode(bytes, number) {
                Ok(record) => each(number, record),
                Err(slot) => bad.push((number, slot)),
            }
        }
        self.tally.read += (have - bad.len()) as u64;
        if !bad.is_empty() {
            self.account(&file, &bad);
        }
        self.next += have as u64;
        if (have as u64) < there {
            // The file was truncated while it was read.
            self.slots = slot + have as u64;
            self.length = offset + (have * record::SIZE) as u64;
        }
        true
    }

    /// The number of the next record, if there are more.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    #[cold]
    fn missing(&mut self, count: u64) {
        self.tally.missing += count;
        self.next += count;
    }

    /// Counts slots without the expected record: overwritten meanwhile, never written, or torn.
    #[cold]
    fn account(&mut self, file: &File, bad: &[(u64, Slot)]) {
        let mut le = [0; 8];
        let head = match file.read_exact_at(&mut le, header::word::HEAD as u64 * 8) {
            Ok(()) => u64::from_le_bytes(le),
            Err(_) => self.end,
        };
        for &(number, slot) in bad {
            if number < head.saturating_sub(self.capacity) {
                self.tally.overwritten += 1;
            } else if slot == Slot::Empty {
                self.tally.empty += 1;
            } else {
                self.tally.torn += 1;
            }
        }
    }

    /// The final account, after [`Cursor::block`] has returned `false`.
    pub(crate) fn finish(mut self) -> (Tally, Vec<Problem>) {
        let tally = &mut self.tally;
        tally.settle_lost(self.lost_space);
        let mut problems: Vec<Problem> = self.problem.take().into_iter().collect();
        if tally.missing > 0 && problems.is_empty() {
            let expected = header::SIZE as u64 + tally.head.min(self.capacity) * record::SIZE as u64;
            let what = format!(
                "torn tail: the file ends here, before {} of its {} records (it should reach byte {expected}); what comes before is used",
                tally.missing, tally.head
            );
            problems.push(Problem::unusable(&self.path, Place::Byte(self.length), what));
        }
        (self.tally, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::format::header::{Anchor, ClockKind};
    use std::io::Write as _;

    /// A ring of `capacity` records whose writer has claimed `head`.
    fn write(path: &Path, capacity: u64, head: u64) {
        let header = Header { head, ..Header::new(ClockKind::Monotonic, capacity, 1, [1; 16], Anchor::default()) };
        let mut file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
        file.write_all(&header.encode()[..]).unwrap();
        for number in head.saturating_sub(capacity)..head {
            let record = Record { start: number, ..Record::new(Kind::SYNC) };
            file.write_all_at(&record.encode(number), header::SIZE as u64 + number % capacity * record::SIZE as u64).unwrap();
        }
    }

    #[test]
    fn what_a_live_writer_overwrites_under_us_is_overwritten_and_not_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.ring");
        write(&path, 16, 20);
        let mut cursor = Cursor::new(&path).unwrap();
        write(&path, 16, 27);
        let mut numbers = Vec::new();
        let mut room = Room::new(16);
        while cursor.block(&mut room, &mut |number, record| numbers.push((number, record.start))) {}
        let (tally, problems) = cursor.finish();
        assert_eq!(numbers, (11..20).map(|number| (number, number)).collect::<Vec<_>>());
        assert_eq!(tally, Tally { head: 20, read: 9, overwritten: 11, ..Tally::default() });
        assert_eq!(problems, []);
    }

    #[test]
    fn a_file_cut_under_us_is_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.ring");
        write(&path, 16, 16);
        let mut cursor = Cursor::new(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(header::SIZE as u64 + 5 * 64 + 1).unwrap();
        let mut count = 0;
        let mut room = Room::new(16);
        while cursor.block(&mut room, &mut |_, _| count += 1) {}
        let (tally, problems) = cursor.finish();
        assert_eq!((count, tally.read, tally.missing), (5, 5, 11));
        assert!(problems[0].what.starts_with("torn tail"), "{}", problems[0]);
    }
}
