//! The queue of waits that are not decided yet, and the latest decided ones.
//!
//! A wait collects its candidates until enough later waits have begun. A decided wait stays in the queue for as long again, because a connection that
//! was refused later may have waited for this wait's connection.
#![forbid(unsafe_code)]

use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::state::{ConnId, HoldEnd};
use crate::analysis::order::instants::Instant;
use crate::analysis::waits::follow::OpenWait;
use crate::analysis::waits::harmless::harmless;
use crate::analysis::waits::wait::Wait;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many candidates are kept for one wait. Further ones are only counted.
const CANDIDATES_KEPT: usize = 256;

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

/// A wait and what is known about it.
pub(crate) struct PendingWait {
    pub wait: Wait,
    /// The wait has not ended.
    live: bool,
    /// The attempts whose candidates are not in `candidates` yet.
    pub refusals: VecDeque<u32>,
    /// The candidates, in the order in which they were named.
    pub candidates: Vec<CandidateHold>,
    /// How many further candidates there were: the most that one attempt did not name, and those beyond `CANDIDATES_KEPT`.
    pub more: u32,
    /// A possible candidate may be missing.
    pub incomplete: bool,
    /// The ticks at which an attempt began for which the kernel named a process outside the trace.
    pub outside: Option<u64>,
}

impl PendingWait {
    /// A wait without candidates.
    fn new(wait: Wait, live: bool) -> PendingWait {
        PendingWait { wait, live, refusals: VecDeque::new(), candidates: Vec::new(), more: 0, incomplete: false, outside: None }
    }

    /// Notes that this hold refused an attempt, or may have.
    pub(crate) fn add_candidate(&mut self, by: CandidateHold) {
        let known = self.candidates.len();
        match self.candidates.iter_mut().find(|known| known.hold == by.hold) {
            Some(known) => {
                known.attempts += 1;
                known.certain |= by.certain;
                known.same_thread |= by.same_thread;
            }
            None if known < CANDIDATES_KEPT => self.candidates.push(by),
            None => self.more += 1,
        }
    }
}

/// The waits, by number.
pub(crate) struct PendingWaits {
    entries: VecDeque<PendingWait>,
    /// The number of the first of `entries`.
    base: u32,
    /// The number of the first wait whose turn has not come.
    front: u32,
    /// The waits whose turn has come and that are not decided: they still go on, or are being decided.
    set_aside: BTreeMap<u32, PendingWait>,
    /// The numbers of each connection's waits, in time order, without those made by [`PendingWaits::beside`].
    of: HashMap<ConnId, VecDeque<u32>>,
    first: Vec<Wait>,
    keep: usize,
}

impl PendingWaits {
    /// An empty queue that keeps the first `keep` waits for the reports.
    pub(crate) fn new(keep: usize) -> PendingWaits {
        PendingWaits {
            entries: VecDeque::new(),
            base: 0,
            front: 0,
            set_aside: BTreeMap::new(),
            of: HashMap::new(),
            first: Vec::new(),
            keep,
        }
    }

    /// Adds a wait that begins. Returns its number.
    pub(crate) fn begin(&mut self, wait: Wait) -> u32 {
        let number = self.push(wait, true);
        self.of.entry(wait.who).or_default().push_back(number);
        number
    }

    /// Adds a wait of one attempt, which its connection made during another wait. Returns its number.
    pub(crate) fn beside(&mut self, wait: Wait) -> u32 {
        self.push(wait, false)
    }

    fn push(&mut self, wait: Wait, live: bool) -> u32 {
        let number = self.base + self.entries.len() as u32;
        self.entries.push_back(PendingWait::new(wait, live));
        number
    }

    /// The number of waits so far.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.base) + self.entries.len() as u64
    }

    /// The number of waits whose turn has not come.
    pub(crate) fn undecided(&self) -> usize {
        self.entries.len() - (self.front - self.base) as usize
    }

    /// The wait with this number, if it is not decided.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut PendingWait> {
        if number < self.front {
            return self.set_aside.get_mut(&number);
        }
        self.entries.get_mut((number - self.base) as usize)
    }

    /// Adds an attempt to this wait.
    pub(crate) fn refused(&mut self, number: u32, refusal: u32) {
        if let Some(entry) = self.get_mut(number) {
            entry.refusals.push_back(refusal);
        }
    }

    /// Notes that the connection of this wait slept, or was refused again.
    pub(crate) fn went_on(&mut self, waiting: &OpenWait) {
        if let Some(entry) = self.get_mut(waiting.index) {
            let Wait { until, attempts, sleeps, .. } = waiting.wait;
            (entry.wait.until, entry.wait.attempts, entry.wait.sleeps) = (until, attempts, sleeps);
        }
    }

    /// Notes that a wait is over. Returns whether its turn had passed.
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

    /// Sets the next wait aside. Returns its number if it can be decided now; `None` if it still goes on, or if no wait is left.
    pub(crate) fn turn(&mut self) -> Option<u32> {
        let number = self.front;
        let entry = self.entries.get_mut((number - self.base) as usize)?;
        if self.first.len() < self.keep {
            self.first.push(entry.wait);
        }
        let (wait, live) = (entry.wait, entry.live);
        let gone = PendingWait::new(wait, live);
        self.set_aside.insert(number, std::mem::replace(entry, gone));
        self.front += 1;
        (!live).then_some(number)
    }

    /// The waits that are set aside.
    pub(crate) fn set_aside(&self) -> impl Iterator<Item = (u32, &PendingWait)> {
        self.set_aside.iter().map(|(&number, entry)| (number, entry))
    }

    /// The waits that are not decided.
    pub(crate) fn open(&self) -> impl Iterator<Item = &PendingWait> {
        self.set_aside.values().chain(self.entries.range((self.front - self.base) as usize..))
    }

    /// The wait with this number, if it is set aside.
    pub(crate) fn get(&self, number: u32) -> Option<&PendingWait> {
        self.set_aside.get(&number)
    }

    /// Notes that this wait is decided.
    pub(crate) fn decided(&mut self, number: u32) {
        self.set_aside.remove(&number);
    }

    /// Forgets the oldest decided waits and keeps this many.
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

    /// The wait of this hold's connection that lies in the hold and overlaps this span. A harmless wait does not count, nor does a single
    /// attempt without a sleep.
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

    /// The first waits, for the reports.
    pub(crate) fn finish(self) -> Vec<Wait> {
        self.first
    }
}
