//! The analysis against a naive oracle: random interleavings of connections that keep SQLite's rules, and the whole truth beside them.
//!
//! A simulated set of connections takes and releases locks one call at a time. Each call is granted or refused at a true instant between its start and
//! its end. The oracle knows every connection's locks at every true instant. The analysis sees only the records, in the order of claims, and must
//! never contradict that truth: every certain holder really held a conflicting lock at the instant of the refusal, and the analysis names every real
//! holder, as certain or as possible. It must know exactly how often and how long each lock was held.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::play::{Held, Played, Refused, Step, play, step};
use proptest::prelude::*;
use shim::format::record::Record;
use sqlite_locktrace::analysis::{Analysis, LockId, Options};
use sqlite_locktrace::trace::{LogId, Trace, is_release};
use std::collections::BTreeSet;

fn check(steps: &[Step], wal: bool, split: bool, lose: Option<usize>) -> Result<(), TestCaseError> {
    let Played { records, refusals, acquired, holds } = play(steps, wal);
    // Connections of one process, or every second one in another.
    let mut processes = [Process::new(1), Process::new(2)];
    for (_, record) in &records {
        let other = split && record.conn % 2 == 0;
        processes[usize::from(other)].records.push(*record);
    }
    let dir = tempfile::tempdir().unwrap();
    for process in &processes {
        process.write(dir.path());
    }
    let lost = lose.and_then(|at| {
        let count = processes[0].records.len();
        let at = if count == 0 { return None } else { at % count };
        let path = dir.path().join(format!("{}.ring", processes[0].id));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096 + at * 64 + 8] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
        Some(processes[0].records[at])
    });
    let trace = Trace::open(dir.path()).unwrap();
    let mut last = 0;
    for event in trace.events().unwrap() {
        let at = if is_release(&event.record) { event.record.start } else { event.record.end() };
        prop_assert!(at >= last, "the merge is in time order");
        last = at;
    }
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let expected: Vec<&Refused> = refusals
        .iter()
        .filter(|refused| lost.is_none_or(|lost| (lost.conn, lost.start) != (refused.conn, refused.start)))
        .collect();
    prop_assert_eq!(analysis.refusals.len(), expected.len());
    for refusal in &analysis.refusals {
        let truth = expected.iter().find(|truth| truth.conn == refusal.who.conn && truth.start == refusal.start).unwrap();
        prop_assert_eq!(truth.request, refusal.request);
        let named: BTreeSet<u32> = refusal.candidates.iter().map(|holder| holder.who.conn).collect();
        for holder in refusal.candidates.iter().filter(|holder| holder.certain) {
            prop_assert!(
                truth.holders.contains(&holder.who.conn),
                "{:?} did not hold anything at {}: {:?}",
                holder,
                truth.start,
                truth.holders
            );
        }
        let certain = refusal.candidates.iter().any(|holder| holder.certain);
        if lost.is_none() {
            let missing = truth.holders.difference(&named).next();
            // Certain holders make possible ones irrelevant, so only the set of all possible ones has to be complete.
            prop_assert!(certain || missing.is_none(), "{:?} is not named: {:?}", missing, refusal);
            prop_assert!(refusal.candidates.iter().all(|holder| holder.certain == certain));
        }
    }
    if let (None, Some(db)) = (lost, analysis.databases.first()) {
        let counted: Vec<u64> = LockId::all().map(|lock| db.lock(lock).acquired).collect();
        // Falling back from EXCLUSIVE to SHARED after SHARED was jumped over never happens here, so every hold begins with its call.
        prop_assert_eq!(counted, acquired);
    }
    lengths(&analysis, &holds, lost)
}

/// How many holds of each lock there were, and how long they were together: exactly; with a record lost, no more than there were, and no fewer than it can
/// have hidden.
fn lengths(analysis: &Analysis<'_>, holds: &[Held], lost: Option<Record>) -> Result<(), TestCaseError> {
    let Some(db) = analysis.databases.first() else { return Ok(()) };
    for (place, lock) in LockId::all().enumerate() {
        let of_it = holds.iter().filter(|hold| hold.lock == place);
        let ended: Vec<u64> = of_it.clone().filter_map(|hold| Some(hold.until? - hold.from)).collect();
        let open = of_it.count() - ended.len();
        let ns = |ticks: u64| analysis.ns(LogId(0), 0, ticks).unwrap();
        let (sum, longest) = (ended.iter().map(|&ticks| u128::from(ns(ticks))).sum(), ended.iter().map(|&ticks| ns(ticks)).max());
        let stats = db.lock(lock);
        let found = (stats.held.count, stats.held.sum_ns, stats.held.max_ns, stats.open, stats.unknown);
        let truth = (ended.len() as u64, sum, longest.unwrap_or(0), open as u64, 0);
        if lost.is_none() {
            prop_assert_eq!(found, truth, "{}", lock);
            continue;
        }
        prop_assert!(found.0 <= truth.0 && found.1 <= truth.1 && found.2 <= truth.2, "{}: {:?}, not {:?}", lock, found, truth);
        let (all, real) = (found.0 + found.3 + found.4, truth.0 + truth.3);
        prop_assert!(all <= real && all + 1 >= real, "{}: {} holds, not {}", lock, all, real);
        prop_assert!(found.0 + 1 >= truth.0 && found.3 <= truth.3 + 1, "{}: {:?}, not {:?}", lock, found, truth);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rollback_locks(steps in proptest::collection::vec(step(), 1..120), split in any::<bool>()) {
        check(&steps, false, split, None)?;
    }

    #[test]
    fn wal_locks(steps in proptest::collection::vec(step(), 1..120), split in any::<bool>()) {
        check(&steps, true, split, None)?;
    }

    /// One record is lost: nobody is called a certain holder who was not.
    #[test]
    fn one_lost_record(steps in proptest::collection::vec(step(), 1..80), wal in any::<bool>(), lose in any::<usize>()) {
        check(&steps, wal, true, Some(lose))?;
    }
}
