//! Causes against the truth: random applications on connections that keep SQLite's rules, and an analysis of their records alone.
//!
//! `tests/story` knows who held what, why a lock was refused and how that ended. For whole traces the analysis must report exactly that. For
//! damaged traces it may report less, but nothing wrong.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::story::plan::{Plan, Story, plan};
use crate::story::truth::Truth;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sqlite_locktrace::analysis::audit::Audit;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::{Trace, jsonl};
use std::io::{BufReader, Cursor};
use std::path::Path;

fn write(story: &Story) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    story.processes.iter().for_each(|process| process.write(dir.path()));
    dir
}

/// The same trace, by way of its export.
fn exported(trace: &Trace) -> Trace {
    let mut lines = Vec::new();
    jsonl::write(trace, trace.events().unwrap(), &mut lines).unwrap();
    Trace::from_lines(Path::new("export"), Box::new(BufReader::new(Cursor::new(lines)))).unwrap()
}

fn whole(plan: &Plan, export: bool) -> Result<(), TestCaseError> {
    let story = plan.play();
    let dir = write(&story);
    let mut trace = Trace::open(dir.path()).unwrap();
    if export {
        trace = exported(&trace);
    }
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    Truth { story: &story, analysis: &analysis, damaged: false }
        .agrees()
        .map_err(|what| TestCaseError::fail(format!("{what}\n{}", story.words())))
}

/// What is lost of a trace.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// A record is torn.
    Torn(usize),
    /// All of these.
    Range(usize, usize),
    /// The ring has wrapped: the oldest records are overwritten.
    Wrapped(usize),
    /// The process was killed: its last records are missing, and its last anchor.
    Killed(usize),
    /// A name.
    Name(usize),
    /// The process was not traced at all.
    Untraced,
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        6 => any::<usize>().prop_map(Loss::Torn),
        3 => (any::<usize>(), 1usize..20).prop_map(|(at, count)| Loss::Range(at, count)),
        2 => (1usize..40).prop_map(Loss::Wrapped),
        2 => (1usize..40).prop_map(Loss::Killed),
        2 => any::<usize>().prop_map(Loss::Name),
        1 => Just(Loss::Untraced),
    ]
}

/// The two files of a process, with what is left in them; none where nothing is.
fn damaged(process: &Process, losses: &[Loss]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut process = process.clone();
    for loss in losses {
        match *loss {
            Loss::Untraced => return None,
            Loss::Name(at) if !process.names.is_empty() => drop(process.names.remove(at % process.names.len())),
            Loss::Killed(count) => {
                // What was recorded is promised, and nothing says until when it lived.
                process.header.head = process.header.head.max(process.records.len() as u64);
                process.records.truncate(process.records.len().saturating_sub(count));
                process.header.last = None;
            }
            Loss::Wrapped(count) if process.records.len() > count => {
                let capacity = (count as u64).next_power_of_two();
                process.header.capacity = capacity;
            }
            _ => {}
        }
    }
    let mut ring = process.ring();
    let slots = (ring.len() - 4096) / 64;
    for loss in losses {
        let (at, count) = match *loss {
            Loss::Torn(at) => (at, 1),
            Loss::Range(at, count) => (at, count),
            _ => continue,
        };
        for slot in (0..count).filter(|_| slots > 0).map(|offset| at.wrapping_add(offset) % slots) {
            ring[4096 + slot * 64 + 9] ^= 1;
        }
    }
    Some((ring, process.names()))
}

fn partly(plan: &Plan, losses: &[(usize, Loss)]) -> Result<(), TestCaseError> {
    let story = plan.play();
    let dir = tempfile::tempdir().unwrap();
    let mut traced = 0;
    for (number, process) in story.processes.iter().enumerate() {
        let here: Vec<Loss> = losses.iter().filter(|loss| loss.0 == number).map(|loss| loss.1).collect();
        let Some((ring, names)) = damaged(process, &here) else { continue };
        std::fs::write(dir.path().join(format!("{}.ring", process.id)), ring).unwrap();
        std::fs::write(dir.path().join(format!("{}.names", process.id)), names).unwrap();
        traced += 1;
    }
    if traced == 0 {
        return Ok(());
    }
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let truth = Truth { story: &story, analysis: &analysis, damaged: true };
    truth.contradicts_nothing().map_err(|what| TestCaseError::fail(format!("{what}\n{}", story.words())))?;
    let audit = Audit::of(&trace).unwrap();
    prop_assert_eq!(audit.violations, []);
    Ok(())
}

/// The same stories in every ordinary run, so that a change is what turns it red; others each time where somebody asks for more of them (`PROPTEST_CASES=10000`).
fn seed() -> RngSeed {
    if std::env::var_os("PROPTEST_CASES").is_some() { RngSeed::Random } else { RngSeed::Fixed(3) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: seed(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_traces_give_the_truth(plan in plan(), export in prop_oneof![3 => Just(false), 1 => Just(true)]) {
        whole(&plan, export)?;
    }

    #[test]
    fn damaged_traces_give_nothing_wrong(plan in plan(), losses in proptest::collection::vec((0usize..3, loss()), 1..6)) {
        partly(&plan, &losses)?;
    }
}
