//! Sums over all refused attempts: how many, for which locks, how sure their candidates are, and which was named most often.
//!
//! An attempt is added once nothing about it changes any more. Memory does not grow with their number: of very many candidates, those named least are forgotten.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::ConnId;
use crate::analysis::waits::refusal::{Candidate, Refusal};
use crate::trace::{OutsideHolder, Trace};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Candidates that are kept before those named least are forgotten.
const TOLD_APART: usize = 16_384;

/// The candidate that was named most often.
#[derive(Clone, Copy, Debug)]
pub struct TopCandidate {
    /// As in the first attempt that names it.
    pub candidate: Candidate,
    /// Attempts it certainly refused.
    pub certain: u64,
    /// Attempts it possibly refused.
    pub possible: u64,
}

/// The sums.
#[derive(Debug, Default)]
pub struct RefusalStats<'t> {
    /// Refused attempts, those of closing connections and the optional ones not counted.
    pub refused: u64,
    /// Attempts of closing connections to be the last one: SQLite expects them to be refused.
    pub closing: u64,
    /// Attempts SQLite can do without ([`crate::analysis::Request::is_optional`]): they make no statement fail.
    pub optional: u64,
    /// Refused attempts by lock.
    pub by_lock: BTreeMap<LockId, u64>,
    /// Of them: with a certain candidate.
    pub certain: u64,
    /// With possible candidates only.
    pub possible: u64,
    /// With no candidate in the trace.
    pub untraced: u64,
    /// The connection, lock and statement named for the most of them.
    pub top_candidate: Option<TopCandidate>,
    /// The process outside the trace that the kernel named most often, for attempts without a certain candidate.
    pub outside: Option<(&'t OutsideHolder, u64)>,
    named: HashMap<(ConnId, LockId, u64), (TopCandidate, u32)>,
    strangers: HashMap<(i64, String), (&'t OutsideHolder, u64, u32)>,
}

impl<'t> RefusalStats<'t> {
    /// Adds the attempt with this number.
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
        let asked = refusal.asked.filter(|_| !certain);
        let answer = asked.and_then(|asked| trace.log(refusal.who.log).names.outside(refusal.who.conn, asked.start));
        for candidate in answer.into_iter().flat_map(|answer| answer.others()) {
            let (_, attempts, first) = self.strangers.entry((candidate.pid, candidate.lock())).or_insert((candidate, 0, number));
            (*attempts, *first) = (*attempts + 1, number.min(*first));
        }
        for candidate in &refusal.candidates {
            let key = (candidate.who, candidate.lock, candidate.sql);
            let (worst, first) =
                self.named.entry(key).or_insert((TopCandidate { candidate: *candidate, certain: 0, possible: 0 }, number));
            *(if candidate.certain { &mut worst.certain } else { &mut worst.possible }) += 1;
            if number < *first {
                (worst.candidate, *first) = (*candidate, number);
            }
        }
        keep_most(&mut self.named, |(worst, first)| (worst.certain, worst.possible, Reverse(*first)));
        keep_most(&mut self.strangers, |(_, attempts, first)| (*attempts, Reverse(*first)));
    }

    /// All attempts are in.
    pub(crate) fn finish(&mut self) {
        let named = std::mem::take(&mut self.named).into_values();
        let most = named.max_by_key(|(worst, first)| (worst.certain, worst.possible, Reverse(*first), worst.candidate.who));
        self.top_candidate = most.map(|(worst, _)| worst);
        let strangers = std::mem::take(&mut self.strangers).into_values();
        let most = strangers.max_by_key(|&(_, attempts, first)| (attempts, Reverse(first)));
        self.outside = most.map(|(candidate, attempts, _)| (candidate, attempts));
    }
}

/// Forgets the lesser half when there are too many.
fn keep_most<K: Eq + Hash, V, O: Ord>(all: &mut HashMap<K, V>, order: impl Fn(&V) -> O) {
    if all.len() <= TOLD_APART {
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
        let mut all: HashMap<u32, u32> = (0..=TOLD_APART as u32).map(|key| (key, key / 2)).collect();
        keep_most(&mut all, |&value| value);
        assert!(all.len() <= TOLD_APART / 2 && all.len() > TOLD_APART / 2 - 4, "{}", all.len());
        assert!(all.contains_key(&(TOLD_APART as u32)) && !all.contains_key(&0));
    }
}
