//! Memory that cannot be had: allocations of the recorder that fail, and a process that has none left.

use crate::harness::{Host, Ran, With, equal};
use std::fs;

/// Counts of failing_malloc.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    asked: u64,
    failed: u64,
    hidden: u64,
}

fn host() -> Option<Host> {
    let mut host = Host::of(&["much"])?;
    if !host.compile("failing_malloc.so", "failing_malloc", &["-shared", "-fPIC", "-ldl"]) {
        return None;
    }
    let (library, counts) = (host.program("failing_malloc.so"), host.home().join("counts"));
    host.set("FAIL_COUNT", counts.to_str().unwrap());
    // Also in `sh` and in `locktrace run` itself, where nothing is counted.
    host.set("LD_PRELOAD", library.to_str().unwrap());
    Some(host)
}

fn failing(host: &mut Host, with: With, at: u64) -> (Ran, Counts) {
    let counts = host.home().join("counts");
    fs::write(&counts, [0; 64]).unwrap();
    host.set("FAIL_AT", &at.to_string());
    let ran = host.run(with, &["much", "60"]);
    let bytes = fs::read(&counts).unwrap();
    let number = |n: usize| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap());
    (ran, Counts { asked: number(0), failed: number(1), hidden: number(2) })
}

/// Each allocation that the recorder asks for fails once; of more than 60, some 60 of them.
fn each_fails(with: With) {
    let Some(mut host) = host() else { return };
    let (bare, none) = failing(&mut host, With::Nothing, 0);
    assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""));
    assert_eq!(none.asked, 0, "of a bare program nothing is counted");
    let (traced, counts) = failing(&mut host, with, 0);
    equal("nothing fails", &bare, &traced);
    assert!(traced.records().0 > 0, "nothing was recorded, so nothing was tested");
    println!("{with:?}: the recorder asks malloc {} times, and calls what allocates {} times", counts.asked, counts.hidden);
    let step = (counts.asked / 60).max(1);
    let mut died = Vec::new();
    for n in (1..=counts.asked).step_by(usize::try_from(step).unwrap()) {
        let (traced, counts) = failing(&mut host, with, n);
        if traced.seen != bare.seen {
            died.push(format!("{n} (failed {}): exit code {}, stderr {:?}", counts.failed, traced.seen.code, traced.seen.err));
        }
    }
    assert!(
        died.is_empty(),
        "of {} allocations, every {step}th made to fail, {} changed the program, the first: {:#?}",
        counts.asked,
        died.len(),
        &died[..died.len().min(3)]
    );
    // And all from the first on.
    host.set("FAIL_ON", "1");
    let (traced, _) = failing(&mut host, with, 1);
    equal("all fail", &bare, &traced);
}

#[test]
fn each_allocation_of_the_recorder_fails_once_under_run() {
    each_fails(With::Run);
}

#[test]
fn each_allocation_of_the_recorder_fails_once_in_the_extension() {
    each_fails(With::Extension);
}

#[test]
fn the_recorder_asks_malloc_for_nothing() {
    let Some(mut host) = host() else { return };
    for with in [With::Run, With::Extension] {
        let (traced, counts) = failing(&mut host, with, 0);
        assert!(traced.records().0 > 0, "nothing was recorded, so nothing was tested");
        assert_eq!(counts, Counts { asked: 0, failed: 0, hidden: 0 }, "{with:?}");
    }
}

#[test]
fn sqlite_with_a_heap_of_its_own_while_malloc_has_nothing_left() {
    let Some(host) = Host::of(&["heap"]) else { return };
    for with in [With::Run, With::Extension] {
        host.same(&[with], &["heap"]);
        // With no address space left before the first open, there may be nothing to record into.
        let (bare, traced) = (host.run(With::Nothing, &["heap", "early"]), host.run(with, &["heap", "early"]));
        assert_eq!(bare.seen.code, 0);
        equal(&format!("{with:?}, early"), &bare, &traced);
    }
}
