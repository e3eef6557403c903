//! The naive oracle of lock states: it keeps each connection's locks from the calls alone, and compares every record with them.
//!
//! It panics at the first record that contradicts it, and returns the holds with the times at which they were certain. Every test of a live program
//! ends with it.

use super::render::render;
use shim::event::{FileKind, Flags, Kind, Level, Slot, slot_mask};
use shim::format::record::Record;
use sqlite_locktrace::trace::{Event, LogId, Tally, Trace};
use std::collections::HashMap;

/// A connection of a trace.
pub type Who = (LogId, u32);

/// What one connection holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// On the database file.
    pub level: Level,
    /// Wal-index slots, shared.
    pub shared: u8,
    /// Wal-index slots, exclusive.
    pub exclusive: u8,
}

impl State {
    /// Nothing.
    pub const NOTHING: State = State { level: Level::NONE, shared: 0, exclusive: 0 };

    /// What a record says the connection holds after it.
    pub fn after(record: &Record) -> State {
        State { level: record.after, shared: record.shm_shared, exclusive: record.shm_exclusive }
    }

    /// What it holds after this call.
    fn then(mut self, record: &Record) -> State {
        let ok = record.rc.is_ok();
        match record.kind {
            Kind::LOCK if ok => self.level = self.level.max(record.requested),
            // SQLite's os_unix.c: EXCLUSIVE that could not be had leaves PENDING where that could.
            Kind::LOCK if record.requested == Level::EXCLUSIVE && record.after == Level::PENDING => self.level = Level::PENDING,
            Kind::UNLOCK if ok => self.level = self.level.min(record.requested),
            Kind::SHM_LOCK if ok => {
                let mask = slot_mask(record.shm_offset, record.shm_n);
                let exclusive = record.flags.has(Flags::SHM_EXCLUSIVE);
                let held = if exclusive { &mut self.exclusive } else { &mut self.shared };
                if record.flags.has(Flags::SHM_UNLOCK) { *held &= !mask } else { *held |= mask }
            }
            Kind::SHM_UNMAP => (self.shared, self.exclusive) = (0, 0),
            Kind::CLOSE if record.file_kind == FileKind::DATABASE => self = State::NOTHING,
            _ => {}
        }
        self
    }
}

/// A lock that one connection held alone, from the end of the call that took it to the start of the call that gave it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Whose.
    pub who: Who,
    /// Of the database file (RESERVED or more), not of the wal-index (WRITE).
    pub rollback: bool,
    /// Certainly held from here, in ticks.
    pub from: u64,
    /// Certainly held until here.
    pub to: u64,
}

/// What a whole trace amounts to.
#[derive(Debug, Default)]
pub struct Replay {
    /// Every connection's state after its last record.
    pub states: HashMap<Who, State>,
    /// Connections whose close was seen.
    pub closed: Vec<Who>,
    /// Holds of WRITE, and of RESERVED or more on the database file.
    pub alone: Vec<Hold>,
    /// What became of every record.
    pub tallies: Vec<Tally>,
    /// Records by kind.
    pub kinds: HashMap<u8, u64>,
}

impl Replay {
    /// Replays a whole trace. `whole` says that nothing of it may be missing, so that every state is known from the start.
    pub fn of(trace: &Trace, whole: bool) -> Replay {
        let mut replay = Replay::default();
        let mut begun: HashMap<(Who, bool), u64> = HashMap::new();
        let mut events = trace.events().unwrap();
        let mut all: Vec<Event> = events.by_ref().collect();
        // Each log in the order of its claims: the order in which one connection's calls were made.
        all.sort_by_key(|event| (event.log, event.number));
        let mut next = HashMap::new();
        for event in &all {
            let expected = next.insert(event.log, event.number + 1).unwrap_or(0);
            if event.number != expected {
                assert!(!whole, "records {expected}..{} of {:?} are missing", event.number, event.log);
                // What happened in between is not known.
                replay.states.retain(|who, _| who.0 != event.log);
                begun.retain(|(who, _), _| who.0 != event.log);
            }
            replay.record(event, whole, &mut begun);
        }
        replay.tallies = events.finish().tallies;
        for (tally, log) in replay.tallies.iter().zip(trace.logs()) {
            assert_eq!(tally.read + tally.unread(), tally.head, "every record of log {} is accounted for: {tally:?}", log.id);
            if whole {
                assert_eq!(tally.read, tally.head, "nothing of log {} is missing: {tally:?}", log.id);
            }
        }
        replay
    }

    fn record(&mut self, event: &Event, whole: bool, begun: &mut HashMap<(Who, bool), u64>) {
        let (record, who) = (&event.record, (event.log, event.record.conn));
        *self.kinds.entry(record.kind.0).or_default() += 1;
        // These two carry no lock state; and a record without a connection has none.
        if matches!(record.kind, Kind::SLEEP | Kind::DELETE) || record.conn == 0 {
            return;
        }
        let what = || format!("record {} of {:?}: {}: {record:?}", event.number, event.log, render(record));
        let known = self.states.get(&who).copied();
        let says = State::after(record);
        let before = known.unwrap_or(if whole { State::NOTHING } else { State { level: record.before, ..says } });
        if known.is_some() || whole {
            assert_eq!(before.then(record), says, "{}", what());
            assert_eq!(before.level, record.before, "{}", what());
            let changed = before != says;
            if record.rc.is_ok() && matches!(record.kind, Kind::LOCK | Kind::UNLOCK | Kind::SHM_LOCK) {
                assert_eq!(record.flags.has(Flags::REDUNDANT), !changed, "{}", what());
            }
        }
        let write = 1 << Slot::WRITE.0;
        let alone = |state: State| [(false, state.exclusive & write != 0), (true, state.level >= Level::RESERVED)];
        for ((lock, held), (_, holds)) in alone(before).into_iter().zip(alone(says)) {
            match (held, holds) {
                (false, true) => drop(begun.insert((who, lock), record.end())),
                (true, false) => {
                    if let Some(from) = begun.remove(&(who, lock)) {
                        self.alone.push(Hold { who, rollback: lock, from, to: record.start });
                    }
                }
                _ => {}
            }
        }
        self.states.insert(who, says);
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            self.closed.push(who);
        }
    }

    /// How many records of this kind there are.
    pub fn count(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind.0).copied().unwrap_or(0)
    }

    /// Nobody holds anything any more, and everybody has closed.
    pub fn assert_all_released(&self) {
        for (who, state) in &self.states {
            assert_eq!(*state, State::NOTHING, "{who:?} at the end of the trace");
            assert_eq!(self.closed.iter().filter(|closed| *closed == who).count(), 1, "{who:?} closed once");
        }
    }

    /// No two certain holds of the one lock of its kind overlap; how many there were. All of them must be of one database.
    pub fn assert_alone(&self, rollback: bool) -> usize {
        let mut holds: Vec<Hold> = self.alone.iter().filter(|hold| hold.rollback == rollback).copied().collect();
        holds.sort_by_key(|hold| hold.from);
        for pair in holds.windows(2) {
            assert!(pair[0].to <= pair[1].from, "two connections held the same lock at once: {pair:?}");
        }
        holds.len()
    }
}
