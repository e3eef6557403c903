//! The scenario corpus: real programs, each with what is known to go wrong in it, against what `locktrace report` says.
//!
//! `LOCKTRACE_SCENARIO=name` runs one (or all that begin so), `LOCKTRACE_SCENARIO_RUNS=20` runs each so many times. How to add a
//! scenario: `tests/scenarios/README.md`.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "cli")]

#[path = "common/bundled.rs"]
mod bundled;
#[path = "common/packages.rs"]
#[allow(dead_code)]
mod packages;
mod place;
#[path = "scenarios/runner/mod.rs"]
mod runner;
#[path = "scenarios/rusqlite_pool.rs"]
mod rusqlite_pool;
#[path = "scenarios/rusqlite_upgrade.rs"]
mod rusqlite_upgrade;

use runner::expect::Scenario;
use runner::judge::{Verdict, judge};
use runner::matrix::Matrix;
use runner::run::{PROGRAM, Stage};
use runner::{CAUSES, CONTRIBUTING, HAZARDS};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Scenarios that fail for a known reason. One that passes must be taken off this list.
const NOT_YET: &[(&str, &str)] = &[];

/// The scenarios that are Rust programs.
const PROGRAMS: &[(&str, fn())] = &[("rusqlite_pool", rusqlite_pool::main), ("rusqlite_upgrade", rusqlite_upgrade::main)];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
#[ignore = "the corpus starts it as a scenario"]
fn a_rust_program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    PROGRAMS.iter().find(|(known, _)| *known == name).unwrap().1();
}

/// The judgements of a scenario's runs, in words where they do not agree.
fn runs(stage: &Stage, scenario: &Scenario, times: usize) -> Vec<Verdict> {
    let one = |(sqlite, n)| {
        let mut verdict = match stage.run(scenario, sqlite) {
            Ok(Some(report)) => judge(scenario, &report),
            Ok(None) => Verdict::default(),
            Err(error) => Verdict { pairs: vec![], wrong: vec![error] },
        };
        for wrong in &mut verdict.wrong {
            *wrong = format!("{} ({sqlite:?}, run {n}): {wrong}", scenario.name);
        }
        verdict
    };
    (1..=times).flat_map(|n| stage.sqlites(scenario).iter().map(move |&sqlite| (sqlite, n))).map(one).collect()
}

#[test]
fn every_scenario_is_explained() {
    let wanted = std::env::var("LOCKTRACE_SCENARIO").unwrap_or_default();
    let times = std::env::var("LOCKTRACE_SCENARIO_RUNS").map_or(1, |times| times.parse().unwrap());
    let all: Vec<Scenario> = Scenario::all(&directory()).into_iter().filter(|one| one.name.starts_with(&wanted)).collect();
    assert!(!all.is_empty(), "there is no scenario {wanted}");
    let stage = Stage::new(&directory(), &all);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdicts = runs(&stage, scenario, times);
                    results.lock().unwrap().push((scenario.name.clone(), verdicts));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut matrix, mut failures) = (Matrix::default(), Vec::new());
    for (name, verdicts) in &results {
        let not_yet = NOT_YET.iter().find(|(listed, _)| listed == name);
        let wrong: Vec<&String> = verdicts.iter().flat_map(|verdict| &verdict.wrong).collect();
        match not_yet {
            Some((_, why)) if !wrong.is_empty() => println!("NOT YET: {name}: {why}: {}", wrong[0]),
            Some(_) => failures.push(format!("{name} passes: take it off the list of those that are not yet explained")),
            None => failures.extend(wrong.into_iter().cloned()),
        }
        if not_yet.is_none() {
            verdicts.iter().flat_map(|verdict| &verdict.pairs).for_each(|pair| matrix.add(pair));
        }
    }
    let reports: usize = results.iter().map(|(_, verdicts)| verdicts.len()).sum();
    println!("{} scenarios, {reports} reports\n{matrix}", results.len());
    assert!(failures.is_empty(), "{} disagreements:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(matrix.sums().1, 0, "every failure off the diagonal was said above");
}

#[test]
fn every_identifier_has_a_scenario() {
    let all = Scenario::all(&directory());
    let incidents = || all.iter().flat_map(|one| &one.incidents);
    for id in CAUSES {
        assert!(incidents().any(|incident| incident.cause == id), "no scenario for the cause {id}");
    }
    for id in CONTRIBUTING {
        assert!(incidents().any(|incident| incident.contributing.iter().any(|known| known == id)), "no scenario for {id}");
    }
    for id in HAZARDS {
        let shown = all.iter().flat_map(|one| &one.hazards).any(|hazard| hazard.id == id && !hazard.perhaps);
        assert!(shown, "no scenario for the hazard {id}");
    }
    assert!(all.iter().filter(|one| one.clean).count() >= 12);
    for (name, _) in NOT_YET.iter().map(|(name, why)| (name, why.len())) {
        assert!(all.iter().any(|one| one.name == *name), "{name} is listed and does not exist");
    }
    for one in all.iter().filter(|one| one.source.extension().is_some_and(|extension| extension == "rs")) {
        assert!(PROGRAMS.iter().any(|(name, _)| *name == one.name), "{} is not among the Rust programs", one.name);
    }
}
