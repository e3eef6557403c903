//! Expectations of a scenario, read from its own source: JSON objects, each on a line that begins with `#:` (Python) or `//:` (Rust).
//!
//! The keys are those of [`Line`]; `tests/scenarios/README.md` explains them.

use super::{CAUSES, CONTRIBUTING, HAZARDS};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One program and what it expects.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub source: PathBuf,
    pub incidents: Vec<Incident>,
    /// Incidents that may be there, or not: (cause, outcome).
    pub may: Vec<(String, String)>,
    pub hazards: Vec<Hazard>,
    /// It declares that nothing is to be found but hazards.
    pub clean: bool,
    pub preload: Option<String>,
    pub environment: BTreeMap<String, String>,
    /// It needs the packages of `tests/ecosystem/requirements.txt`.
    pub packages: bool,
    /// Only on the system's SQLite.
    pub stock: bool,
}

/// An incident that must be reported.
#[derive(Clone, Debug)]
pub struct Incident {
    pub cause: String,
    pub outcome: String,
    /// What the refused statement begins with; `None` where SQLite has no statement at that moment.
    pub victim: Option<String>,
    /// What the statement of one of the blockers begins with.
    pub culprit: Option<String>,
    /// What that one was doing.
    pub state: Option<String>,
    /// These, all of them.
    pub contributing: Vec<String>,
    /// These may be there, too; any other is a false accusation.
    pub perhaps_contributing: Vec<String>,
    pub attempts: Option<u64>,
    /// What its fix has to say, among the rest.
    pub fix: Option<String>,
}

/// A hazard that is true of this program.
#[derive(Clone, Debug)]
pub struct Hazard {
    pub id: String,
    /// Only with a SQLite older than this.
    pub below: Option<[u32; 3]>,
    /// True, but nothing in the locks proves it in every run.
    pub perhaps: bool,
}

impl Hazard {
    /// Whether it is true of this SQLite.
    pub fn applies(&self, sqlite: [u32; 3]) -> bool {
        self.below.is_none_or(|below| sqlite < below)
    }
}

/// One line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    clean: Option<bool>,
    cause: Option<String>,
    may: Option<String>,
    hazard: Option<String>,
    preload: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    packages: bool,
    #[serde(default)]
    stock: bool,
    outcome: Option<String>,
    /// `Some(None)`: said to be null.
    #[serde(default, deserialize_with = "said")]
    victim: Option<Option<String>>,
    culprit: Option<String>,
    state: Option<String>,
    #[serde(default)]
    contributing: Vec<String>,
    #[serde(default)]
    perhaps_contributing: Vec<String>,
    attempts: Option<u64>,
    fix: Option<String>,
    below: Option<String>,
    #[serde(default)]
    perhaps: bool,
}

fn said<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// `3.51.3` as numbers.
pub fn version(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.try_into().ok()
}

impl Scenario {
    /// Every scenario of a directory, by name.
    pub fn all(dir: &Path) -> Vec<Scenario> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if !matches!(extension, Some("py" | "rs")) || name == "stage" {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            all.push(Scenario::read(&name, path, &source).unwrap_or_else(|error| panic!("{name}: {error}")));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Reads the expectations of a source.
    pub fn read(name: &str, path: PathBuf, source: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario {
            name: name.to_owned(),
            source: path,
            incidents: vec![],
            may: vec![],
            hazards: vec![],
            clean: false,
            preload: None,
            environment: BTreeMap::new(),
            packages: false,
            stock: false,
        };
        for text in source.lines().filter_map(|line| line.strip_prefix("#:").or_else(|| line.strip_prefix("//:"))) {
            let line = serde_json::from_str(text).map_err(|error| format!("{error} in{text}"))?;
            scenario.add(line).map_err(|error| format!("{error} in{text}"))?;
        }
        let expects = !scenario.incidents.is_empty() || scenario.hazards.iter().any(|hazard| !hazard.perhaps);
        match (scenario.clean, scenario.incidents.is_empty()) {
            (true, false) => Err("it is said to be clean and to have incidents".to_owned()),
            (false, _) if !expects => Err("it expects nothing; if so, it has to say that it is clean".to_owned()),
            _ => Ok(scenario),
        }
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        self.clean |= line.clean.unwrap_or(false);
        self.preload = line.preload.or(self.preload.take());
        self.environment.extend(line.environment);
        self.packages |= line.packages;
        self.stock |= line.stock;
        let known =
            |id: String, all: &[&str]| if all.contains(&&*id) { Ok(id) } else { Err(format!("there is no identifier {id}")) };
        let outcome = || line.outcome.clone().ok_or_else(|| "an incident needs an outcome".to_owned());
        // A checkpoint that makes other connections wait is a cause, and for them one that contributes.
        let contributing = |ids: Vec<String>| -> Result<Vec<String>, String> {
            ids.into_iter().map(|id| known(id, &[&CONTRIBUTING[..], &["checkpoint-convoy"]].concat())).collect()
        };
        if let Some(cause) = line.cause {
            self.incidents.push(Incident {
                cause: known(cause, &CAUSES)?,
                outcome: outcome()?,
                victim: line.victim.ok_or("an incident needs a victim, or null")?,
                culprit: line.culprit,
                state: line.state,
                contributing: contributing(line.contributing)?,
                perhaps_contributing: contributing(line.perhaps_contributing)?,
                attempts: line.attempts,
                fix: line.fix,
            });
        } else if let Some(cause) = line.may {
            self.may.push((known(cause, &CAUSES)?, outcome()?));
        } else if let Some(hazard) = line.hazard {
            let below = line.below.map(|text| version(&text).ok_or_else(|| format!("{text} is no version"))).transpose()?;
            self.hazards.push(Hazard { id: known(hazard, &HAZARDS)?, below, perhaps: line.perhaps });
        }
        Ok(())
    }
}
