//! What an analysis must say of a [`Story`], and what it must not: the first contradiction, in words. Of whole traces everything is checked
//! (`agrees`), of damaged ones only that nothing is wrong (`contradicts_nothing`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::plan::Story;
use super::world::{Ask, Hold, Lock, Nature, Outcome, Refusal, US, Wait, Why, Work, World};
use crate::common::EPOCH;
use shim::event::{FileKind, Flags, Kind};
use sqlite_locktrace::analysis::incidents::incident::chain;
use sqlite_locktrace::analysis::{Analysis, Blocker, ConnId, Incident, Instant};

/// A hold this long can be somebody's habit; some more than the analysis asks for.
const LONG: u64 = 6_000 * US;

/// Without a sleep in between, this long a pause ends a run.
pub const PATIENCE: u64 = 200_000 * US;

macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}
pub(super) use ensure;

/// The story, and its analysis beside it.
pub struct Truth<'a> {
    pub story: &'a Story,
    pub analysis: &'a Analysis<'a>,
    /// Something is missing.
    pub damaged: bool,
}

impl Truth<'_> {
    pub(super) fn world(&self) -> &World {
        &self.story.world
    }

    /// The connection that the analysis calls so.
    pub fn conn(&self, who: ConnId) -> usize {
        let process = self.analysis.trace.log(who.log).pid as usize - 1000;
        let of_it = |conn: &super::world::Conn| conn.process == process && conn.number == who.conn;
        self.world().conns.iter().position(of_it).expect("there is such a connection")
    }

    /// An instant of the simulation.
    pub fn at(&self, instant: Instant) -> u64 {
        instant - EPOCH.ticks
    }

    /// Until when a process was certainly there.
    pub fn alive(&self, process: usize) -> u64 {
        let log = &self.story.processes[process];
        let records = log.records.iter().map(|record| record.end() - EPOCH.ticks).max().unwrap_or(0);
        records.max(log.header.last.map_or(0, |last| last.ticks - EPOCH.ticks))
    }

    /// The holds that refused it beyond doubt: taken before it began, and given up after it was over.
    pub(super) fn proven(&self, refusal: &Refusal) -> Vec<usize> {
        let world = self.world();
        let throughout = |hold: &Hold| {
            let until = hold.released.map_or_else(|| self.alive(world.conns[hold.conn].process), |released| released.0);
            hold.taken.1 <= refusal.start && until >= refusal.end
        };
        refusal.holders.iter().copied().filter(|&hold| throughout(&world.holds[hold])).collect()
    }

    pub(super) fn proven_of(&self, wait: &Wait) -> Vec<usize> {
        let mut all: Vec<usize> =
            wait.refusals.iter().chain(&wait.aside).flat_map(|&refusal| self.proven(&self.world().refusals[refusal])).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether its connection did nothing after it that shows how it went on.
    pub(super) fn is_last(&self, wait: &Wait) -> bool {
        self.later(wait) == 0
    }

    /// What its connection did after it, but give up locks and sleep.
    fn later(&self, wait: &Wait) -> usize {
        let process = &self.story.processes[self.world().conns[wait.conn].process];
        let number = self.world().conns[wait.conn].number;
        let of_it = process.records.iter().filter(|record| {
            let waits = matches!(record.kind, Kind::UNLOCK | Kind::SLEEP) || record.flags.has(Flags::SHM_UNLOCK);
            record.conn == number && record.start - EPOCH.ticks > wait.span.1 && !waits
        });
        of_it.count()
    }

    /// The run that an incident is about.
    pub fn wait_of(&self, incident: &Incident) -> Option<&Wait> {
        let (conn, start) = (self.conn(incident.who), self.at(incident.first));
        self.world().waits.iter().find(|wait| wait.conn == conn && wait.span.0 == start)
    }

    pub fn text(&self, who: ConnId, sql: u64) -> Option<&str> {
        sqlite_locktrace::report::words::sql_text(self.analysis.trace, who, sql)
    }

    /// The hold that the analysis means.
    pub(super) fn hold_of(&self, blocker: &Blocker) -> Result<usize, String> {
        let holding = &self.analysis.blocking_holds[blocker.hold as usize];
        let (conn, lock, since) = (self.conn(holding.who), holding.lock.to_string(), self.at(holding.since));
        let is = |hold: &Hold| hold.conn == conn && hold.lock.to_string() == lock && hold.taken.0 == since;
        let found = self.world().holds.iter().position(is);
        let found = found.ok_or_else(|| format!("there is no hold {lock} of connection {conn} since {since}"))?;
        let hold = &self.world().holds[found];
        let said = self.text(holding.who, holding.sql);
        let less = self.damaged && (said.is_none() || said == hold.last_sql.as_deref());
        ensure!(less || said == hold.sql.as_deref(), "{hold:?} was not taken by {said:?}");
        ensure!(blocker.tid == hold.tid, "{hold:?} was not taken by thread {}", blocker.tid);
        Ok(found)
    }

    /// Everything about a whole trace.
    pub fn agrees(&self) -> Result<(), String> {
        self.refusals()?;
        let mut told: Vec<(usize, u64)> = Vec::new();
        for incident in self.analysis.incidents.iter().filter(|incident| incident.wait.is_some()) {
            let wait = self.wait_of(incident).ok_or_else(|| format!("there is no such run: {incident:#?}"))?;
            self.same(incident, wait).map_err(|what| format!("{what}\n{wait:#?}\n{incident:#?}"))?;
            told.push((wait.conn, wait.span.0));
        }
        for wait in &self.world().waits {
            let causes = self.causes(wait);
            let expected = !causes.is_empty() && !causes.contains(&"");
            ensure!(!expected || told.contains(&(wait.conn, wait.span.0)), "not told: {wait:#?}");
        }
        self.stale()?;
        self.starved()?;
        (0..self.analysis.incidents.len() as u32).try_for_each(|index| self.chain(index))?;
        let hazards: Vec<_> = self.analysis.hazards.iter().filter(|hazard| !is_true(hazard)).collect();
        ensure!(hazards.is_empty(), "no such hazard: {hazards:?}");
        Ok(())
    }

    /// Every refused attempt, and its blockers.
    fn refusals(&self) -> Result<(), String> {
        let (said, real) = (&self.analysis.refusals, &self.world().refusals);
        ensure!(said.len() == real.len(), "{} refusals, not {}", said.len(), real.len());
        for refusal in said {
            let (conn, start) = (self.conn(refusal.who), self.at(refusal.start));
            let truth = real.iter().find(|truth| truth.conn == conn && truth.start == start);
            let truth = truth.ok_or_else(|| format!("there is no such refusal: {refusal:?}"))?;
            ensure!(refusal.request.to_string() == truth.ask.to_string(), "{} was asked for, not {}", truth.ask, refusal.request);
            let mut certain: Vec<usize> =
                refusal.candidates.iter().filter(|holder| holder.certain).map(|holder| self.conn(holder.who)).collect();
            certain.sort_unstable();
            let conn_of = |holds: Vec<usize>| holds.into_iter().map(|hold| self.world().holds[hold].conn).collect::<Vec<usize>>();
            let mut proven = conn_of(self.proven(truth));
            proven.sort_unstable();
            let killed = |conn: &usize| self.world().dead.contains(&self.world().conns[*conn].process);
            // Of a killed process the analysis may know less.
            ensure!(
                certain.iter().all(|conn| proven.contains(conn)),
                "certain {certain:?}, proven {proven:?}: {refusal:?}\n{truth:?}"
            );
            ensure!(
                proven.iter().all(|conn| certain.contains(conn) || killed(conn)),
                "certain {certain:?}, proven {proven:?}: {refusal:?}\n{truth:?}"
            );
            if proven.is_empty() {
                let named: Vec<usize> = refusal.candidates.iter().map(|holder| self.conn(holder.who)).collect();
                let missing: Vec<usize> = conn_of(truth.holders.clone()).into_iter().filter(|conn| !named.contains(conn)).collect();
                // Nobody looked for others while one was certain whose process turned out to have died.
                let looked = !refusal.forgotten || !named.iter().any(killed);
                ensure!(missing.is_empty() || !looked, "not named: {missing:?} of {truth:?} in {refusal:?}");
            }
        }
        Ok(())
    }

    /// One incident and the run it is about.
    fn same(&self, incident: &Incident, wait: &Wait) -> Result<(), String> {
        let causes = self.causes(wait);
        let cause = incident.cause.id();
        // (Somebody got the lock of a killed process, and that puts in doubt whom it refused since it spoke of its locks last.)
        let holders = wait.refusals.iter().chain(&wait.aside).flat_map(|&refusal| &self.world().refusals[refusal].holders);
        let killed =
            holders.into_iter().any(|&hold| self.world().dead.contains(&self.world().conns[self.world().holds[hold].conn].process));
        ensure!(causes.contains(&cause) || (killed && cause == "unexplained"), "{cause} is none of {causes:?}");
        ensure!(incident.request.to_string() == wait.ask.to_string(), "{} was asked for", wait.ask);
        let said = self.text(incident.who, incident.sql);
        ensure!(said == wait.sql.as_deref(), "the statement is not {said:?}");
        ensure!(incident.tid == wait.tid, "the thread is not {}", incident.tid);
        if wait.why == Why::Enters && wait.sleeps == 0 {
            return self.culprits(incident, wait);
        }
        if wait.why != Why::Recovers {
            ensure!(incident.attempts as usize == wait.refusals.len(), "{} attempts", incident.attempts);
        }
        ensure!(incident.sleeps == wait.sleeps, "{} sleeps", incident.sleeps);
        let outcomes: &[&str] = match wait.outcome {
            _ if wait.why == Why::Upgrades => &["gave-up"],
            // Its own busy handler, or its next statement: not known.
            Outcome::Succeeded if wait.why == Why::PlaysBack && wait.sleeps == 0 => &["succeeded-after-wait", "gave-up"],
            // It has SHARED again, and what it does next would show it.
            Outcome::Succeeded if wait.why == Why::PlaysBack && self.later(wait) <= 1 => &["succeeded-after-wait", "open"],
            Outcome::Succeeded if !wait.wal && wait.ask == Ask::File(2) && self.later(wait) == 0 => {
                &["succeeded-after-wait", "gave-up", "open"]
            }
            Outcome::Succeeded => &["succeeded-after-wait"],
            // Which statement asks for EXCLUSIVE from SHARED is not known, so a later one's read may belong to it.
            Outcome::GaveUp if self.is_last(wait) || wait.sql.is_none() => &["gave-up", "open"],
            // (It tried some times for other reasons, so that it cannot be counted; RECOVER came last.)
            Outcome::GaveUp if wait.protocol && wait.refusals.len() < 100 && self.later(wait) <= 1 => &["gave-up", "open"],
            Outcome::GaveUp if wait.protocol && !wait.aside.is_empty() => &["gave-up", "open"],
            Outcome::GaveUp => &["gave-up"],
            // If the wal-index has to be rebuilt before it can ask again, that looks like another wait.
            Outcome::Open if wait.exhausted || wait.why == Why::Enters => &["gave-up", "open"],
            // In exclusive mode the read lock is kept, as by an upgrade; a sleep, which is still to come, distinguishes them.
            Outcome::Open if self.world().conns[wait.conn].exclusive && wait.sleeps == 0 => &["gave-up", "open"],
            Outcome::Open => &["open"],
        };
        ensure!(outcomes.contains(&incident.end.id()), "{} is none of {outcomes:?}", incident.end.id());
        self.culprits(incident, wait)
    }

    /// Who waits for whom, and for whom that one waits: each blocks the one before, and the last one's culprits wait for nobody but who was
    /// passed already.
    fn chain(&self, index: u32) -> Result<(), String> {
        let passed = chain(&self.analysis.incidents, index);
        let of = |index: &u32| &self.analysis.incidents[*index as usize];
        for pair in passed.windows(2) {
            let in_the_way = |blocker: &Blocker| self.analysis.blocking_holds[blocker.hold as usize].who == of(&pair[1]).who;
            ensure!(of(&pair[0]).blockers.iter().any(in_the_way), "{:#?} is not in the way of {:#?}", of(&pair[1]), of(&pair[0]));
        }
        let root = of(passed.last().unwrap()).blockers.iter().find_map(|blocker| blocker.waits_in);
        ensure!(root.is_none_or(|root| passed.contains(&root)) || passed.len() == 8, "{passed:?} goes on with {root:?}");
        Ok(())
    }

    /// The blockers, and what each did.
    fn culprits(&self, incident: &Incident, wait: &Wait) -> Result<(), String> {
        let proven = self.proven_of(wait);
        let mut found = Vec::new();
        for blocker in &incident.blockers {
            let index = self.hold_of(blocker)?;
            let hold = &self.world().holds[index];
            ensure!(!blocker.certain || proven.contains(&index), "not proven: {hold:?}");
            found.push(index);
            self.state(incident, blocker, wait, index)?;
        }
        let killed = |hold: &usize| self.world().dead.contains(&self.world().conns[self.world().holds[*hold].conn].process);
        for hold in proven.iter().filter(|hold| !killed(hold)) {
            let named = incident.blockers.iter().zip(&found).any(|(blocker, index)| blocker.certain && index == hold);
            ensure!(named, "not named: {:?}", self.world().holds[*hold]);
        }
        // The first one refused most attempts.
        let count = |hold: usize| {
            wait.refusals
                .iter()
                .chain(&wait.aside)
                .filter(|&&refusal| self.proven(&self.world().refusals[refusal]).contains(&hold))
                .count()
        };
        if let (Some(&first), true) = (found.first(), proven.iter().all(|hold| !killed(hold)) && !proven.is_empty()) {
            let most = proven.iter().map(|&hold| count(hold)).max().unwrap();
            ensure!(proven.contains(&first) && incident.blockers[0].attempts as usize >= most, "{first} is not the first culprit");
        }
        Ok(())
    }

    /// What a holder was doing, where that is beyond doubt.
    fn state(&self, incident: &Incident, blocker: &Blocker, wait: &Wait, index: usize) -> Result<(), String> {
        let hold = &self.world().holds[index];
        let world = self.world();
        let alive = self.alive(world.conns[hold.conn].process);
        let id = blocker.state.id();
        let ids: Vec<&str> = incident.contributing.iter().map(|contributing| contributing.id()).collect();
        let killed = world.dead.contains(&world.conns[hold.conn].process);
        let (until, span) = (hold.released.map_or(alive, |released| released.0), wait.span);
        // (That it waited until it read is not known where nothing follows.)
        let span = if wait.why == Why::PlaysBack { (span.0, span.1.min(self.at(incident.until))) } else { span };
        // (RECOVER is asked for to know whether to wait.)
        let until_when = |other: &Wait| {
            let mut tries =
                other.refusals.iter().map(|&refusal| &world.refusals[refusal]).filter(|refusal| refusal.ask == other.ask);
            let over = other.outcome == Outcome::Succeeded || other.why != Why::Recovers;
            if over { other.span.1 } else { tries.next_back().map_or(other.span.1, |refusal| refusal.end) }
        };
        let waits = world.waits.iter().any(|other| {
            // (That RECOVER was refused, too, makes no second attempt.)
            let tries =
                other.refusals.iter().filter(|&&refusal| world.refusals[refusal].ask == other.ask || other.why != Why::Recovers);
            let long = tries.count() > 1 || other.sleeps > 0;
            let causes = self.causes(other);
            other.conn == hold.conn
                && long
                && !causes.is_empty()
                && !causes.contains(&"")
                && other.span.0 <= span.1.min(until)
                && until_when(other) >= span.0.max(hold.taken.0)
        });
        ensure!(killed || waits == (id == "waiting"), "{hold:?}: waits {waits}, not {id}");
        ensure!(waits == blocker.waits_in.is_some() || killed, "{hold:?} waits in {:?}", blocker.waits_in);
        if let Some(other) = blocker.waits_in {
            let other = &self.analysis.incidents[other as usize];
            let meanwhile = self.at(other.first) <= span.1.min(until) && self.at(other.until) >= span.0.max(hold.taken.0);
            ensure!(self.conn(other.who) == hold.conn && meanwhile, "{hold:?} waits in {other:#?}");
        }
        let met = until.min(span.1).saturating_sub(hold.taken.0);
        let synced: u64 = hold
            .work
            .iter()
            .filter(|work| work.0 == Work::Sync)
            .map(|work| work.2.min(until).min(span.1).saturating_sub(work.1))
            .sum();
        let copied = hold.work.iter().any(|work| work.0 == Work::Copy) || hold.lock == Lock::Slot(1, true);
        // Who wants the WAL to itself is refused by all who have it open: that is no transaction of anybody's.
        let leaves = wait.wal && matches!(wait.ask, Ask::File(_));
        let open = leaves && hold.lock == Lock::File(1);
        ensure!(!open || !["syncing", "idle-in-transaction"].contains(&id), "{hold:?} only has it open, and is not {id}");
        ensure!(!open || !ids.contains(&"slow-sync") || incident.blockers.len() > 1, "{hold:?} only has it open: {ids:?}");
        // (Of very much work in one hold the latest is remembered.)
        if !open && blocker.certain && !waits && !killed && !copied && met >= LONG && hold.work.len() <= 12 {
            let (mostly, hardly) = (synced >= met / 10 * 6, synced <= met / 10);
            ensure!(!mostly || (id == "syncing" && ids.contains(&"slow-sync")), "{hold:?} was syncing, not {id}, {ids:?}");
            ensure!(!hardly || id != "syncing", "{hold:?} was not syncing");
            // It wrote seven pages at most in the end: too little for so much time.
            let quiet = hold.idle && hold.nature != Nature::Exclusive && hardly && met >= 4 * LONG;
            ensure!(
                !quiet || (id == "idle-in-transaction" && ids.contains(&"idle-in-transaction")),
                "{hold:?} was idle, not {id}, {ids:?}"
            );
        }
        // In exclusive mode the lock outlives its transaction: as if that had been left open.
        let stays = hold.nature == Nature::Exclusive;
        ensure!(hold.released.is_none() || id != "idle-in-transaction" || self.was_begun(hold) || stays, "{hold:?} was not idle");
        let threads = |refusal: &usize| {
            let refusal = &world.refusals[*refusal];
            let at = refusal.holders.iter().position(|&holder| holder == index)?;
            (world.conns[hold.conn].process == world.conns[wait.conn].process).then_some(refusal.last_tids[at])
        };
        let threads: Vec<(u32, u32)> = wait.refusals.iter().chain(&wait.aside).filter_map(threads).collect();
        let surely = threads.contains(&(wait.tid, wait.tid));
        let never = !threads.iter().any(|tids| tids.0 == wait.tid || tids.1 == wait.tid);
        ensure!(
            !surely || killed || (blocker.same_thread && (leaves || ids.contains(&"same-thread-holder"))),
            "{hold:?} is of the same thread"
        );
        ensure!(!never || !blocker.same_thread, "{hold:?} is of another thread");
        Ok(())
    }

    /// Its transaction had more than one statement.
    fn was_begun(&self, hold: &Hold) -> bool {
        hold.sql.as_ref().is_none_or(|sql| !sql.starts_with("SELECT a") && !sql.starts_with("UPDATE"))
    }

    /// Upgrades from stale snapshots: these and no others.
    fn stale(&self) -> Result<(), String> {
        let said: Vec<&Incident> =
            self.analysis.incidents.iter().filter(|incident| incident.cause.id() == "stale-snapshot").collect();
        for truth in &self.world().stale {
            let of_it = |incident: &&&Incident| {
                let start = self.at(incident.first);
                self.conn(incident.who) == truth.conn && start.abs_diff(truth.start) < 2 * US
            };
            let incident = said.iter().find(of_it).ok_or_else(|| format!("not told: {truth:?}"))?;
            ensure!(self.text(incident.who, incident.sql) == truth.sql.as_deref(), "another statement: {incident:?}");
            let peer = self.hold_of(&incident.blockers[0])?;
            ensure!(peer == truth.peer, "{:?} committed last, not {:?}", self.world().holds[truth.peer], self.world().holds[peer]);
        }
        ensure!(said.len() == self.world().stale.len(), "no such stale snapshot: {said:?} {:?}", self.world().stale);
        Ok(())
    }

    /// Readers that kept passive checkpoints from finishing again and again, while the WAL grew.
    fn starved(&self) -> Result<(), String> {
        let world = self.world();
        let grown = |until: u64| -> u64 {
            let written = |record: &&super::world::Written| record.2.kind == Kind::WROTE && record.2.file_kind == FileKind::WAL;
            let before = |record: &&super::world::Written| record.2.start - EPOCH.ticks <= until;
            world.records.iter().filter(written).filter(before).map(|record| record.2.arg).sum()
        };
        let said: Vec<&Incident> = self
            .analysis
            .incidents
            .iter()
            .filter(|incident| incident.wait.is_none() && incident.cause.id() == "checkpoint-starved")
            .collect();
        let mut expected = 0;
        for (index, hold) in world.holds.iter().enumerate().filter(|(_, hold)| matches!(hold.lock, Lock::Slot(3.., false))) {
            let refused = world.waits.iter().filter(|wait| wait.why == Why::Copies(false) && self.proven_of(wait).contains(&index));
            let mut refused: Vec<u64> = refused.map(|wait| world.refusals[wait.refusals[0]].end).collect();
            refused.sort_unstable();
            if refused.len() < 2
                || grown(refused[refused.len() - 1]) <= grown(refused[0])
                || world.dead.contains(&world.conns[hold.conn].process)
            {
                continue;
            }
            expected += 1;
            let named = said.iter().any(|incident| self.hold_of(&incident.blockers[0]).is_ok_and(|found| found == index));
            ensure!(named, "not told: {hold:?} refused checkpoints at {refused:?}");
        }
        ensure!(said.len() == expected || !world.dead.is_empty(), "no such reader: {said:?}");
        Ok(())
    }
}

/// SQLite 3.40.1 has the WAL-reset bug, and readers do stay.
pub(super) fn is_true(hazard: &sqlite_locktrace::analysis::Hazard) -> bool {
    matches!(hazard.kind.id(), "wal-reset-exposure" | "long-read-transaction")
}
