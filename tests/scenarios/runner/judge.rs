//! The comparison of a report (`locktrace report --json`) with what its scenario expects: pairs (expected, found) for the matrix, and every
//! disagreement in words.

use super::expect::{Incident, Scenario, version};
use serde_json::Value;

/// Where nothing was expected, or nothing was found.
pub const NOTHING: &str = "–";

/// The judgement of one run.
#[derive(Default, Debug)]
pub struct Verdict {
    /// (expected, found) identifiers; [`NOTHING`] for none.
    pub pairs: Vec<(String, String)>,
    /// What does not agree.
    pub wrong: Vec<String>,
}

/// The oldest SQLite of a report.
pub fn sqlite(report: &Value) -> Option<[u32; 3]> {
    let logs = report["logs"].as_array().or_else(|| report["processes"].as_array())?;
    let versions = logs.iter().flat_map(|log| log["sqlite"].as_array().into_iter().flatten());
    versions.filter_map(|text| version(text.as_str()?)).min()
}

/// Judges one report.
pub fn judge(scenario: &Scenario, report: &Value) -> Verdict {
    let mut verdict = Verdict::default();
    incidents(scenario, report, &mut verdict);
    hazards(scenario, report, &mut verdict);
    if scenario.clean {
        verdict.pair(NOTHING, NOTHING);
    }
    verdict
}

