//! What a reader wants first: how many attempts were refused, for which locks, and who was most in the way.
//!
//! In comes an [`Analysis`]; out go the few numbers with which both reports begin, and the names both give to things.
#![forbid(unsafe_code)]

use crate::analysis::{Analysis, ConnId, Holder, Incident, LockId, Refusal, incident};
use crate::trace::{OutsideHolder, Trace};
use std::collections::{BTreeMap, HashMap};

/// The first lines of a report.
pub struct Essence<'a> {
    /// Refused attempts, those of closing connections and the optional ones not counted.
    pub refused: u64,
    /// Attempts of closing connections to be the last one: SQLite expects them to be refused.
    pub closing: u64,
    /// Attempts SQLite can do without ([`crate::analysis::Request::is_optional`]): they make no statement fail.
    pub optional: u64,
    /// Refused attempts by lock.
    pub by_lock: BTreeMap<LockId, u64>,
    /// Of them: with a certain holder, with only possible ones, with none in the trace.
    pub certain: u64,
    /// With possible holders only.
    pub possible: u64,
    /// With no holder in the trace.
    pub untraced: u64,
    /// The connection, lock and statement named for the most of them.
    pub worst: Option<Worst>,
    /// Who the kernel named most often, outside the trace, for those without a certain holder in it.
    pub outside: Option<(&'a OutsideHolder, u64)>,
}

/// Who was in the way most often.
#[derive(Clone, Copy)]
pub struct Worst {
    /// As in the first attempt that names it.
    pub holder: Holder,
    /// Attempts it certainly refused.
    pub certain: u64,
    /// Attempts it possibly refused.
    pub possible: u64,
}

impl<'a> Essence<'a> {
    /// Sums up.
    pub fn of(analysis: &'a Analysis<'_>) -> Essence<'a> {
        let mut essence = Essence {
            refused: 0,
            closing: 0,
            optional: 0,
            by_lock: BTreeMap::new(),
            certain: 0,
            possible: 0,
            untraced: 0,
            worst: None,
            outside: None,
        };
        let mut outside: HashMap<(i64, String), (&OutsideHolder, u64, u64)> = HashMap::new();
        let mut named: HashMap<(ConnId, LockId, u64), (Worst, u64)> = HashMap::new();
        for refusal in &analysis.refusals {
            if refusal.closing {
                essence.closing += 1;
                continue;
            }
            if refusal.request.is_optional() {
                essence.optional += 1;
                continue;
            }
            essence.refused += 1;
            *essence.by_lock.entry(refusal.request.lock()).or_default() += 1;
            match refusal.holders.first() {
                None => essence.untraced += 1,
                Some(_) if has_certain(refusal) => essence.certain += 1,
                Some(_) => essence.possible += 1,
            }
            if let Some(answer) = analysis.outside(refusal).filter(|_| !has_certain(refusal)) {
                for holder in answer.others() {
                    let (_, attempts, _) = outside.entry((holder.pid, holder.lock())).or_insert((holder, 0, essence.refused));
                    *attempts += 1;
                }
            }
            for holder in &refusal.holders {
                let key = (holder.who, holder.lock, holder.sql);
                let (worst, _) = named.entry(key).or_insert((Worst { holder: *holder, certain: 0, possible: 0 }, essence.refused));
                *(if holder.certain { &mut worst.certain } else { &mut worst.possible }) += 1;
            }
        }
        let most = named
            .into_values()
            .max_by_key(|(worst, first)| (worst.certain, worst.possible, std::cmp::Reverse(*first), worst.holder.who));
        essence.worst = most.map(|(worst, _)| worst);
        let most = outside.into_values().max_by_key(|&(_, attempts, first)| (attempts, std::cmp::Reverse(first)));
        essence.outside = most.map(|(holder, attempts, _)| (holder, attempts));
        essence
    }
}

/// Whether a traced connection was certainly in the way: then nobody outside the trace needs to be named.
pub fn has_certain(refusal: &Refusal) -> bool {
    refusal.holders.iter().any(|holder| holder.certain)
}

/// What the kernel said about a refused attempt, a sentence each; nothing where a traced holder is certain or nobody asked.
pub fn outside(analysis: &Analysis<'_>, refusal: &Refusal) -> Vec<String> {
    let mut said = Vec::new();
    if has_certain(refusal) {
        return said;
    }
    if refusal.in_process {
        said.push("refused inside its own process: another connection there has the lock, and no system call failed".to_owned());
    }
    let Some(answer) = analysis.outside(refusal) else { return said };
    let when = if refusal.asked.is_some_and(|asked| asked.here) { "" } else { "at an earlier attempt: " };
    let logs = analysis.trace.logs();
    for holder in &answer.holders {
        let held = if holder.exact { "held" } else { "possibly held" };
        let place = if holder.own {
            "by its own process,"
        } else if logs.iter().any(|log| i64::from(log.pid) == holder.pid) {
            "by a traced process,"
        } else {
            "outside the trace by"
        };
        said.push(format!("{when}{} {held} {place} {holder}", holder.lock()));
    }
    if answer.more > 0 {
        said.push(format!("and {} more", answer.more));
    }
    match &answer.failed {
        Some(why) => said.push(format!("{when}the kernel could not be asked who has it: {why}")),
        None if answer.holders.is_empty() => {
            said.push(format!("{when}/proc/locks named nobody a moment later: it had let go, or is in another container or host"))
        }
        None => {}
    }
    said
}

/// The processes outside the trace that were in the way of an incident, as the kernel has them.
pub fn strangers<'a>(analysis: &'a Analysis<'_>, incident: &Incident) -> impl Iterator<Item = &'a OutsideHolder> {
    let refusal = incident.outside.and_then(|index| analysis.refusals.get(index as usize));
    let answer = refusal.and_then(|refusal| analysis.outside(refusal));
    answer.into_iter().flat_map(|answer| incident::untraced(analysis.trace, answer))
}

/// Why no holder is named for a refused attempt.
pub fn no_holder(analysis: &Analysis<'_>, refusal: &Refusal) -> &'static str {
    if refusal.in_process {
        "no traced connection had it: one of this process that was opened before recording began, or whose record was lost"
    } else if refusal.db.is_none() {
        "the database is not known"
    } else if analysis.has_losses() || refusal.forgotten {
        "no traced connection is known to have had it, but records were lost"
    } else {
        "no traced connection had it"
    }
}

/// The name of a thread, where there is one.
pub fn thread(trace: &Trace, who: ConnId, tid: u32) -> Option<&str> {
    trace.log(who.log).names.thread(tid).map(|name| name.text.as_str())
}

/// The text of a statement, where there is one.
pub fn sql(trace: &Trace, who: ConnId, hash: u64) -> Option<&str> {
    if hash == 0 { None } else { trace.log(who.log).names.sql(hash).map(|sql| sql.text.text.as_str()) }
}
