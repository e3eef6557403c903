//! The waits that are not decided yet, and the latest that are.
//!
//! A wait collects its candidates until the trace has gone far enough beyond it. Decided waits stay at hand for as long again: a connection that was refused
//! later may have waited for theirs.
#![forbid(unsafe_code)]

use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::state::{ConnId, HoldEnd};
use crate::analysis::order::instants::Instant;
use crate::analysis::waits::follow::OpenWait;
use crate::analysis::waits::harmless::harmless;
use crate::analysis::waits::wait::Wait;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Candidates that are kept for one wait; further ones are only counted.
const TOLD_APART: usize = 256;

/// A hold that refused attempts of a wait, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CandidateHold {
    /// An index into the blocking holds.
    pub hold: u32,
    pub tid: u32,
    pub certain: bool,
    pub same_thread: bool,
    pub attempts: u32,
}

/// A wait and what is known of it.
pub(crate) struct PendingWait {
    pub wait: Wait,
    /// It goes on.
    live: bool,
    /// The attempts that are not counted in `candidates` yet.
    pub refusals: VecDeque<u32>,
    /// The candidates, in the order in which they were named.
    pub candidates: Vec<CandidateHold>,
    /// Candidates of one attempt that were not named.
    pub more: u32,
    /// A possible candidate may be missing.
    pub incomplete: bool,
    /// The ticks at which the attempt began about which the kernel named a process outside the trace.
    pub outside: Option<u64>,
}

impl PendingWait {
    /// A wait of which no attempt has a candidate yet.
    fn new(wait: Wait, live: bool) -> PendingWait {
        PendingWait { wait, live, refusals: VecDeque::new(), candidates: Vec::new(), more: 0, incomplete: false, outside: None }
    }

    /// An attempt was refused by this hold.
    pub(crate) fn add_candidate(&mut self, by: CandidateHold) {
        let known = self.candidates.len();
        match self.candidates.iter_mut().find(|known| known.hold == by.hold) {
            Some(known) => {
                known.attempts += 1;
                known.certain |= by.certain;
                known.same_thread |= by.same_thread;
            }
            None if known < TOLD_APART => self.candidates.push(by),
            None => self.more += 1,
        }
    }
}

/// The waits, by number.
pub(crate) struct PendingWaits {
    entries: VecDeque<PendingWait>,
    /// The number of the first of `entries`, and of the first that was not decided.
    base: u32,
    front: u32,
    /// Those that still went on when it was their turn.
    standing: BTreeMap<u32, PendingWait>,
    /// By connection, in time order; without those that were made beside another one.
    of: HashMap<ConnId, VecDeque<u32>>,
    first: Vec<Wait>,
    keep: usize,
}

impl PendingWaits {
    /// Keeps this many of the first ones to be listed.
    pub(crate) fn new(keep: usize) -> PendingWaits {
        PendingWaits {
            entries: VecDeque::new(),
            base: 0,
            front: 0,
            standing: BTreeMap::new(),
            of: HashMap::new(),
            first: Vec::new(),
            keep,
        }
    }

    /// A wait begins; returns its number.
    pub(crate) fn begin(&mut self, wait: Wait) -> u32 {
        let number = self.push(wait, true);
        self.of.entry(wait.who).or_default().push_back(number);
        number
    }

    /// A wait of one attempt, which its connection made while it waited for something else; returns its number.
    pub(crate) fn beside(&mut self, wait: Wait) -> u32 {
        self.push(wait, false)
    }

