//! The statements of a page, each once. The script looks them up by number.
#![forbid(unsafe_code)]

use super::escape;
use crate::analysis::ConnId;
use crate::report::words;
use crate::trace::{LogId, Trace};
use serde::Serialize;
use std::collections::HashMap;

/// The bytes of statements in a page before further statements are cut short. After twice as many, a statement is only its hash.
const BYTES: usize = 1_500_000;
const TWICE: usize = 2 * BYTES;
/// The characters of one statement before `BYTES` is reached, and after.
const LONG: usize = 2_000;
const SHORT: usize = 80;

/// A statement's text, its length in bytes in the program, and its hash.
#[derive(Serialize)]
pub(super) struct Statement(String, u64, String);

/// The statements of a page, by number.
pub(super) struct Sqls<'t> {
    trace: &'t Trace,
    numbers: HashMap<u64, u32>,
    pub(super) all: Vec<Statement>,
    bytes: usize,
    /// Statements that were cut or left out because there are so many.
    pub(super) cut: u64,
}

impl<'t> Sqls<'t> {
    pub(super) fn new(trace: &'t Trace) -> Sqls<'t> {
        let none = Statement(String::new(), 0, String::new());
        Sqls { trace, numbers: HashMap::from([(0, 0)]), all: vec![none], bytes: 0, cut: 0 }
    }

    /// The number of this log's statement; 0 if there is none.
    pub(super) fn number(&mut self, log: LogId, hash: u64) -> u32 {
        if let Some(&number) = self.numbers.get(&hash) {
            return number;
        }
        let who = ConnId { log, conn: 0, forked: false };
        let length = self.trace.log(log).names.sql(hash).map_or(0, |sql| sql.len);
        let text = words::sql_text(self.trace, who, hash).map_or_else(String::new, |text| match self.bytes {
            ..BYTES => escape::lines(text, LONG),
            BYTES..TWICE => {
                self.cut += u64::from(text.len() > SHORT);
                escape::line(text, SHORT)
            }
            _ => {
                self.cut += 1;
                String::new()
            }
        });
        self.bytes += text.len() + 32;
        let number = self.all.len() as u32;
        self.all.push(Statement(text, length, format!("{hash:016x}")));
        self.numbers.insert(hash, number);
        number
    }
}
