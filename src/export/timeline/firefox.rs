//! The Firefox Profiler's format, for <https://profiler.firefox.com>, which opens a file without sending it anywhere.
//!
//! It is a "processed profile" of version 57 (`docs-developer/CHANGELOG-formats.md` and `src/types/profile.ts` in firefox-devtools/profiler). Each
//! connection is a "thread" whose markers are its holds, work and waits. Each process has a main thread with the notes. The file stores markers by
//! column, so `SpooledRows` keep them until the pass is over. The format has no counters and no arrows: a wait names its blockers.
#![forbid(unsafe_code)]

use super::Timeline;
use super::format::{ArgValue, Counter, RowId, RowKind, Slice, TimelineFormat};
use super::spooled_rows::SpooledRows;
use crate::analysis::ConnId;
use crate::export::{Export, labels};
use crate::trace::{LogId, Trace};
use serde_json::{Map, json};
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

const VERSION: u32 = 57;

/// Threads that are shown at first. The menu has the others.
const VISIBLE: usize = 100;

/// The kinds of markers: their names, colours and fields.
const KINDS: [(&str, &str, &[&str]); 5] = [
    ("hold", "blue", &["SQL", "thread", "record", "ended by record", "beginning", "end"]),
    ("work", "green", &["thread", "record"]),
    (
        "wait",
        "red",
        &[
            "incident",
            "cause",
            "contributing",
            "outcome",
            "SQL",
            "thread",
            "blocked by",
            "more blockers",
            "attempts",
            "sleeps",
            "slept us",
            "proof",
        ],
    ),
    ("blocking", "orange", &["SQL", "last SQL", "refused", "record", "beginning not recorded", "end"]),
    ("note", "yellow", &[]),
];

const NOTE: usize = 4;

/// Begins a Firefox profile that leaves out holds shorter than this many nanoseconds.
///
/// # Errors
/// Errors of `out`.
pub fn begin<'t>(trace: &'t Trace, shortest: u64, mut out: impl Write + 't) -> io::Result<impl Export + 't> {
    let origin = trace.logs().iter().map(|log| log.first.real_ns).min().unwrap_or(0);
    let schema = KINDS.map(|(name, _, keys)| {
        let fields = keys.iter().map(|key| json!({"key": field(key), "label": key, "format": format(key)}));
        let label = if keys.contains(&"SQL") { "{marker.name} {marker.data.SQL}" } else { "{marker.name}" };
        json!({
            "name": name, "display": ["marker-chart", "marker-table", "timeline-overview"], "chartLabel": label, "tooltipLabel": label,
            "tableLabel": label, "fields": fields.collect::<Vec<_>>(),
        })
    });
    // The first grey category is the default one.
    let other = json!({"name": "Other", "color": "grey", "subcategories": ["Other"]});
    let categories = KINDS.map(|(name, color, _)| json!({"name": name, "color": color, "subcategories": ["Other"]}));
    let categories: Vec<_> = std::iter::once(other).chain(categories).collect();
    let meta = json!({
        "categories": categories, "debug": false, "extensions": {"baseURL": [], "id": [], "length": 0, "name": []}, "interval": 1,
        "preprocessedProfileVersion": VERSION, "version": 24, "processType": 0, "product": "locktrace", "stackwalk": 0,
        "sampleUnits": {"eventDelay": "ms", "threadCPUDelta": "ns", "time": "ms"}, "startTime": origin as f64 / 1e6, "symbolicated": true,
        "pausedRanges": [], "markerSchema": schema, "usesOnlyOneStackType": true, "sourceCodeIsNotOnSearchfox": true,
        "keepProfileThreadOrder": true,
    });
    let mut meta = meta.to_string();
    // The list of visible threads is added at the end, when it is known.
    meta.truncate(meta.len() - 1);
    write!(out, "{{\"libs\":[],\"threads\":[")?;
    let firefox = Firefox {
        out,
        meta,
        origin,
        threads: Vec::new(),
        by_connection: HashMap::new(),
        processes: Vec::new(),
        markers: SpooledRows::default(),
        strings: HashMap::new(),
        statements: HashMap::new(),
        texts: Vec::new(),
        scratch: Vec::new(),
        pids: labels::Pids::of(trace),
    };
    Timeline::new(trace, shortest, firefox)
}

/// An argument's key as a marker's field.
fn field(key: &str) -> String {
    key.replace(' ', "_")
}

fn format(key: &str) -> &'static str {
    match key {
        "SQL" | "last SQL" | "beginning" | "end" | "cause" | "outcome" => "unique-string",
        "incident" | "record" | "ended by record" | "attempts" | "sleeps" | "slept us" | "refused" | "more blockers" => "integer",
        _ => "string",
    }
}