    fn push(&mut self, wait: Wait, live: bool) -> u32 {
        let number = self.base + self.entries.len() as u32;
        self.entries.push_back(PendingWait::new(wait, live));
        number
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.base) + self.entries.len() as u64
    }

    /// How many wait for their turn.
    pub(crate) fn undecided(&self) -> usize {
        self.entries.len() - (self.front - self.base) as usize
    }

    /// The wait with this number, while it is not decided.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut PendingWait> {
        if number < self.front {
            return self.standing.get_mut(&number);
        }
        self.entries.get_mut((number - self.base) as usize)
    }

    /// An attempt belongs to this wait.
    pub(crate) fn refused(&mut self, number: u32, refusal: u32) {
        if let Some(entry) = self.get_mut(number) {
            entry.refusals.push_back(refusal);
        }
    }

    /// It slept, or was refused again.
    pub(crate) fn went_on(&mut self, waiting: &OpenWait) {
        if let Some(entry) = self.get_mut(waiting.index) {
            let Wait { until, attempts, sleeps, .. } = waiting.wait;
            (entry.wait.until, entry.wait.attempts, entry.wait.sleeps) = (until, attempts, sleeps);
        }
    }

    /// A wait is over. Returns whether its turn had passed.
    pub(crate) fn end(&mut self, number: u32, wait: Wait) -> bool {
        if let Some(listed) = self.first.get_mut(number as usize) {
            *listed = wait;
        }
        if let Some(old) = number.checked_sub(self.base).and_then(|at| self.entries.get_mut(at as usize)) {
            old.wait = wait;
        }
        if let Some(entry) = self.get_mut(number) {
            (entry.wait, entry.live) = (wait, false);
        }
        number < self.front
    }

    /// The number of the one whose turn it is; one that still goes on stands aside.
    pub(crate) fn turn(&mut self) -> Option<u32> {
        let number = self.front;
        let entry = self.entries.get_mut((number - self.base) as usize)?;
        if self.first.len() < self.keep {
            self.first.push(entry.wait);
        }
        let (wait, live) = (entry.wait, entry.live);
        let gone = PendingWait::new(wait, live);
        self.standing.insert(number, std::mem::replace(entry, gone));
        self.front += 1;
        (!live).then_some(number)
    }

    /// Those that stand aside.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (u32, &PendingWait)> {
        self.standing.iter().map(|(&number, entry)| (number, entry))
    }

    /// Those that were not decided.
    pub(crate) fn open(&self) -> impl Iterator<Item = &PendingWait> {
        self.standing.values().chain(self.entries.range((self.front - self.base) as usize..))
    }

    /// One that stands aside.
    pub(crate) fn get(&self, number: u32) -> Option<&PendingWait> {
        self.standing.get(&number)
    }

    /// It was decided.
    pub(crate) fn decided(&mut self, number: u32) {
        self.standing.remove(&number);
    }

    /// Forgets those that were decided, but for this many.
    pub(crate) fn forget(&mut self, but: usize) {
        while (self.front - self.base) as usize > but
            && let Some(entry) = self.entries.pop_front()
        {
            self.base += 1;
            if let Some(numbers) = self.of.get_mut(&entry.wait.who).filter(|numbers| numbers.front() == Some(&(self.base - 1))) {
                numbers.pop_front();
                if numbers.is_empty() {
                    self.of.remove(&entry.wait.who);
                }
            }
        }
    }

    /// The wait of this hold's connection, during the hold, that overlaps this span. One attempt without a sleep does not count, nor does a
    /// harmless wait.
    pub(crate) fn wait_of(&self, hold: &BlockingHold, span: (Instant, Instant)) -> Option<(u32, &Wait)> {
        let numbers = self.of.get(&hold.who)?;
        let end = match hold.end {
            HoldEnd::Released(at, _) | HoldEnd::Unseen(at, _) => at.min(span.1),
            HoldEnd::Open => span.1,
        };
        let wait = |number: u32| &self.entries[(number - self.base) as usize].wait;
        let at = numbers.partition_point(|&number| wait(number).until < span.0.max(hold.since));
        let overlapping = numbers.range(at..).map(|&number| (number, wait(number))).take_while(|(_, wait)| wait.from <= end);
        overlapping.into_iter().find(|(_, wait)| (wait.attempts > 1 || wait.sleeps > 0) && harmless(wait).is_none())
    }

    /// The first ones.
    pub(crate) fn finish(self) -> Vec<Wait> {
        self.first
    }
}
