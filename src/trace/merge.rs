//! The merge of all logs of a trace into one stream of records in time order.
//!
//! Within a log, records are in the order of their claims. That is *nearly* the order of time, because a thread can be preempted between the end of a
//! call and its claim. So each log is sorted through a window of [`WINDOW`] records, and a heap merges the logs. The memory is one window and one
//! block for each log, small enough to stay in the processor's cache. A log that begins later than the merge has reached needs no memory.
#![forbid(unsafe_code)]

use super::ring::{BLOCK, Cursor, Room, Tally};
use super::{Event, LogId, Problem, Summary, Trace, instant, is_release};
use shim::format::record::Record;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// By how many records a record may be late and still be sorted into its place.
pub(crate) const WINDOW: usize = 4096;

/// With more logs than this, a log is closed again after its first record is read, until the merge reaches that.
const OPEN_AT_ONCE: usize = 32;

/// The order of a record: its instant, releases first, then its log. It is one number, because the merge mostly compares two of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct MergeOrder(u128);

impl MergeOrder {
    /// After every record.
    const LAST: MergeOrder = MergeOrder(u128::MAX);

    #[inline]
    fn new(key: u64, takes: bool, log: LogId) -> MergeOrder {
        MergeOrder(u128::from(key) << 64 | u128::from(takes) << 32 | u128::from(log.0))
    }

    #[inline]
    fn log(self) -> usize {
        self.0 as u32 as usize
    }
}

/// A waiting record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct WaitingRecord {
    key: u64,
    /// Its number, and in the lowest bit whether it is not a release.
    number: u64,
}

impl WaitingRecord {
    #[inline]
    fn new(key: u64, number: u64, takes: bool) -> WaitingRecord {
        WaitingRecord { key, number: number << 1 | u64::from(takes) }
    }

    #[inline]
    fn number(self) -> u64 {
        self.number >> 1
    }

    #[inline]
    fn takes(self) -> bool {
        self.number & 1 != 0
    }
}

/// The waiting records, sorted.
#[derive(Default)]
struct Order {
    entries: VecDeque<WaitingRecord>,
    /// How many more steps insertions may take before the whole is sorted.
    budget: usize,
    unsorted: bool,
}

impl Order {
    /// Adds a record, by insertion while few records are out of place, which is nearly always.
    #[inline]
    fn push(&mut self, entry: WaitingRecord) {
        if self.entries.back().is_some_and(|last| *last > entry) {
            self.insert(entry);
        } else {
            self.entries.push_back(entry);
        }
    }

    #[cold]
    fn insert(&mut self, entry: WaitingRecord) {
        let behind = self.entries.iter().rev().take(self.budget).take_while(|other| **other > entry).count();
        self.unsorted |= behind == self.budget;
        self.budget -= behind;
        self.entries.insert(self.entries.len() - behind, entry);
    }

    /// Sorts all records, and sets the budget for `more` records until the next call.
    fn settle(&mut self, more: usize) {
        if std::mem::take(&mut self.unsorted) {
            self.entries.make_contiguous().sort_unstable();
        }
        self.budget = 4 * (self.entries.len() + more);
    }
}

/// One log's records, sorted through the window.
struct Stream<'t> {
    trace: &'t Trace,
    log: LogId,
    cursor: Cursor,
    /// The waiting records, and a few others.
    room: Room,
    /// Waiting records whose places were needed for later ones.
    apart: HashMap<u64, Record>,
    order: Order,
    /// How many records must wait, because earlier ones can still come.
    wait: usize,
    /// No waiting record in `room` has a smaller number than this.
    oldest: u64,
}

