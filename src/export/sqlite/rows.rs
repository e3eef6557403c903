//! Row numbers of connections, threads and statements, each with a row from its first use on.
//!
//! The numbers of connections and threads follow from their ids in the trace, so only one bit of each is kept.
#![forbid(unsafe_code)]

use crate::analysis::ConnId;
use crate::trace::LogId;
use rusqlite::{Connection, Result, params};
use std::collections::HashMap;

/// A set of numbers for each log, one bit each.
#[derive(Default)]
struct Once {
    words: HashMap<(u32, u64), u64>,
    last: Option<(u32, u64)>,
}

impl Once {
    /// Adds a number, and returns whether it is new.
    #[inline]
    fn first(&mut self, log: u32, number: u64) -> bool {
        if self.last == Some((log, number)) {
            return false;
        }
        self.last = Some((log, number));
        let word = self.words.entry((log, number >> 6)).or_default();
        let bit = 1 << (number & 63);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

/// The rows that were written.
#[derive(Default)]
pub(super) struct RowNumbers {
    connections: Once,
    /// Connections whose database is unknown so far. Their rows are not written yet.
    nameless: HashMap<ConnId, ()>,
    threads: Once,
    statements: HashMap<u64, i64>,
}

/// The row of a log.
pub(super) fn process(log: LogId) -> i64 {
    i64::from(log.0) + 1
}

fn number(who: ConnId) -> u64 {
    u64::from(who.forked) << 32 | u64::from(who.conn)
}

/// The row of a connection.
pub(super) fn connection(who: ConnId) -> i64 {
    process(who.log) << 33 | number(who) as i64
}

impl RowNumbers {
    /// The row of a connection. It is written when its database is known.
    pub(super) fn connection(&mut self, to: &Connection, who: ConnId, db: Option<u32>) -> Result<i64> {
        if self.connections.first(who.log.0, number(who)) {
            self.nameless.insert(who, ());
        }
        if db.is_some() && !self.nameless.is_empty() && self.nameless.remove(&who).is_some() {
            add_connection(to, who, db)?;
        }
        Ok(connection(who))
    }

    /// The row of a thread; none if the thread is unknown.
    pub(super) fn thread(&mut self, to: &Connection, log: LogId, tid: u32, name: Option<&str>) -> Result<Option<i64>> {
        if tid == 0 {
            return Ok(None);
        }
        let id = process(log) << 32 | i64::from(tid);
        if self.threads.first(log.0, u64::from(tid)) {
            to.prepare_cached("INSERT INTO threads VALUES (?1, ?2, ?3, ?4)")?.execute(params![id, process(log), tid, name])?;
        }
        Ok(Some(id))
    }

    /// The row of a statement, which is written at the end; none if there was no statement.
    pub(super) fn statement(&mut self, hash: u64) -> Option<i64> {
        if hash == 0 {
            return None;
        }
        let next = self.statements.len() as i64 + 1;
        Some(*self.statements.entry(hash).or_insert(next))
    }

    /// Writes the rows that are left: connections whose database stayed unknown.
    pub(super) fn finish(&mut self, to: &Connection) -> Result<()> {
        for (who, ()) in self.nameless.drain() {
            add_connection(to, who, None)?;
        }
        Ok(())
    }

    /// Every statement that was used, with its row.
    pub(super) fn statements(&self) -> impl Iterator<Item = (u64, i64)> + '_ {
        self.statements.iter().map(|(&hash, &id)| (hash, id))
    }
}

fn add_connection(to: &Connection, who: ConnId, db: Option<u32>) -> Result<()> {
    let mut insert = to.prepare_cached("INSERT INTO connections VALUES (?1, ?2, ?3, ?4, ?5)")?;
    insert.execute(params![connection(who), process(who.log), who.conn, who.forked, db])?;
    Ok(())
}
