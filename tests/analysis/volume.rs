//! Traces with more refusals than the analysis keeps one by one: sums cover all of them, and lists have the first and the worst.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::common::Process;
use sqlite_locktrace::analysis::{Analysis, Cause, Incident, IncidentEnd, Options};
use sqlite_locktrace::trace::Trace;
use std::path::Path;

const ROUNDS: u64 = 240;

/// Two processes; in each round one writes and the other is refused: most get the lock after a wait that grows and falls again, every fifth one gives up, every
/// seventh one was reading already, every eleventh one meets a checkpoint. One reader blocks checkpoints all the time.
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
        assert_eq!((&whole.incidents, &whole.blocking_holds), (&early.incidents, &early.blocking_holds), "{at_hand}");
        assert_eq!(format!("{:?}", whole.totals), format!("{:?}", early.totals), "{at_hand}");
        assert_eq!(format!("{:?}", whole.refusal_stats), format!("{:?}", early.refusal_stats), "{at_hand}");
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
        assert_eq!(format!("{:?}", whole.refusal_stats), format!("{:?}", few.refusal_stats), "{listed}");
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
                of_cause.map(|incident| (incident.end == IncidentEnd::GaveUp && !by_length, waited(analysis, incident))).max()
            };
            assert_eq!(worst(&whole, false), worst(&few, false), "{listed} {cause:?}");
            assert_eq!(worst(&whole, true), worst(&few, true), "{listed} {cause:?}");
        }
        // Every listed one is one of all, with the same holder.
        for incident in &few.incidents {
            let same = |other: &&Incident| (other.first, other.who, other.wait) == (incident.first, incident.who, incident.wait);
            let original = whole.incidents.iter().find(same).unwrap();
            let holders = |analysis: &Analysis<'_>, incident: &Incident| -> Vec<_> {
                incident.blockers.iter().map(|blocker| analysis.blocking_holds[blocker.hold as usize].clone()).collect()
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
        let blocker = incident.blockers.first().map(|blocker| analysis.blocking_holds[blocker.hold as usize].sql);
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
    assert!(whole.refusal_stats.certain < whole.refusal_stats.refused / 2, "{:?}", whole.refusal_stats);
    for at_hand in [1, 10] {
        let early = Analysis::of(&trace, options(usize::MAX, at_hand)).unwrap();
        assert_eq!(whole.incidents, early.incidents);
        assert_eq!(format!("{:?}", whole.refusal_stats), format!("{:?}", early.refusal_stats));
    }
}

/// That decided early is what is decided in the end; gives that.
fn early_and_late<'t>(trace: &'t Trace, at_hand: &[usize]) -> Analysis<'t> {
    let whole = Analysis::of(trace, Options::default()).unwrap();
    for &at_hand in at_hand {
        let early = Analysis::of(trace, options(usize::MAX, at_hand)).unwrap();
        assert_eq!(whole.refusals, early.refusals, "{at_hand}");
        assert_eq!((&whole.incidents, &whole.blocking_holds), (&early.incidents, &early.blocking_holds), "{at_hand}");
        assert_eq!(format!("{:?}", whole.totals), format!("{:?}", early.totals), "{at_hand}");
        assert_eq!(format!("{:?}", whole.refusal_stats), format!("{:?}", early.refusal_stats), "{at_hand}");
    }
    whole
}

/// One attempt without a timeout.
fn refused(at: u64) -> String {
    format!("{at} c1 S READ2 -- INSERT b\n{} c1 X WRITE=BUSY -- INSERT b\n{} c1 U READ2\n", at + 5, at + 10)
}

#[test]
fn who_may_have_died_is_no_certain_holder_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (Process::new(100), Process::new(200));
    // It was seen last at 50012, and has WRITE: nobody saw it give that up.
    a.run("100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n50010 c1 X READ3 -- INSERT a\n");
    a.header.last = None;
    for at in 1..=100 {
        b.run(&refused(at * 1_000));
    }
    [&a, &b].iter().for_each(|process| process.write(dir.path()));
    let trace = Trace::open(dir.path()).unwrap();
    let whole = early_and_late(&trace, &[1, 3, 40]);
    let (certain, possible) = (whole.refusal_stats.certain, whole.refusal_stats.possible);
    assert_eq!((certain, possible), (50, 50));
}

#[test]
fn readers_that_starve_checkpoints_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut readers, mut writer) = (Process::new(100), Process::new(200));
    // More readers than are looked after at a time, in turns of two that overlap; every third one meets one checkpoint only.
    for turn in 0..2_600 {
        let (at, conn) = (1_000 + turn * 200, 1 + turn % 2);
        readers.run(&format!("{at} c{conn} S READ{conn} -- SELECT {conn}\n{} c{conn} U READ{conn}\n", at + 195));
        let checkpoint = |at: u64| format!("{at} c9 X CKPT\n{} c9 X READ{conn}=BUSY\n{} c9 U CKPT\n", at + 2, at + 6);
        writer.run(&checkpoint(at + 50));
        writer.run(&format!("{} c8 X WRITE -- INSERT a\n{} c8 wrote wal 4120\n{} c8 U WRITE\n", at + 80, at + 83, at + 84));
        if turn % 3 > 0 {
            writer.run(&checkpoint(at + 100));
        }
    }
    [&readers, &writer].iter().for_each(|process| process.write(dir.path()));
    let trace = Trace::open(dir.path()).unwrap();
    let whole = early_and_late(&trace, &[1, 40]);
    assert_eq!(
        whole.totals.causes.iter().map(|(cause, found)| (*cause, found.count)).collect::<Vec<_>>(),
        [(Cause::CheckpointStarved, 1_733)]
    );
    assert!(whole.incidents.iter().all(|incident| incident.attempts == 2 && incident.end == IncidentEnd::SucceededAfterWait));
}
