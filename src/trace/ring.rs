//! One ring file: its header, and its records in blocks, with every number between them accounted for.
//!
//! Input: a path and the bytes behind it. Output: records in the order in which they were claimed, and a [`Tally`]. Called by
//! [`super::merge`] and, for the header, by [`super::directory`]. Reading is by `pread` and not by a mapping, so that a file that
//! is cut while we read it is an error and not a signal. The log may be written to while it is read.
#![forbid(unsafe_code)]

use super::error::{Error, Place, Problem};
use shim::event::Kind;
use shim::format::header::{self, Header};
use shim::format::record::{self, Record, Slot};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Records read at a time at most: few enough to be decoded while they are still near the processor.
pub(crate) const BLOCK: u64 = 2048;

/// What became of the record numbers `0..head` of one log; the other counts add up to `head`.
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
    /// Claimed and never written: being written just then, or the writer died.
    pub empty: u64,
    /// Half a record, or damage.
    pub torn: u64,
    /// Behind the end of a file that was cut, or that could not be read.
    pub missing: u64,
}

/// The sum of numbers that a damaged trace may say anything about: no more than there is room for.
pub(crate) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

impl Tally {
    /// Records that are not there to read, for whatever reason.
    pub fn unread(&self) -> u64 {
        self.overwritten + self.lost + self.empty + self.torn + self.missing
    }

    /// Of what never came, this many had found no disk space: such a record leaves its slot empty, or the file short.
    pub(crate) fn settle_lost(&mut self, lost_space: u64) {
        self.lost = lost_space.min(self.empty + self.missing);
        let from_empty = self.lost.min(self.empty);
        self.empty -= from_empty;
        self.missing -= self.lost - from_empty;
    }
}

/// Room for the latest records of a log, as they are in the file: each has its place by its number, and displaces an earlier one there.
pub(crate) struct Room {
    bytes: Vec<u8>,
    /// The first place, on a boundary of the processor's cache lines, so that a record is one of them.
    begins: usize,
    /// Places: a power of two.
    places: u64,
}

impl Room {
    /// For at least as many as this.
    pub(crate) fn new(records: u64) -> Room {
        let places = records.next_power_of_two();
        let bytes = vec![0; (places as usize + 1) * record::SIZE];
        let begins = bytes.as_ptr().align_offset(record::SIZE).min(record::SIZE);
        Room { bytes, begins, places }
    }

    pub(crate) fn places(&self) -> u64 {
        self.places
    }

    /// The places of this many numbers from `number` on, or of as many as lie in a row.
    fn bytes(&mut self, number: u64, count: u64) -> &mut [u8] {
        let place = number & (self.places - 1);
        let count = count.min(self.places - place);
        let from = self.begins + place as usize * record::SIZE;
        &mut self.bytes[from..from + count as usize * record::SIZE]
    }

    /// What is in the place of this number.
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

/// The recorder keeps its files in memory where the directory's file system cannot hold them safely.
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

/// The latest whole record near the end of a ring that holds `head` records by now; `None` where there is none, or the file cannot be read.
pub(crate) fn last_record(path: &Path, capacity: u64, head: u64) -> Option<Record> {
    /// Slots that are looked at: each thread can leave one empty.
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
    /// Starts at the oldest record that is still there.
    pub(crate) fn new(path: &Path) -> Result<Cursor, Error> {
        let (file, header) = open(path)?;
        // The length is asked for after the head, so that a growing file holds at least what the head promised.
        let length = file.metadata().map_err(|error| Error::io(path, Place::Whole, "look at the file", error))?.len();
        let next = header.head.saturating_sub(header.capacity);
        let tally = Tally { head: header.head, overwritten: next, ..Tally::default() };
        let slots = length.saturating_sub(header::SIZE as u64) / record::SIZE as u64;
        let lost_space = header.lost_space;
        let path = path.to_owned();
        let capacity = header.capacity;
        Ok(Cursor { path, capacity, lost_space, next, end: header.head, slots, length, tally, problem: None })
    }

    /// Reads the next block of records into `room`, where each has its place by its number, and hands the whole ones to `each`, with their
    /// numbers; `false` when there are no more. What is in the places of the [`BLOCK`] numbers from [`Cursor::next`] on is overwritten.
    ///
    /// The file is opened anew for each block: a trace can have more logs than a process may have open files.
    pub(crate) fn block(&mut self, room: &mut Room, each: &mut impl FnMut(u64, Record)) -> bool {
        if self.next >= self.end {
            return false;
        }
        let slot = self.next & (self.capacity - 1);
        // Up to the end of this lap; what the file does not hold is missing.
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
            // The file was cut while we read it.
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

    /// Slots that did not hold the record they should: overwritten by now, never written, or torn.
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

    /// The final account, once [`Cursor::block`] has said `false`.
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
