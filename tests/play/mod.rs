//! A simulated set of connections that keep SQLite's rules: it turns random steps into records and the truth about every refusal.
//!
//! Used by `tests/analysis/oracle.rs` and `tests/analysis/audit.rs`.
#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses its own part.

use proptest::prelude::*;
use shim::event::{Flags, Kind, Level, ResultCode};
use shim::format::record::Record;
use sqlite_locktrace::analysis::{LockId, Request};
use std::collections::BTreeSet;

/// What a simulated connection does next.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub conn: u8,
    pub choice: u8,
    /// Ticks from the last true instant to this one, from the call's start to it, and from it to the call's end.
    pub gap: u16,
    pub before: u16,
    pub behind: u16,
    /// How much later than its end the record is claimed.
    pub claim: u16,
    pub one_clock: bool,
}

#[derive(Clone, Copy, Default, Debug)]
struct State {
    level: u8,
    /// Bit *i*: it holds level *i*, and did not only pass it on its way up.
    stops: u8,
    shared: u8,
    exclusive: u8,
    /// The end of its last call: the next one starts later.
    end: u64,
}

pub fn step() -> impl Strategy<Value = Step> {
    (0u8..6, any::<u8>(), 1u16..200, 0u16..300, 0u16..300, 0u16..400, any::<bool>()).prop_map(
        |(conn, choice, gap, before, behind, claim, one_clock)| Step { conn, choice, gap, before, behind, claim, one_clock },
    )
}

/// Whether another connection in this state refuses the request: SQLite's rules, written down a second time.
fn refuses(request: Request, other: &State) -> bool {
    match request {
        Request::File(Level::SHARED) => other.level >= 3,
        Request::File(Level::RESERVED) => other.level >= 2,
        Request::File(_) => other.level >= 1,
        Request::Shm { mask, exclusive } => mask & (other.exclusive | if exclusive { other.shared } else { 0 }) != 0,
    }
}

pub struct Refused {
    pub conn: u32,
    pub start: u64,
    pub request: Request,
    /// All connections that blocked it at the true instant.
    pub holders: BTreeSet<u32>,
}

/// A hold: of the lock with this place in [`LockId::all`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub conn: u32,
    pub lock: usize,
    /// The call that took it had returned.
    pub from: u64,
    /// The call that gave it up began; `None` where none did.
    pub until: Option<u64>,
}

/// What this state holds, by place in [`LockId::all`]: each level up to its own that was stopped at, and slots.
fn places(state: &State) -> Vec<usize> {
    let levels = (1..=4u8).filter(|level| state.stops & (1 << level) != 0).map(|level| usize::from(level) - 1);
    let slots = |mask: u8, mode: usize| (0..8).filter(move |slot| mask & (1 << slot) != 0).map(move |slot| 4 + slot * 2 + mode);
    levels.chain(slots(state.exclusive, 0)).chain(slots(state.shared, 1)).collect()
}

/// What comes of it: each connection's records with the instants of their claims, the refusals with the truth, the locks taken, and every hold.
pub struct Played {
    pub records: Vec<(u64, Record)>,
    pub refusals: Vec<Refused>,
    pub acquired: Vec<u64>,
    pub holds: Vec<Held>,
}

