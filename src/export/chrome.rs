//! Chrome's JSON trace format, for chrome://tracing, <https://ui.perfetto.dev>, speedscope and many more.
//!
//! The object form of the "Trace Event Format": `X` for slices, `i` for points, `s` and `f` for arrows, `C` for counters, `M` for names. A "thread" is a row of the
//! timeline. Times are microseconds (with three decimals) since the first anchor of the trace, which `otherData` tells in wall-clock time.
#![forbid(unsafe_code)]

use super::paint::{Counter, Fact, Painter, RowId, Shows, Slice, Value};
use super::timeline::Timeline;
use super::{Export, naming};
use crate::trace::{LogId, Trace};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;
use std::fmt;
use std::io::{self, Write};

/// The "process" that has the counters of all databases.
const DATABASES: u64 = 0;

/// Begins a Chrome trace; holds shorter than so many nanoseconds are left out.
///
/// # Errors
/// Those of `out`.
pub fn begin<'t>(trace: &'t Trace, shortest: u64, mut out: impl Write + 't) -> io::Result<impl Export + 't> {
    let origin = trace.logs().iter().map(|log| log.first.real_ns).min().unwrap_or(0);
    let about = json!({"tool": "locktrace", "origin": naming::rfc3339(origin).to_string(), "origin_ns": origin.to_string()});
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[")?;
    let mut chrome = Chrome { out, origin, first: true, pids: naming::Pids::of(trace) };
    chrome.named("process_name", DATABASES, None, "databases")?;
    Timeline::new(trace, shortest, chrome)
}

struct Chrome<W> {
    out: W,
    origin: u64,
    first: bool,
    pids: naming::Pids,
}

/// Microseconds with all their nanoseconds: a float would round them.
struct Micros(i128);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        write!(f, "{}{}.{:03}", if self.0 < 0 { "-" } else { "" }, ns / 1_000, ns % 1_000)
    }
}

/// Facts as a JSON object.
struct Facts<'a>(&'a [Fact<'a>]);

impl Serialize for Facts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            match value {
                Value::Number(number) => map.serialize_entry(key, number)?,
                Value::Yes => map.serialize_entry(key, &true)?,
                Value::Word(text) => map.serialize_entry(key, text)?,
                Value::Text(text) | Value::Sql(_, text) => map.serialize_entry(key, text)?,
            }
        }
        map.end()
    }
}

/// The "thread" of a row, below 2^53.
fn thread(row: RowId) -> u64 {
    let kind = row.shows as u64 * 32 + u64::from(row.lane);
    (u64::from(row.who.conn) << 1 | u64::from(row.who.forked)) << 8 | kind
}

impl<W: Write> Chrome<W> {
    /// Begins an event: what comes next goes behind a comma.
    fn event(&mut self, phase: &str, pid: u64, tid: Option<u64>) -> io::Result<()> {
        self.out.write_all(if self.first { &b"\n"[..] } else { b",\n" })?;
        self.first = false;
        write!(self.out, "{{\"ph\":\"{phase}\",\"pid\":{pid}")?;
        tid.map_or(Ok(()), |tid| write!(self.out, ",\"tid\":{tid}"))
    }

    fn at(&self, ns: u64) -> Micros {
        Micros(i128::from(ns) - i128::from(self.origin))
    }

    fn text(&mut self, key: &str, text: &str) -> io::Result<()> {
        write!(self.out, ",\"{key}\":")?;
        Ok(serde_json::to_writer(&mut self.out, text)?)
    }

    fn named(&mut self, what: &str, pid: u64, tid: Option<u64>, name: &str) -> io::Result<()> {
        self.event("M", pid, tid)?;
        let key = if what == "process_labels" { "labels" } else { "name" };
        write!(self.out, ",\"name\":\"{what}\",\"args\":{}}}", json!({ key: name }))
    }
}

impl<W: Write> Painter for Chrome<W> {
    fn process(&mut self, trace: &Trace, log: LogId) -> io::Result<()> {
        let pid = self.pids.get(log);
        self.named("process_name", pid, None, &naming::process(trace, log))?;
        self.named("process_labels", pid, None, &trace.log(log).id)
    }

    fn row(&mut self, _: &Trace, row: RowId, database: Option<&str>) -> io::Result<()> {
        let (pid, tid) = (self.pids.get(row.who.log), thread(row));
        let name = naming::row(row.who, database);
        let name = if row.shows == Shows::Life { name } else { format!("{name}: {}", naming::lane(row.shows.name(), row.lane)) };
        self.named("thread_name", pid, Some(tid), &name)?;
        self.event("M", pid, Some(tid))?;
        write!(self.out, ",\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{tid}}}}}")
    }

    fn slice(&mut self, slice: &Slice<'_>) -> io::Result<()> {
        let (pid, tid) = (self.pids.get(slice.row.who.log), thread(slice.row));
        let (category, at) = (slice.row.shows.category(), self.at(slice.from));
        self.event(if slice.instant { "i" } else { "X" }, pid, Some(tid))?;
        match slice.instant {
            true => write!(self.out, ",\"cat\":\"{category}\",\"ts\":{at},\"s\":\"t\"")?,
            false => write!(self.out, ",\"cat\":\"{category}\",\"ts\":{at},\"dur\":{}", Micros((slice.to - slice.from).into()))?,
        }
        self.text("name", slice.name)?;
        self.out.write_all(b",\"args\":")?;
        serde_json::to_writer(&mut self.out, &Facts(slice.facts))?;
        self.out.write_all(b"}")?;
        for arrow in slice.arrows {
            let (phase, binding) = if arrow.ends { ("f", ",\"bp\":\"e\"") } else { ("s", "") };
            let at = self.at(slice.from);
            self.event(phase, pid, Some(tid))?;
            write!(self.out, ",\"cat\":\"refused\",\"name\":\"refused\",\"id\":{},\"ts\":{at}{binding}}}", arrow.id)?;
        }
        Ok(())
    }

    fn counter(&mut self, _: u32, _: Counter, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn value(&mut self, db: u32, counter: Counter, path: &str, at: u64, value: u64) -> io::Result<()> {
        let (name, series) = match counter {
            Counter::Wal => ("-wal bytes", "bytes"),
            Counter::Writing => ("writing", "connections"),
        };
        let at = self.at(at);
        self.event("C", DATABASES, None)?;
        self.text("name", &format!("{name} {path}"))?;
        write!(self.out, ",\"id\":{db},\"ts\":{at},\"args\":{{\"{series}\":{value}}}}}")
    }

    fn note(&mut self, log: Option<LogId>, at: u64, what: &str) -> io::Result<()> {
        let (pid, scope) = log.map_or((DATABASES, "g"), |log| (self.pids.get(log), "p"));
        let at = self.at(at);
        self.event("i", pid, Some(0))?;
        write!(self.out, ",\"cat\":\"note\",\"ts\":{at},\"s\":\"{scope}\"")?;
        self.text("name", what)?;
        self.out.write_all(b"}")
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }
}