impl Verdict {
    fn pair(&mut self, expected: &str, found: &str) {
        self.pairs.push((expected.to_owned(), found.to_owned()));
    }

    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn victim_agrees(expected: &Incident, found: &Value) -> bool {
    expected.victim.as_ref().is_none_or(|sql| text(&found["victim"], "sql").starts_with(sql.as_str()))
}

fn incidents(scenario: &Scenario, report: &Value, verdict: &mut Verdict) {
    let Some(found) = report["incidents"].as_array() else {
        return verdict.wrong("the report has no incidents[]".to_owned());
    };
    let mut found: Vec<&Value> = found.iter().collect();
    let mut open: Vec<&Incident> = scenario.incidents.iter().collect();
    // The best match first: the same cause and statement, then the same statement, then whatever is left.
    let rules: [fn(&Incident, &Value) -> bool; 3] = [
        |expected, found| expected.cause == text(found, "cause") && victim_agrees(expected, found),
        |expected, found| victim_agrees(expected, found) && expected.outcome == text(found, "outcome"),
        |_, _| true,
    ];
    for (n, rule) in rules.iter().enumerate() {
        if n == 2 {
            // What may be there is no candidate for what must be.
            found.retain(|incident| !may(scenario, incident));
        }
        open.retain(|expected| {
            let Some(at) = found.iter().position(|incident| rule(expected, incident)) else { return true };
            compare(expected, found.remove(at), verdict);
            false
        });
    }
    for expected in open {
        verdict.pair(&expected.cause, NOTHING);
        verdict.wrong(format!("expected {} of {:?}, and found no incident for it", expected.cause, expected.victim));
    }
    for incident in found {
        verdict.pair(NOTHING, text(incident, "cause"));
        verdict.wrong(format!("found an incident that nobody expected: {incident}"));
    }
}

fn may(scenario: &Scenario, found: &Value) -> bool {
    scenario.may.iter().any(|(cause, outcome)| cause == text(found, "cause") && outcome == text(found, "outcome"))
}

fn compare(expected: &Incident, found: &Value, verdict: &mut Verdict) {
    let cause = text(found, "cause");
    verdict.pair(&expected.cause, cause);
    let before = verdict.wrong.len();
    if cause != expected.cause {
        verdict.wrong(format!("cause: expected {}, found {cause}", expected.cause));
    }
    if text(found, "outcome") != expected.outcome {
        verdict.wrong(format!("outcome: expected {}, found {}", expected.outcome, found["outcome"]));
    }
    if !victim_agrees(expected, found) {
        verdict.wrong(format!("victim: expected {:?}, found {}", expected.victim, found["victim"]));
    }
    if expected.attempts.is_some_and(|attempts| found["attempts"].as_u64() != Some(attempts)) {
        verdict.wrong(format!("attempts: expected {:?}, found {}", expected.attempts, found["attempts"]));
    }
    if expected.fix.as_ref().is_some_and(|fix| !text(found, "fix").contains(fix.as_str())) {
        verdict.wrong(format!("fix: expected {:?}, found {}", expected.fix, found["fix"]));
    }
    let blockers: Vec<&Value> = found["blockers"].as_array().into_iter().flatten().collect();
    let culprit = blockers.iter().find(|blocker| {
        expected.culprit.as_ref().is_none_or(|sql| text(blocker, "sql").starts_with(sql.as_str()))
            && expected.state.as_ref().is_none_or(|state| text(blocker, "state") == state)
    });
    if culprit.is_none() && (expected.culprit.is_some() || expected.state.is_some()) {
        verdict.wrong(format!("culprit: expected {:?} ({:?}), found {:?}", expected.culprit, expected.state, found["blockers"]));
    }
    let contributing: Vec<&str> = found["contributing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for id in &expected.contributing {
        if !contributing.contains(&id.as_str()) {
            verdict.wrong(format!("contributing: {id} is missing from {contributing:?}"));
        }
    }
    for id in contributing {
        if !expected.contributing.iter().chain(&expected.perhaps_contributing).any(|known| known == id) {
            verdict.wrong(format!("contributing: {id} is a false accusation"));
        }
    }
    if found["evidence"].as_array().is_none_or(Vec::is_empty) && cause != "unexplained" {
        verdict.wrong(format!("{cause} comes without evidence"));
    }
    if verdict.wrong.len() > before {
        verdict.wrong(format!("  in {found}"));
    }
}

fn hazards(scenario: &Scenario, report: &Value, verdict: &mut Verdict) {
    let Some(found) = report["hazards"].as_array() else {
        return verdict.wrong("the report has no hazards[]".to_owned());
    };
    let sqlite = sqlite(report).unwrap_or_default();
    let mut ids: Vec<&str> = found.iter().map(|hazard| text(hazard, "id")).collect();
    ids.sort_unstable();
    ids.dedup();
    for hazard in scenario.hazards.iter().filter(|hazard| hazard.applies(sqlite)) {
        match ids.iter().position(|id| *id == hazard.id) {
            Some(at) => verdict.pair(&hazard.id, ids.remove(at)),
            None if hazard.perhaps => {}
            None => {
                verdict.pair(&hazard.id, NOTHING);
                verdict.wrong(format!("expected the hazard {}", hazard.id));
            }
        }
    }
    for id in ids {
        verdict.pair(NOTHING, id);
        let proof = found.iter().find(|hazard| text(hazard, "id") == id);
        verdict.wrong(format!("found a hazard that is not true: {}", proof.unwrap_or(&Value::Null)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    const SOURCE: &str = r##"
#: {"cause": "stale-snapshot", "outcome": "gave-up", "victim": "UPDATE t", "culprit": "INSERT", "contributing": ["slow-sync"]}
#: {"may": "hold-exceeds-timeout", "outcome": "succeeded-after-wait"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
"##;

    fn report() -> Value {
        json!({
            "logs": [{"sqlite": ["3.40.1"]}],
            "incidents": [
                {"cause": "hold-exceeds-timeout", "outcome": "succeeded-after-wait", "victim": {"sql": "UPDATE t SET v = 1"}, "evidence": [1]},
                {"cause": "stale-snapshot", "outcome": "gave-up", "victim": {"sql": "UPDATE t SET v = 2"},
                 "blockers": [{"sql": "INSERT INTO t"}], "contributing": ["slow-sync"], "evidence": [1]},
            ],
            "hazards": [{"id": "wal-reset-exposure"}],
        })
    }

    fn wrong(change: impl Fn(&mut Value)) -> (Vec<(String, String)>, Vec<String>) {
        let scenario = Scenario::read("it", PathBuf::new(), SOURCE).unwrap();
        let mut report = report();
        change(&mut report);
        let mut verdict = judge(&scenario, &report);
        verdict.pairs.retain(|(expected, found)| expected != found);
        (verdict.pairs, verdict.wrong)
    }

    #[test]
    fn what_agrees_is_right() {
        assert_eq!(wrong(|_| {}), (vec![], vec![]));
    }

    #[test]
    fn each_disagreement_is_said() {
        let pair = |expected: &str, found: &str| vec![(expected.to_owned(), found.to_owned())];
        let off = |pairs: &[(String, String)], change: &dyn Fn(&mut Value)| {
            let (found, wrong) = wrong(change);
            assert_eq!(found, pairs);
            assert!(!wrong.is_empty());
        };
        off(&pair("stale-snapshot", "unexplained"), &|report| report["incidents"][1]["cause"] = "unexplained".into());
        off(&pair("stale-snapshot", NOTHING), &|report| drop(report["incidents"].as_array_mut().unwrap().pop()));
        off(&pair(NOTHING, "hold-exceeds-timeout"), &|report| report["incidents"][0]["outcome"] = "gave-up".into());
        off(&pair("wal-reset-exposure", NOTHING), &|report| report["hazards"] = json!([]));
        off(&pair(NOTHING, "wal-reset-exposure"), &|report| report["logs"][0]["sqlite"][0] = "3.54.1".into());
        off(&pair(NOTHING, "shared-cache"), &|report| {
            report["hazards"].as_array_mut().unwrap().push(json!({"id": "shared-cache"}))
        });
        off(&[], &|report| report["incidents"][1]["contributing"] = json!([]));
        off(&[], &|report| report["incidents"][1]["contributing"] = json!(["slow-sync", "writer-convoy"]));
        off(&[], &|report| report["incidents"][1]["blockers"][0]["sql"] = "DELETE".into());
        off(&[], &|report| report["incidents"][1]["outcome"] = "open".into());
        off(&[], &|report| report["incidents"][1]["evidence"] = json!([]));
    }

    #[test]
    fn expectations_that_are_none_are_refused() {
        let read = |source: &str| Scenario::read("it", PathBuf::new(), source).map(|_| ());
        assert!(read("#: {\"clean\": true}").is_ok());
        for source in [
            "",
            "#: {\"cause\": \"unexplained\"}",
            "#: {\"cause\": \"no-such-cause\", \"outcome\": \"gave-up\", \"victim\": null}",
            "#: {\"hazard\": \"wal-reset-exposure\", \"perhaps\": true}",
            "#: {\"hazards\": \"shared-cache\"}",
            "#: {\"clean\": true}\n#: {\"cause\": \"unexplained\", \"outcome\": \"gave-up\", \"victim\": null}",
        ] {
            assert!(read(source).is_err(), "{source}");
        }
    }
}
