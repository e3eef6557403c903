//! Traces with more refusals than are kept one by one: the sums are of all, and what is listed is the first and the worst.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Process;
use sqlite_locktrace::analysis::{Analysis, Cause, Ended, Incident, Options};
use sqlite_locktrace::trace::Trace;
use std::path::Path;

const ROUNDS: u64 = 240;

/// Two processes; in each round one writes and the other is refused: most get the lock after a wait that grows and falls again, every fifth one gives up, every
/// seventh one was reading already, every eleventh one meets a checkpoint. One reader stands in the way of checkpoints all the time.
fn contended(dir: &Path) -> [Process; 2] {
    let (mut a, mut b) = (Process::new(100), Process::new(200));
    b.run("2 c9 S READ3 -- SELECT forever");
    for round in 0..ROUNDS {
        let at = 100 + round * 1_000;
        let held = 100 + (round * 37 % 11) * 50;
        let (own, other) = (format!("INSERT INTO t{} VALUES (1)", round % 4), format!("UPDATE t{} SET v = 1", round % 3));
        a.run(&format!(
            "{at} c1 S READ1 -- {own}\n{} c1 X WRITE -- {own}\n{} c1 wrote wal 4120\n{} c1 U WRITE\n{} c1 U READ1",
            at + 5,
            at + 10,
            at + held,
            at + held + 5
        ));
        if round % 7 == 3 {
            b.run(&format!("{} c2 S READ2 -- SELECT 1\n{} c2 X WRITE=BUSY -- {other}\n{} c2 U READ2", at + 20, at + 30, at + 40));
            continue;
        }
        b.run(&format!("{} c2 S READ2 -- {other}\n{} c2 X WRITE=BUSY -- {other}\n{} c2 U READ2", at + 20, at + 30, at + 40));
        if round % 5 != 1 {
            let then = at + held + 20;
            b.run(&format!(
                "{} c2 sleep 1000\n{then} c2 S READ2 -- {other}\n{} c2 X WRITE -- {other}\n{} c2 U WRITE\n{} c2 U READ2",
                at + 45,
                then + 5,
                then + 10,
                then + 15
            ));
        }
        if round % 11 == 6 {
            b.run(&format!("{} c3 X CKPT\n{} c3 X READ3=BUSY\n{} c3 U CKPT", at + 800, at + 810, at + 820));
        }
    }
    a.write(dir);
    b.write(dir);
    [a, b]
}

fn options(listed: usize, at_hand: usize) -> Options {
    Options { listed, at_hand, ..Options::default() }
}

fn waited(analysis: &Analysis<'_>, incident: &Incident) -> u64 {
    analysis.ns(incident.who.log, incident.first, incident.until).unwrap()
}

#[test]
fn what_is_decided_early_is_decided_as_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let whole = Analysis::of(&trace, Options::default()).unwrap();
    let causes: Vec<Cause> = whole.totals.causes.keys().copied().collect();
    assert_eq!(
        causes,
        [Cause::UpgradeRefused, Cause::HoldExceedsTimeout, Cause::NoBusyTimeout, Cause::CheckpointStarved],
        "the trace is one worth looking at"
    );
    for at_hand in [1, 2, 5, 30, 1000] {
        let early = Analysis::of(&trace, options(usize::MAX, at_hand)).unwrap();
        assert_eq!(whole.refusals, early.refusals, "{at_hand}");
        assert_eq!(whole.waits, early.waits, "{at_hand}");
        assert_eq!((&whole.incidents, &whole.holdings), (&early.incidents, &early.holdings), "{at_hand}");
        assert_eq!(format!("{:?}", whole.totals), format!("{:?}", early.totals), "{at_hand}");
        assert_eq!(format!("{:?}", whole.attempts), format!("{:?}", early.attempts), "{at_hand}");
    }
}