/// Plays the steps.
pub fn play(steps: &[Step], wal: bool) -> Played {
    let mut states = [State::default(); 6];
    let mut now = 10_000u64;
    let (mut records, mut refusals, mut acquired) = (Vec::new(), Vec::new(), vec![0u64; LockId::COUNT]);
    let mut holds: Vec<Held> = Vec::new();
    for step in steps {
        let me = usize::from(step.conn);
        let mut state = states[me];
        // The call starts after the connection's last one, and its true instant comes after everybody's.
        now = (now + u64::from(step.gap)).max(state.end + 2);
        let start = now.saturating_sub(step.before.into()).max(state.end + 1);
        let end = now + u64::from(step.behind);
        let mut record = Record::new(Kind(0));
        (record.start, record.duration) = (start, end - start);
        (record.conn, record.tid, record.file) = (u32::from(step.conn) + 1, u32::from(step.conn) + 1, 1);
        record.before = Level(state.level);
        let others: Vec<(usize, State)> = states.iter().copied().enumerate().filter(|(other, _)| *other != me).collect();
        let request = choose(step.choice, wal, &state, &mut record);
        if let Some(request) = request {
            let holders: BTreeSet<u32> =
                others.iter().filter(|(_, other)| refuses(request, other)).map(|(other, _)| *other as u32 + 1).collect();
            if holders.is_empty() {
                match request {
                    Request::File(level) => {
                        acquired[usize::from(level.0) - 1] += 1;
                        state.level = level.0;
                    }
                    Request::Shm { mask, exclusive } => {
                        for slot in (0..8).filter(|slot| mask & (1 << slot) != 0) {
                            acquired[4 + slot * 2 + usize::from(!exclusive)] += 1;
                        }
                        *(if exclusive { &mut state.exclusive } else { &mut state.shared }) |= mask;
                    }
                }
            } else {
                record.rc = ResultCode::BUSY;
                // The unix VFS keeps PENDING when only readers block it.
                if request == Request::File(Level::EXCLUSIVE) && state.level < 3 && others.iter().all(|(_, other)| other.level < 2)
                {
                    state.level = 3;
                    acquired[2] += 1;
                }
                refusals.push(Refused { conn: record.conn, start, request, holders });
            }
        } else {
            match record.kind {
                Kind::UNLOCK => state.level = record.requested.0,
                _ => {
                    let mask = shim::event::slot_mask(record.shm_offset, record.shm_n);
                    (state.shared, state.exclusive) = (state.shared & !mask, state.exclusive & !mask);
                }
            }
            if step.one_clock {
                record.flags = record.flags.with(Flags::ONE_CLOCK);
                record.duration = 0;
            }
        }
        // Levels above its own are given up; its own it stops at, if it has not been there.
        state.stops &= (2 << state.level) - 1;
        state.stops |= 1 << state.level;
        let (had, has) = (places(&states[me]), places(&state));
        for hold in holds.iter_mut().filter(|hold| hold.conn == record.conn && hold.until.is_none() && !has.contains(&hold.lock)) {
            hold.until = Some(start);
        }
        let fresh = has.into_iter().filter(|lock| !had.contains(lock));
        holds.extend(fresh.map(|lock| Held { conn: record.conn, lock, from: end, until: None }));
        record.after = Level(state.level);
        (record.shm_shared, record.shm_exclusive) = (state.shared, state.exclusive);
        state.end = end;
        states[me] = state;
        records.push((end + u64::from(step.claim), record));
    }
    records.sort_by_key(|(claim, _)| *claim);
    Played { records, refusals, acquired, holds }
}

/// Fills in a call that makes sense in this state. Taking a lock gives what it asks for.
fn choose(choice: u8, wal: bool, state: &State, record: &mut Record) -> Option<Request> {
    if wal {
        record.kind = Kind::SHM_LOCK;
        let held = state.shared | state.exclusive;
        let slot = choice % 5;
        if held & (1 << slot) != 0 {
            (record.shm_offset, record.shm_n) = (slot, 1);
            record.flags = Flags::SHM_UNLOCK;
            return None;
        }
        let two = choice & 128 != 0 && slot < 4 && held & (2 << slot) == 0;
        let exclusive = slot < 3 || choice & 64 != 0;
        (record.shm_offset, record.shm_n) = (slot, 1 + u8::from(two));
        record.flags = if exclusive { Flags::SHM_EXCLUSIVE } else { Flags(0) };
        return Some(Request::Shm { mask: shim::event::slot_mask(slot, record.shm_n), exclusive });
    }
    let up = match state.level {
        0 => Some(1),
        1 if choice.is_multiple_of(3) => Some(2),
        1 if choice % 7 == 1 => Some(4),
        2 | 3 if !choice.is_multiple_of(3) => Some(4),
        _ => None,
    };
    match up {
        Some(level) => {
            record.kind = Kind::LOCK;
            record.requested = Level(level);
            Some(Request::File(Level(level)))
        }
        None => {
            record.kind = Kind::UNLOCK;
            record.requested = Level(if state.level > 1 && choice & 1 == 0 { 1 } else { 0 });
            None
        }
    }
}
