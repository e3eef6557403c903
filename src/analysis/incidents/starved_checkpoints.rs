//! Checkpoints that one reader keeps from finishing, again and again, while the WAL grows.
//!
//! In come the runs of passive checkpoints that were refused, each of which is harmless by itself; out goes one incident for each reader's hold that certainly
//! refused two or more, and under which the WAL grew. No statement fails by it: the WAL grows, and reading it takes longer.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::{Cause, Evidence, Role};
use crate::analysis::incidents::build::{Found, add_holds, blockers};
use crate::analysis::incidents::incident::{Ended, Incident};
use crate::analysis::locks::blocking_holds::{Ending, Holdings};
use crate::analysis::waits::pending::{Entry, Named};
use crate::analysis::waits::wait::Wait;
use std::collections::BTreeMap;

/// Readers in the way of checkpoints before those that are gone are looked for.
const MANY: usize = 1024;

struct Reader {
    named: Named,
    first: Wait,
    last: Wait,
    refused: u32,
    /// When its hold was found to have ended: the number the next run would have had.
    gone: Option<u64>,
}

/// By the hold: see the module.
#[derive(Default)]
pub(crate) struct Starved {
    readers: BTreeMap<u32, Reader>,
}

impl Starved {
    /// A passive checkpoint was refused.
    pub(crate) fn add(&mut self, holdings: &Holdings, run: &Entry) {
        for named in run.named.iter().filter(|named| named.certain) {
            if holdings.all[named.holding as usize].lock.is_exclusive_slot() {
                continue;
            }
            let fresh = Reader { named: Named { attempts: 0, ..*named }, first: run.wait, last: run.wait, refused: 0, gone: None };
            let reader = self.readers.entry(named.holding).or_insert(fresh);
            reader.named.attempts += named.attempts;
            reader.named.same_thread |= named.same_thread;
            reader.last = run.wait;
            reader.refused += 1;
        }
    }

    /// The holds it is about.
    pub(crate) fn holdings(&self) -> impl Iterator<Item = u32> + '_ {
        self.readers.keys().copied()
    }

    /// Where there are many: the incidents of those that are gone and whose refusals have all come.
    pub(crate) fn gone(&mut self, found: &Found<'_>) -> Vec<Incident> {
        if self.readers.len() <= MANY {
            return Vec::new();
        }
        let (now, decided) = (found.runs.count(), found.runs.count() - found.runs.undecided() as u64);
        let mut incidents = Vec::new();
        self.readers.retain(|&holding, reader| {
            if reader.gone.is_none() && found.holdings.all[holding as usize].ending != Ending::Open {
                reader.gone = Some(now);
            }
            let over = reader.gone.is_some_and(|gone| gone <= decided);
            if over {
                incidents.extend(incident(found, reader));
            }
            !over
        });
        incidents
    }

    /// All that are left.
    pub(crate) fn finish(&mut self, found: &Found<'_>) -> Vec<Incident> {
        std::mem::take(&mut self.readers).values().filter_map(|reader| incident(found, reader)).collect()
    }
}

fn incident(found: &Found<'_>, reader: &Reader) -> Option<Incident> {
    let Reader { named, first, last, refused, .. } = reader;
    // (Where the WAL grew between two, there were two.)
    if last.wal_bytes <= first.wal_bytes {
        return None;
    }
    let (blockers, _) = blockers(found, &[*named], 0, (first.from, last.until));
    let own = |wait: &Wait, role| Evidence { log: wait.who.log, number: wait.numbers.0, role };
    let mut incident = Incident {
        db: last.db,
        request: last.request,
        who: last.who,
        tid: last.tid,
        sql: last.sql,
        blockers,
        more_blockers: 0,
        outside: None,
        first: first.from,
        until: last.until,
        attempts: *refused,
        sleeps: 0,
        slept_us: 0,
        ended: match found.holdings.all[named.holding as usize].ending {
            Ending::Released(..) => Ended::SucceededAfterWait,
            _ => Ended::Open,
        },
        told_busy: false,
        went_on: false,
        cause: Cause::CheckpointStarved,
        contributing: Vec::new(),
        evidence: vec![own(first, Role::FirstRefused), own(last, Role::LastRefused)],
        wait: None,
    };
    add_holds(found, &mut incident);
    Some(incident)
}