#[test]
fn sums_are_of_all_and_the_worst_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let whole = Analysis::of(&trace, options(usize::MAX, 8)).unwrap();
    assert_eq!(whole.not_listed(), [0; 3]);
    for listed in [0, 1, 8, 40, 100] {
        let few = Analysis::of(&trace, options(listed, 8)).unwrap();
        assert_eq!(format!("{:?}", whole.totals), format!("{:?}", few.totals), "{listed}");
        assert_eq!(format!("{:?}", whole.attempts), format!("{:?}", few.attempts), "{listed}");
        assert_eq!(few.waits, whole.waits[..listed], "{listed}");
        assert_eq!(few.refusals, whole.refusals[..listed], "{listed}");
        // The worst of each cause, and its longest wait, are there in any case.
        assert!(few.incidents.len() <= listed.max(2 * Cause::ALL.len()), "{listed}: {}", few.incidents.len());
        assert!(few.incidents.len() >= listed.min(whole.incidents.len()), "{listed}");
        let all = [whole.incidents.len(), whole.waits.len(), whole.refusals.len()];
        let there = [few.incidents.len(), few.waits.len(), few.refusals.len()];
        assert_eq!(few.not_listed(), [0, 1, 2].map(|i| (all[i] - there[i]) as u64), "{listed}");
        for &cause in whole.totals.causes.keys() {
            let worst = |analysis: &Analysis<'_>, by_length: bool| {
                let of_cause = analysis.incidents.iter().filter(|incident| incident.cause == cause);
                of_cause.map(|incident| (incident.ended == Ended::GaveUp && !by_length, waited(analysis, incident))).max()
            };
            assert_eq!(worst(&whole, false), worst(&few, false), "{listed} {cause:?}");
            assert_eq!(worst(&whole, true), worst(&few, true), "{listed} {cause:?}");
        }
        // Every listed one is one of all, with the same holder.
        for incident in &few.incidents {
            let same = |other: &&Incident| (other.first, other.who, other.wait) == (incident.first, incident.who, incident.wait);
            let original = whole.incidents.iter().find(same).unwrap();
            let holders = |analysis: &Analysis<'_>, incident: &Incident| -> Vec<_> {
                incident.blockers.iter().map(|blocker| analysis.holdings[blocker.holding as usize].clone()).collect()
            };
            assert_eq!((original.cause, &original.evidence), (incident.cause, &incident.evidence));
            assert_eq!(holders(&whole, original), holders(&few, incident));
        }
    }
}

#[test]
fn the_first_and_the_worst_of_each_kind_come_before_the_others() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let whole = Analysis::of(&trace, options(usize::MAX, 8)).unwrap();
    let few = Analysis::of(&trace, options(60, 8)).unwrap();
    let kind = |analysis: &Analysis<'_>, incident: &Incident| {
        let blocker = incident.blockers.first().map(|blocker| analysis.holdings[blocker.holding as usize].sql);
        (incident.cause, incident.sql, blocker)
    };
    let mut kinds: Vec<_> = whole.incidents.iter().map(|incident| kind(&whole, incident)).collect();
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() > 20, "{}", kinds.len());
    for wanted in kinds {
        let of_kind = |analysis: &Analysis<'_>| -> Vec<(u64, u64)> {
            let of_kind = analysis.incidents.iter().filter(|incident| kind(analysis, incident) == wanted);
            of_kind.map(|incident| (incident.first, waited(analysis, incident))).collect()
        };
        let (all, listed) = (of_kind(&whole), of_kind(&few));
        assert!(listed.contains(&all[0]), "the first of {wanted:?}");
        assert_eq!(listed.iter().map(|item| item.1).max(), all.iter().map(|item| item.1).max(), "the worst of {wanted:?}");
    }
}

#[test]
fn what_turns_out_to_be_missing_later_counts_for_what_was_decided_before() {
    let dir = tempfile::tempdir().unwrap();
    let [mut a, _] = contended(dir.path());
    // Two records in a row, near the end: each hold of this process may have been another one.
    let at = a.records.len() - 7;
    let mut ring = {
        a.header.capacity = 4096;
        a.ring()
    };
    ring[4096 + 64 * at..4096 + 64 * (at + 2)].fill(0);
    std::fs::write(dir.path().join(format!("{}.ring", a.id)), ring).unwrap();
    let trace = Trace::open(dir.path()).unwrap();
    let whole = Analysis::of(&trace, Options::default()).unwrap();
    assert!(whole.attempts.certain < whole.attempts.refused / 2, "{:?}", whole.attempts);
    for at_hand in [1, 10] {
        let early = Analysis::of(&trace, options(usize::MAX, at_hand)).unwrap();
        assert_eq!(whole.incidents, early.incidents);
        assert_eq!(format!("{:?}", whole.attempts), format!("{:?}", early.attempts));
    }
}