impl<'t> Stream<'t> {
    fn new(trace: &'t Trace, log: LogId, cursor: Cursor) -> Stream<'t> {
        let records = trace.log(log).head.clamp(1, 2 * WINDOW as u64);
        let room = Room::new(records);
        Stream { trace, log, cursor, room, apart: HashMap::new(), order: Order::default(), wait: WINDOW, oldest: 0 }
    }

    /// The order of the next record, if this block has one.
    #[inline]
    fn peek(&self) -> Option<MergeOrder> {
        let entry = if self.order.entries.len() > self.wait { self.order.entries.front()? } else { return None };
        Some(MergeOrder::new(entry.key, entry.takes(), self.log))
    }

    /// The order of the next record, after reading on if needed; `None` at the end.
    #[inline]
    fn place(&mut self) -> Option<MergeOrder> {
        if self.order.entries.len() <= self.wait {
            self.refill();
        }
        self.peek()
    }

    /// Takes the record of [`Stream::peek`], and returns its instant.
    #[inline]
    fn give(&mut self, event: &mut Event) -> Option<u64> {
        let entry = self.order.entries.pop_front()?;
        let number = entry.number();
        (event.log, event.number) = (self.log, number);
        event.record = if self.apart.is_empty() { self.room.record(number) } else { self.stood_apart(number) };
        Some(entry.key)
    }

    #[cold]
    fn stood_apart(&mut self, number: u64) -> Record {
        self.apart.remove(&number).unwrap_or_else(|| self.room.record(number))
    }

    /// Reads on until more than a window of records waits, or all are read.
    #[cold]
    fn refill(&mut self) {
        let raw = self.trace.clocks.len() <= 1;
        self.order.settle(BLOCK as usize);
        while self.order.entries.len() <= self.wait {
            self.make_room();
            let Stream { trace, log, cursor, room, order, .. } = self;
            let more = cursor.block(room, &mut |number, record| {
                let key = if raw { instant(&record) } else { trace.key(*log, &record) };
                order.push(WaitingRecord::new(key, number, !is_release(&record)));
            });
            if !more {
                self.wait = 0;
                break;
            }
        }
        self.order.settle(0);
    }

    /// Moves the records that wait in the places of the next block to `apart`. These records came very early for their time.
    fn make_room(&mut self) {
        let first = self.cursor.next().saturating_add(BLOCK).saturating_sub(self.room.places());
        if first <= self.oldest {
            return;
        }
        self.oldest = u64::MAX;
        for entry in &self.order.entries {
            let number = entry.number();
            if number < first {
                self.apart.entry(number).or_insert_with(|| self.room.record(number));
            } else {
                self.oldest = self.oldest.min(number);
            }
        }
        self.oldest = self.oldest.min(self.cursor.next());
    }
}

enum StreamState<'t> {
    /// The merge has not reached it. Its records will be read from the start.
    Parked,
    Open(Box<Stream<'t>>),
    Finished,
}

/// The merge of a trace directory.
pub(crate) struct Merge<'t> {
    trace: &'t Trace,
    states: Vec<StreamState<'t>>,
    heap: BinaryHeap<Reverse<MergeOrder>>,
    tallies: Vec<Tally>,
    problems: Vec<Problem>,
    /// The stream of the latest record, and the order of the first record of all others.
    current: Option<Box<Stream<'t>>>,
    limit: MergeOrder,
}

