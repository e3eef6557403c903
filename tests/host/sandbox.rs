//! System calls: once a program is under way, recording makes none that the bare program does not make too.
//!
//! A filter of seccomp that allows the bare program's calls alone kills it at any other. Which these are is counted by programs/calls.c.

use crate::harness::{Host, Ran, With, equal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const BOTH: [With; 2] = [With::Run, With::Extension];
/// Of x86-64 and of others.
const EXIT_GROUP: i64 = libc::SYS_exit_group;

type Counts = BTreeMap<i64, u64>;

/// How often each call was made between the marks of filtered.c.
fn counted(host: &Host, with: With, words: [&str; 2]) -> (Ran, Counts) {
    let program = host.program("filtered");
    let ran = host.run(with, &["calls", "counts", program.to_str().unwrap(), words[0], words[1]]);
    assert_eq!(ran.seen.code, 0, "{with:?} {words:?}: {} {}", ran.seen.out, ran.seen.err);
    let text = fs::read_to_string(ran.dir.join("counts")).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    (ran, lines.map(|(nr, n)| (nr.parse().unwrap(), n.parse().unwrap())).collect())
}

fn host() -> Option<Host> {
    Host::of(&["filtered", "calls"])
}

/// Where only the bare program's calls are allowed, the traced one runs as it does.
fn killed_at_any_other_call(with: &[With], when: &str, what: &str, by: &str) {
    filtered(with, [when, what, by], &[]);
}

/// The same with these calls allowed, too.
fn filtered(with: &[With], [when, what, by]: [&str; 3], more: &[i64]) {
    let Some(mut host) = host() else { return };
    // Which ones malloc makes differs a little from run to run: all that were seen in three.
    let mut allowed = BTreeSet::from([EXIT_GROUP]);
    allowed.extend(more);
    (0..3).for_each(|_| allowed.extend(counted(&host, With::Nothing, [when, what]).1.into_keys()));
    let numbers: Vec<String> = allowed.iter().map(i64::to_string).collect();
    host.set("ALLOW", &numbers.join(" "));
    host.set("FILTER_BY", by);
    let words = ["filtered", when, what];
    let bare = host.run(With::Nothing, &words);
    assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""), "bare, and allowed are its own calls");
    for &with in with {
        let mut traced = host.run(with, &words);
        traced.seen.files.clone_from(&bare.seen.files);
        equal(&format!("{with:?} {when} {what} by {by}, allowed {allowed:?}"), &bare, &traced);
        assert!(when == "early" || traced.records().0 > 0, "{with:?} {when} {what}: nothing was recorded, so nothing was tested");
    }
}

#[test]
fn a_filter_set_after_databases_were_used_kills_at_no_call_of_the_recorder() {
    killed_at_any_other_call(&[With::Run], "late", "all", "prctl");
    killed_at_any_other_call(&[With::Run], "late", "all", "seccomp");
}

#[test]
fn a_filter_set_before_the_first_open_kills_at_no_call_of_the_recorder() {
    killed_at_any_other_call(&BOTH, "early", "all", "prctl");
    killed_at_any_other_call(&BOTH, "early", "all", "seccomp");
}

/// Nothing but what transactions on open connections need is allowed: not even `open` and `read`.
#[test]
fn a_filter_for_open_connections_kills_at_no_call_of_the_recorder() {
    for what in ["same", "new", "refused"] {
        killed_at_any_other_call(&[With::Run], "late", what, "prctl");
    }
}

/// Calls of the recorder that a filter has to allow which it cannot see (docs/limits.md): a piece of the log is made ready that was not used
/// before, and a new thread is asked for its number and name.
const UNSEEN: [i64; 3] = [libc::SYS_madvise, libc::SYS_gettid, libc::SYS_prctl];

#[test]
fn a_filter_for_open_connections_that_is_not_seen() {
    for what in ["same", "new", "refused", "all"] {
        filtered(&[With::Extension], ["late", what, "prctl"], &UNSEEN);
        filtered(&[With::Run], ["late", what, "raw"], &UNSEEN);
    }
}

#[test]
fn a_filter_set_early_without_the_c_library_kills_at_no_call_of_the_recorder() {
    killed_at_any_other_call(&BOTH, "early", "all", "raw");
}

/// A thousand transactions on open connections make the calls that they make bare, and hardly one more.
fn steady(what: &str) {
    let Some(host) = host() else { return };
    let (bare, calls) = counted(&host, With::Nothing, ["late", what]);
    for with in BOTH {
        let (mut traced, more) = counted(&host, with, ["late", what]);
        traced.seen.files.clone_from(&bare.seen.files);
        equal(&format!("{with:?} {what}"), &bare, &traced);
        assert!(traced.records().0 > 1000, "nothing was recorded, so nothing was tested");
        let extra: Counts = more
            .iter()
            .map(|(nr, n)| (*nr, n.saturating_sub(calls.get(nr).copied().unwrap_or(0))))
            .filter(|(_, n)| *n > 0)
            .collect();
        let total: u64 = extra.values().sum();
        assert!(total <= 20, "{with:?} {what}: {total} calls more in 1,000 transactions, by number: {extra:?}");
    }
}

#[test]
fn the_same_statements_make_no_call_more() {
    steady("same");
}

#[test]
fn ever_new_statements_make_no_call_more() {
    steady("new");
}

#[test]
fn refused_locks_make_no_call_more() {
    steady("refused");
}