struct ProfileThread {
    log: LogId,
    /// `None`: the main thread of a process.
    who: Option<ConnId>,
    name: String,
    markers: u64,
}

struct Firefox<W> {
    out: W,
    meta: String,
    origin: u64,
    threads: Vec<ProfileThread>,
    by_connection: HashMap<ConnId, usize>,
    /// The name of each log's process.
    processes: Vec<String>,
    markers: SpooledRows,
    strings: HashMap<String, u32>,
    statements: HashMap<u64, u32>,
    /// The texts of all numbers.
    texts: Vec<String>,
    scratch: Vec<u8>,
    pids: labels::Pids,
}

/// Milliseconds with all their nanoseconds.
struct Millis(i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        write!(f, "{}{}.{:06}", if self.0 < 0 { "-" } else { "" }, ns / 1_000_000, ns % 1_000_000)
    }
}

/// A marker as it is spooled: two times, a name, whether it is a point, a category, and its data as JSON.
struct Marker<'a> {
    from: i64,
    to: i64,
    name: u32,
    instant: bool,
    kind: u8,
    data: &'a [u8],
}

impl<'a> Marker<'a> {
    fn read(record: &'a [u8]) -> Option<Marker<'a>> {
        let (from, rest) = record.split_first_chunk()?;
        let (to, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let ([instant, kind], data) = rest.split_first_chunk()?;
        Some(Marker {
            from: i64::from_le_bytes(*from),
            to: i64::from_le_bytes(*to),
            name: u32::from_le_bytes(*name),
            instant: *instant != 0,
            kind: *kind,
            data,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.from.to_le_bytes());
        out.extend_from_slice(&self.to.to_le_bytes());
        out.extend_from_slice(&self.name.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.instant), self.kind]);
        out.extend_from_slice(self.data);
    }
}

impl<W: Write> Firefox<W> {
    fn string(&mut self, text: &str) -> u32 {
        self.texts.push(text.to_owned());
        (self.texts.len() - 1) as u32
    }

    /// The number of a text of which there are few.
    fn word(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.strings.get(word) {
            return number;
        }
        let number = self.string(word);
        self.strings.insert(word.to_owned(), number);
        number
    }

    fn marker(&mut self, thread: usize, marker: Marker<'_>) -> io::Result<()> {
        self.scratch.clear();
        marker.write(&mut self.scratch);
        self.threads[thread].markers += 1;
        self.markers.put(thread, &self.scratch)
    }