impl<'t> Merge<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Merge<'t> {
        let count = trace.logs.len();
        let mut merge = Merge {
            trace,
            states: (0..count).map(|_| StreamState::Parked).collect(),
            heap: BinaryHeap::new(),
            tallies: trace.logs.iter().map(|log| Tally { head: log.head, ..Tally::default() }).collect(),
            problems: trace.problems.clone(),
            current: None,
            limit: MergeOrder::LAST,
        };
        for index in 0..count {
            let Some(mut stream) = merge.open(index) else { continue };
            match stream.place() {
                Some(place) => {
                    merge.states[index] = if count > OPEN_AT_ONCE { StreamState::Parked } else { StreamState::Open(stream) };
                    merge.heap.push(Reverse(place));
                }
                None => merge.close(*stream),
            }
        }
        merge
    }

    fn open(&mut self, index: usize) -> Option<Box<Stream<'t>>> {
        let log = &self.trace.logs[index];
        match Cursor::new(&log.path) {
            Ok(cursor) => Some(Box::new(Stream::new(self.trace, LogId(index as u32), cursor))),
            Err(error) => {
                self.tallies[index].missing = log.head;
                self.problems.push(error.into_problem());
                self.states[index] = StreamState::Finished;
                None
            }
        }
    }

    #[cold]
    fn close(&mut self, stream: Stream<'t>) {
        let index = stream.log.0 as usize;
        let (tally, problems) = stream.cursor.finish();
        self.states[index] = StreamState::Finished;
        self.tallies[index] = tally;
        self.problems.extend(problems);
    }

    /// The next record, and the instant that orders it.
    #[inline]
    pub(crate) fn next(&mut self, event: &mut Event) -> Option<u64> {
        loop {
            // Usually the log of the last record has the next one, too.
            if let Some(stream) = &mut self.current
                && let Some(place) = stream.peek()
                && place <= self.limit
            {
                return stream.give(event);
            }
            self.turn()?;
        }
    }

    /// Finds the log with the next record; `None` at the end.
    #[inline(never)]
    fn turn(&mut self) -> Option<()> {
        let next = match &mut self.current {
            None => self.heap.pop()?.0,
            Some(stream) => {
                let Some(place) = stream.place() else {
                    let stream = self.current.take()?;
                    self.close(*stream);
                    return Some(());
                };
                if place <= self.limit {
                    return Some(());
                }
                // This stream takes the place of the next one in the heap.
                let mut first = self.heap.peek_mut()?;
                let Reverse(next) = std::mem::replace(&mut *first, Reverse(place));
                drop(first);
                let stream = self.current.take()?;
                let index = stream.log.0 as usize;
                self.states[index] = StreamState::Open(stream);
                next
            }
        };
        self.limit = self.heap.peek().map_or(MergeOrder::LAST, |Reverse(place)| *place);
        self.current = match std::mem::replace(&mut self.states[next.log()], StreamState::Finished) {
            StreamState::Parked => self.open(next.log()),
            StreamState::Open(stream) => Some(stream),
            StreamState::Finished => None,
        };
        Some(())
    }

    pub(crate) fn finish(self) -> Summary {
        Summary { tallies: self.tallies, problems: self.problems, late: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shim::event::Kind;
    use shim::format::header::{Anchor, ClockKind, Header};

    proptest! {
        #[test]
        fn both_ways_of_sorting_sort(keys in proptest::collection::vec((0u64..50, 0u64..9), 0..200), budget in 0usize..300) {
            let mut order = Order { budget, ..Order::default() };
            let entries: Vec<WaitingRecord> = keys.iter().map(|&(key, number)| WaitingRecord::new(key, number, number % 2 == 0)).collect();
            entries.iter().for_each(|&entry| order.push(entry));
            order.settle(0);
            let mut expected = entries;
            expected.sort();
            prop_assert_eq!(Vec::from(order.entries), expected);
        }
    }

    /// The starts of the records of a log, in the order in which they are given; each record's number is its `arg`.
    fn given(starts: &[u64]) -> Vec<u64> {
        let dir = tempfile::tempdir().unwrap();
        let (count, anchor) = (starts.len() as u64, Anchor::default());
        let capacity = count.next_power_of_two();
        let (clock, boot_id, last) = (ClockKind::Monotonic, [1; 16], None);
        let header = Header { clock, capacity, pid: 1, boot_id, first: anchor, head: count, lost_space: 0, lost_names: 0, last };
        let mut bytes = header.encode().to_vec();
        for (number, &start) in (0..).zip(starts) {
            bytes.extend_from_slice(&Record { start, arg: number, ..Record::new(Kind::SYNC) }.encode(number));
        }
        std::fs::write(dir.path().join("1-1.ring"), bytes).unwrap();
        let trace = Trace::open(dir.path()).unwrap();
        let events: Vec<Event> = trace.events().unwrap().collect();
        for event in &events {
            assert_eq!((event.record.arg, event.record.start), (event.number, starts[event.number as usize]));
        }
        events.iter().map(|event| event.record.start).collect()
    }

    #[test]
    fn a_record_that_came_far_too_early_waits_apart() {
        // Ten that belong behind all others come first, with many more after them than there is room for.
        let count = 5 * WINDOW as u64;
        let starts: Vec<u64> = (0..count).map(|number| if number < 10 { 10 * count + number } else { number }).collect();
        let mut sorted = starts.clone();
        sorted.sort();
        assert_eq!(given(&starts), sorted);
    }

    #[test]
    fn a_record_that_came_late_is_put_in_its_place_up_to_the_window() {
        let late = |by: u64| -> Vec<u64> {
            let count = 3 * WINDOW as u64;
            (0..count).map(|number| if number == 2 * by.min(WINDOW as u64) { 2 * (number - by) + 1 } else { 2 * number }).collect()
        };
        for by in [1, 100, WINDOW as u64] {
            let starts = late(by);
            let mut sorted = starts.clone();
            sorted.sort();
            assert_eq!(given(&starts), sorted, "{by} records late");
        }
    }

    #[test]
    fn records_in_no_order_at_all_are_sorted_within_the_window() {
        let starts: Vec<u64> = (0..WINDOW as u64).map(|number| number.wrapping_mul(0x9e37_79b9) % 10_007).collect();
        let mut sorted = starts.clone();
        sorted.sort();
        assert_eq!(given(&starts), sorted);
    }
}
