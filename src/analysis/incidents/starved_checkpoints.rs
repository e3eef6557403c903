//! Starved checkpoints: one reader keeps checkpoint after checkpoint from finishing while the WAL grows.
//!
//! Each refused passive checkpoint is harmless by itself. A reader's hold becomes an incident if it certainly refused two or more and the WAL grew
//! meanwhile. No statement fails: the WAL grows, and reading it takes longer.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::Cause;
use crate::analysis::causes::evidence::{Evidence, Role};
use crate::analysis::incidents::build::{Known, add_holds, blockers};
use crate::analysis::incidents::incident::{Incident, IncidentEnd};
use crate::analysis::locks::blocking_holds::BlockingHolds;
use crate::analysis::locks::state::HoldEnd;
use crate::analysis::waits::pending::{CandidateHold, PendingWait};
use crate::analysis::waits::wait::Wait;
use std::collections::BTreeMap;

/// How many readers are kept before those that have ended are removed.
const MANY: usize = 1024;

struct Reader {
    candidate: CandidateHold,
    first: Wait,
    last: Wait,
    refused: u32,
    /// The number of the next wait when the reader's hold was found to have ended.
    gone: Option<u64>,
}

/// The readers that refused checkpoints, by their hold.
#[derive(Default)]
pub(crate) struct StarvedCheckpoints {
    readers: BTreeMap<u32, Reader>,
}

impl StarvedCheckpoints {
    /// Adds a refused passive checkpoint.
    pub(crate) fn add(&mut self, blocking_holds: &BlockingHolds, pending: &PendingWait) {
        for candidate in pending.candidates.iter().filter(|candidate| candidate.certain) {
            if blocking_holds.all[candidate.hold as usize].lock.is_exclusive_slot() {
                continue;
            }
            let fresh = Reader {
                candidate: CandidateHold { attempts: 0, ..*candidate },
                first: pending.wait,
                last: pending.wait,
                refused: 0,
                gone: None,
            };
            let reader = self.readers.entry(candidate.hold).or_insert(fresh);
            reader.candidate.attempts += candidate.attempts;
            reader.candidate.same_thread |= candidate.same_thread;
            reader.last = pending.wait;
            reader.refused += 1;
        }
    }

    /// The holds of the readers.
    pub(crate) fn blocking_holds(&self) -> impl Iterator<Item = u32> + '_ {
        self.readers.keys().copied()
    }

    /// Removes readers that have ended and whose refusals are all added, and returns their incidents. Does nothing while there are few readers.
    pub(crate) fn remove_ended(&mut self, known: &Known<'_>) -> Vec<Incident> {
        if self.readers.len() <= MANY {
            return Vec::new();
        }
        let (now, decided) = (known.waits.count(), known.waits.count() - known.waits.undecided() as u64);
        let mut incidents = Vec::new();
        self.readers.retain(|&hold, reader| {
            if reader.gone.is_none() && known.blocking_holds.all[hold as usize].end != HoldEnd::Open {
                reader.gone = Some(now);
            }
            let over = reader.gone.is_some_and(|gone| gone <= decided);
            if over {
                incidents.extend(incident(known, reader));
            }
            !over
        });
        incidents
    }

    /// The incidents of all readers that are left.
    pub(crate) fn finish(&mut self, known: &Known<'_>) -> Vec<Incident> {
        std::mem::take(&mut self.readers).values().filter_map(|reader| incident(known, reader)).collect()
    }
}

fn incident(known: &Known<'_>, reader: &Reader) -> Option<Incident> {
    let Reader { candidate, first, last, refused, .. } = reader;
    // If the WAL grew between the first and the last refusal, there were at least two.
    if last.wal_bytes <= first.wal_bytes {
        return None;
    }
    let (blockers, _) = blockers(known, &[*candidate], 0, (first.from, last.until));
    let own = |wait: &Wait, role| Evidence { log: wait.who.log, number: wait.numbers.0, role };
    let mut incident = Incident {
        db: last.db,
        request: last.request,
        who: last.who,
        tid: last.tid,
        sql: last.sql,
        reading_sql: 0,
        own_cursor: false,
        blockers,
        more_blockers: 0,
        outside: None,
        first: first.from,
        until: last.until,
        attempts: *refused,
        sleeps: 0,
        slept_us: 0,
        end: match known.blocking_holds.all[candidate.hold as usize].end {
            HoldEnd::Released(..) => IncidentEnd::SucceededAfterWait,
            _ => IncidentEnd::Open,
        },
        checkpoint_busy: false,
        went_on: false,
        cause: Cause::CheckpointStarved,
        contributing: Vec::new(),
        evidence: vec![own(first, Role::FirstRefused), own(last, Role::LastRefused)],
        wait: None,
    };
    add_holds(known, &mut incident);
    Some(incident)
}
