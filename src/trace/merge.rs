//! Many logs, one stream: records of all of them in time order.
//!
//! In come the rings of a [`Trace`]; out go records with the instants that order them. Within one log records are in the order of
//! their claims, which is *nearly* that of time: a thread can be preempted between the end of a call and its claim. So each log is
//! sorted through a window of [`WINDOW`] records, and the logs are merged through a heap. Memory is one window a log, whatever the
//! length; a log that has not begun yet at the time the merge has reached costs nothing.
#![forbid(unsafe_code)]

use super::ring::{Cursor, Tally};
use super::{Event, LogId, Problem, Summary, Trace, instant, is_release};
use locktrace::format::record::Record;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many records late a record may be and still be put in its place.
pub(crate) const WINDOW: usize = 4096;

/// With more logs than this, those that have not begun are closed again after a look at their first record.
const OPEN_AT_ONCE: usize = 32;

/// Where a record belongs: its instant; releases first; then by log.
type Place = (u64, bool, u32);

/// One log's records, sorted through the window.
struct Stream<'t> {
    trace: &'t Trace,
    log: LogId,
    cursor: Cursor,
    records: Vec<(u64, Record)>,
    /// Of every record in `records`, sorted: key, number, index.
    order: Vec<(u64, u64, u32)>,
    /// The next of `order` to give, and the one before which giving is safe.
    at: usize,
    safe: usize,
    done: bool,
}

impl<'t> Stream<'t> {
    fn new(trace: &'t Trace, log: LogId, cursor: Cursor) -> Stream<'t> {
        Stream { trace, log, cursor, records: Vec::new(), order: Vec::new(), at: 0, safe: 0, done: false }
    }

    /// The next record, once `self.at < self.safe`.
    #[inline]
    fn current(&self) -> (u64, u64, &Record) {
        let (key, number, index) = self.order[self.at];
        (key, number, &self.records[index as usize].1)
    }

    #[inline]
    fn place(&mut self) -> Option<Place> {
        if self.at >= self.safe && !self.refill() {
            return None;
        }
        let (key, _, record) = self.current();
        Some((key, !is_release(record), self.log.0))
    }

    /// Keeps the window's worth that was not given yet, reads more, sorts all. `false` when nothing is left.
    #[cold]
    fn refill(&mut self) -> bool {
        while self.at >= self.safe {
            if self.done && self.at >= self.order.len() {
                return false;
            }
            let kept: Vec<(u64, Record)> =
                self.order[self.at..].iter().map(|&(_, _, index)| self.records[index as usize]).collect();
            self.records = kept;
            while !self.done && self.records.len() < 2 * WINDOW {
                let records = &mut self.records;
                self.done = !self.cursor.block(&mut |number, record| records.push((number, record)));
            }
            self.order.clear();
            let raw = self.trace.clocks.len() <= 1;
            for (index, (number, record)) in self.records.iter().enumerate() {
                let key = if raw { instant(record) } else { self.trace.key(self.log, record) };
                self.order.push((key, *number, index as u32));
            }
            sort_nearly_sorted(&mut self.order);
            self.at = 0;
            self.safe = if self.done { self.order.len() } else { self.order.len() - WINDOW };
        }
        true
    }
}

/// Sorts by insertion as long as little is out of place, which is nearly always, and properly when it turns out not to be.
fn sort_nearly_sorted(order: &mut [(u64, u64, u32)]) {
    let mut budget = 4 * order.len();
    for i in 1..order.len() {
        let item = order[i];
        let mut at = i;
        while at > 0 && order[at - 1] > item {
            order[at] = order[at - 1];
            at -= 1;
        }
        order[at] = item;
        if i - at > budget {
            order.sort_unstable();
            return;
        }
        budget -= i - at;
    }
}

enum State<'t> {
    /// Not begun; its records will be read from the start.
    Parked,
    Open(Box<Stream<'t>>),
    Finished,
}

/// The merge of a trace directory.
pub(crate) struct Merge<'t> {
    trace: &'t Trace,
    states: Vec<State<'t>>,
    heap: BinaryHeap<Reverse<Place>>,
    tallies: Vec<Tally>,
    problems: Vec<Problem>,
    /// The stream that gives now, and the place of the first record of any other.
    current: Option<(usize, Option<Place>)>,
}

impl<'t> Merge<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Merge<'t> {
        let count = trace.logs.len();
        let mut merge = Merge {
            trace,
            states: (0..count).map(|_| State::Parked).collect(),
            heap: BinaryHeap::new(),
            tallies: trace.logs.iter().map(|log| Tally { head: log.head, ..Tally::default() }).collect(),
            problems: trace.problems.clone(),
            current: None,
        };
        for index in 0..count {
            merge.open(index);
            if let Some(place) = merge.place(index) {
                if count > OPEN_AT_ONCE {
                    merge.states[index] = State::Parked;
                }
                merge.heap.push(Reverse(place));
            }
        }
        merge
    }

    fn open(&mut self, index: usize) {
        let log = &self.trace.logs[index];
        self.states[index] = match Cursor::new(&log.path) {
            Ok(cursor) => State::Open(Box::new(Stream::new(self.trace, LogId(index as u32), cursor))),
            Err(error) => {
                self.tallies[index].missing = log.head;
                self.problems.push(error.into_problem());
                State::Finished
            }
        };
    }

    /// Where the next record of this log belongs; closes the log when it has none.
    #[inline]
    fn place(&mut self, index: usize) -> Option<Place> {
        if let State::Open(stream) = &mut self.states[index] {
            if let Some(place) = stream.place() {
                return Some(place);
            }
            self.close(index);
        }
        None
    }

    #[cold]
    fn close(&mut self, index: usize) {
        if let State::Open(stream) = std::mem::replace(&mut self.states[index], State::Finished) {
            let (tally, problems) = stream.cursor.finish();
            self.tallies[index] = tally;
            self.problems.extend(problems);
        }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        loop {
            if let Some((index, limit)) = self.current {
                let place = self.place(index);
                match (place, limit) {
                    (Some(place), Some(limit)) if place > limit => self.heap.push(Reverse(place)),
                    (None, _) => {}
                    (Some(_), _) => return self.give(index),
                }
                self.current = None;
            }
            let Reverse((_, _, log)) = self.heap.pop()?;
            let index = log as usize;
            if matches!(self.states[index], State::Parked) {
                self.open(index);
            }
            self.current = Some((index, self.heap.peek().map(|Reverse(place)| *place)));
        }
    }

    #[inline]
    fn give(&mut self, index: usize) -> Option<(u64, Event)> {
        let State::Open(stream) = &mut self.states[index] else { return None };
        let (key, number, record) = stream.current();
        let event = Event { log: stream.log, number, record: *record };
        stream.at += 1;
        Some((key, event))
    }

    pub(crate) fn finish(self) -> Summary {
        Summary { tallies: self.tallies, problems: self.problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_of_sorting_sort(mut keys in proptest::collection::vec((0u64..50, 0u64..4, 0u32..4), 0..200)) {
            let mut expected = keys.clone();
            expected.sort();
            sort_nearly_sorted(&mut keys);
            prop_assert_eq!(&keys, &expected);
            keys.reverse();
            sort_nearly_sorted(&mut keys);
            prop_assert_eq!(keys, expected);
        }
    }
}
