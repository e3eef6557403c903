//! Sums over all refused attempts: how many for which locks, how certain their candidates are, and which candidate was named most often.
//!
//! An attempt is added once nothing about it changes any more. Memory does not grow with the number of attempts. Of very many candidates, those named
//! least often are forgotten.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::ConnId;
use crate::analysis::waits::refusal::{Candidate, Refusal};
use crate::trace::{OutsideHolder, Trace};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// How many candidates are kept before those named least often are forgotten.
const CANDIDATES_KEPT: usize = 16_384;

/// The candidate that was named most often.
#[derive(Clone, Copy, Debug)]
pub struct TopCandidate {
    /// The candidate, as the first attempt that names it has it.
    pub candidate: Candidate,
    /// How many attempts it certainly refused.
    pub certain: u64,
    /// How many attempts it possibly refused.
    pub possible: u64,
}

/// Sums over all refused attempts.
#[derive(Debug, Default)]
pub struct RefusalStats<'t> {
    /// Refused attempts, without those of closing connections and the optional ones.
    pub refused: u64,
    /// Attempts of closing connections, which only want to know whether they are the last one. SQLite expects a refusal.
    pub closing: u64,
    /// Attempts without which SQLite carries on ([`crate::analysis::Request::is_optional`]). They make no statement fail.
    pub optional: u64,
    /// Refused attempts by lock.
    pub by_lock: BTreeMap<LockId, u64>,
    /// Refused attempts with a certain candidate.
    pub certain: u64,
    /// Refused attempts with possible candidates only.
    pub possible: u64,
    /// Refused attempts with no candidate in the trace.
    pub untraced: u64,
    /// The connection, lock and statement that most refused attempts name.
    pub top_candidate: Option<TopCandidate>,
    /// The process outside the trace that the kernel named most often, for attempts without a certain candidate.
    pub outside: Option<(&'t OutsideHolder, u64)>,
    named: HashMap<(ConnId, LockId, u64), (TopCandidate, u32)>,
    outsiders: HashMap<(i64, String), (&'t OutsideHolder, u64, u32)>,
}

impl<'t> RefusalStats<'t> {
    /// Adds this attempt. `number` counts attempts in the order of the trace.
    pub(crate) fn add(&mut self, trace: &'t Trace, number: u32, refusal: &Refusal) {
        if refusal.closing {
            self.closing += 1;
            return;
        }
        if refusal.request.is_optional() {
            self.optional += 1;
            return;
        }
        self.refused += 1;
        *self.by_lock.entry(LockId::of(refusal.request)).or_default() += 1;
        let certain = refusal.has_certain();
        match refusal.candidates.first() {
            None => self.untraced += 1,
            Some(_) if certain => self.certain += 1,
            Some(_) => self.possible += 1,
        }
        let query = refusal.kernel_query.filter(|_| !certain);
        let answer = query.and_then(|query| trace.log(refusal.who.log).names.outside(refusal.who.conn, query.start));
        let others = answer.into_iter().flat_map(|answer| answer.others());
        // A traced process that the kernel names is a candidate by its own records, or had taken the lock only then.
        for candidate in others.filter(|other| !trace.has_process(other.pid)) {
            let (_, attempts, first) = self.outsiders.entry((candidate.pid, candidate.lock())).or_insert((candidate, 0, number));
            (*attempts, *first) = (*attempts + 1, number.min(*first));
        }
        for candidate in &refusal.candidates {
            let key = (candidate.who, candidate.lock, candidate.sql);
            let (top, first) =
                self.named.entry(key).or_insert((TopCandidate { candidate: *candidate, certain: 0, possible: 0 }, number));
            *(if candidate.certain { &mut top.certain } else { &mut top.possible }) += 1;
            if number < *first {
                (top.candidate, *first) = (*candidate, number);
            }
        }
        keep_most(&mut self.named, |(top, first)| (top.certain, top.possible, Reverse(*first)));
        keep_most(&mut self.outsiders, |(_, attempts, first)| (*attempts, Reverse(*first)));
    }

    /// Completes the sums, once all attempts are added.
    pub(crate) fn finish(&mut self) {
        let named = std::mem::take(&mut self.named).into_values();
        let most = named.max_by_key(|(top, first)| (top.certain, top.possible, Reverse(*first), top.candidate.who));
        self.top_candidate = most.map(|(top, _)| top);
        let outsiders = std::mem::take(&mut self.outsiders).into_values();
        let most = outsiders.max_by_key(|&(_, attempts, first)| (attempts, Reverse(first)));
        self.outside = most.map(|(candidate, attempts, _)| (candidate, attempts));
    }
}

/// Forgets the lower half in this order if there are too many.
fn keep_most<K: Eq + Hash, V, O: Ord>(all: &mut HashMap<K, V>, order: impl Fn(&V) -> O) {
    if all.len() <= CANDIDATES_KEPT {
        return;
    }
    let mut orders: Vec<O> = all.values().map(&order).collect();
    let middle = orders.len() / 2;
    let (_, middle, _) = orders.select_nth_unstable(middle);
    all.retain(|_, value| order(value) > *middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_those_named_most_are_kept() {
        let mut all: HashMap<u32, u32> = (0..=CANDIDATES_KEPT as u32).map(|key| (key, key / 2)).collect();
        keep_most(&mut all, |&value| value);
        assert!(all.len() <= CANDIDATES_KEPT / 2 && all.len() > CANDIDATES_KEPT / 2 - 4, "{}", all.len());
        assert!(all.contains_key(&(CANDIDATES_KEPT as u32)) && !all.contains_key(&0));
    }
}