    fn since_origin(&self, ns: u64) -> i64 {
        (i128::from(ns) - i128::from(self.origin)).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Writes one column of a thread's markers.
    fn column(&mut self, thread: usize, name: &str, cell: impl Fn(&Marker<'_>, &mut W) -> io::Result<()>) -> io::Result<()> {
        write!(self.out, ",\"{name}\":[")?;
        let (out, mut first) = (&mut self.out, true);
        self.markers.each(thread, |record| {
            let marker = Marker::read(record).ok_or(io::ErrorKind::InvalidData)?;
            if !std::mem::take(&mut first) {
                out.write_all(b",")?;
            }
            cell(&marker, out)
        })?;
        self.out.write_all(b"]")
    }

    fn thread(&mut self, index: usize) -> io::Result<()> {
        let ProfileThread { log, who, ref name, markers } = self.threads[index];
        let pid = self.pids.get(log);
        let tid = who.map_or_else(|| pid.to_string(), |who| format!("{pid}.{}", labels::connection(who)));
        let empty = |columns: &[&str]| {
            let mut table: Map<_, _> = columns.iter().map(|&column| (column.to_owned(), json!([]))).collect();
            table.insert("length".to_owned(), 0.into());
            table
        };
        let about = json!({
            "name": name, "processName": self.processes[log.0 as usize], "processType": "default", "pid": pid.to_string(), "tid": tid,
            "isMainThread": who.is_none(), "processStartupTime": 0, "processShutdownTime": null, "registerTime": 0, "unregisterTime": null,
            "pausedRanges": [], "showMarkersInTimeline": true,
            "samples": {"length": 0, "stack": [], "time": [], "weight": null, "weightType": "samples"},
            "stackTable": empty(&["prefix", "frame"]),
            "frameTable": empty(&[
                "address", "inlineDepth", "category", "subcategory", "func", "nativeSymbol", "innerWindowID", "line", "column",
            ]),
            "funcTable": empty(&["name", "isJS", "relevantForJS", "resource", "fileName", "lineNumber", "columnNumber"]),
            "nativeSymbols": empty(&["address", "functionSize", "libIndex", "name"]),
            "resourceTable": empty(&["lib", "name", "host", "type"]),
        });
        let mut about = about.to_string();
        about.truncate(about.len() - 1);
        write!(self.out, "{}\n{about},\"markers\":{{\"length\":{markers}", if index == 0 { "" } else { "," })?;
        self.column(index, "startTime", |marker, out| write!(out, "{}", Millis(marker.from)))?;
        self.column(index, "endTime", |marker, out| match marker.instant {
            true => out.write_all(b"null"),
            false => write!(out, "{}", Millis(marker.to)),
        })?;
        self.column(index, "phase", |marker, out| write!(out, "{}", u8::from(!marker.instant)))?;
        self.column(index, "name", |marker, out| write!(out, "{}", marker.name))?;
        self.column(index, "category", |marker, out| write!(out, "{}", marker.kind + 1))?;
        self.column(index, "data", |marker, out| out.write_all(marker.data))?;
        self.out.write_all(b"}}")
    }

    /// The threads with the most markers.
    fn visible(&self) -> Vec<usize> {
        let mut threads: Vec<usize> = (0..self.threads.len()).collect();
        threads.sort_by_key(|&index| std::cmp::Reverse(self.threads[index].markers));
        threads.truncate(VISIBLE);
        threads.sort_unstable();
        threads
    }
}

impl<W: Write> TimelineFormat for Firefox<W> {
    fn process(&mut self, trace: &Trace, log: LogId) -> io::Result<()> {
        let name = labels::process(trace, log);
        self.processes.push(name.clone());
        self.threads.push(ProfileThread { log, who: None, name, markers: 0 });
        Ok(())
    }

    fn row(&mut self, _: &Trace, row: RowId, database: Option<&str>) -> io::Result<()> {
        if row.kind == RowKind::Life && !self.by_connection.contains_key(&row.who) {
            self.by_connection.insert(row.who, self.threads.len());
            let name = labels::row(row.who, database);
            self.threads.push(ProfileThread { log: row.who.log, who: Some(row.who), name, markers: 0 });
        }
        Ok(())
    }

    fn slice(&mut self, slice: &Slice<'_>) -> io::Result<()> {
        // The row of a connection's life comes before its other rows.
        let Some(&thread) = self.by_connection.get(&slice.row.who) else { return Ok(()) };
        let category = slice.row.kind.category();
        let kind = KINDS.iter().position(|(name, ..)| *name == category).unwrap_or_default();
        let mut data = format!("{{\"type\":\"{category}\"");
        for &(key, value) in slice.args {
            let key = field(key);
            // Writing to a string cannot fail.
            let _ = match value {
                ArgValue::Number(number) => write!(data, ",\"{key}\":{number}"),
                ArgValue::Yes => write!(data, ",\"{key}\":\"yes\""),
                ArgValue::Text(text) => write!(data, ",\"{key}\":{}", json!(text)),
                ArgValue::Word(word) => {
                    let number = self.word(word);
                    write!(data, ",\"{key}\":{number}")
                }
                ArgValue::Sql(hash, text) => {
                    let number = match self.statements.get(&hash) {
                        Some(&number) => number,
                        None => {
                            let number = self.string(text);
                            self.statements.insert(hash, number);
                            number
                        }
                    };
                    write!(data, ",\"{key}\":{number}")
                }
            };
        }
        data.push('}');
        let name = self.word(slice.name);
        let (from, to) = (self.since_origin(slice.from), self.since_origin(slice.to));
        self.marker(thread, Marker { from, to, name, instant: slice.instant, kind: kind as u8, data: data.as_bytes() })
    }

    fn counter(&mut self, _: u32, _: Counter, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn value(&mut self, _: u32, _: Counter, _: &str, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn note(&mut self, log: Option<LogId>, at: u64, what: &str) -> io::Result<()> {
        let thread = log.map_or(0, |log| log.0 as usize);
        let (name, at) = (self.string(what), self.since_origin(at));
        if self.threads.is_empty() {
            return Ok(());
        }
        self.marker(thread, Marker { from: at, to: at, name, instant: true, kind: NOTE as u8, data: b"{\"type\":\"note\"}" })
    }

    fn end(&mut self) -> io::Result<()> {
        for index in 0..self.threads.len() {
            self.thread(index)?;
        }
        self.out.write_all(b"\n],\"shared\":{\"stringArray\":[")?;
        for (index, text) in self.texts.iter().enumerate() {
            self.out.write_all(if index == 0 { &b"\n"[..] } else { b",\n" })?;
            serde_json::to_writer(&mut self.out, text)?;
        }
        let visible = json!(self.visible());
        writeln!(self.out, "]}},\"meta\":{},\"initialVisibleThreads\":{visible},\"initialSelectedThreads\":[0]}}}}", self.meta)?;
        self.out.flush()
    }
}
