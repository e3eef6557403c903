//! Perfetto's own format: track events, for <https://ui.perfetto.dev> and its trace processor.
//!
//! The file is a stream of `TracePacket`s (perfetto's `protos/perfetto/trace/trace_packet.proto` and `track_event/*.proto`, whose field numbers are
//! below). It has a track for each row, `SLICE_BEGIN` and `SLICE_END` for each slice (the reader sorts by time), flows for arrows, and counter tracks.
//! Times are nanoseconds since 1970 of the clock REALTIME, which a `ClockSnapshot` at the beginning makes the clock of the trace. Names and
//! statements are interned.
#![forbid(unsafe_code)]

use super::Timeline;
use super::format::{ArgValue, Counter, RowId, RowKind, Slice, TimelineFormat};
use super::protobuf::Message;
use crate::export::{Export, labels};
use crate::trace::{LogId, Trace};
use std::collections::HashMap;
use std::io::{self, Write};

/// Field numbers.
mod field {
    pub const PACKET: u32 = 1;
    pub const CLOCK_SNAPSHOT: u32 = 6;
    pub const TIMESTAMP: u32 = 8;
    pub const SEQUENCE: u32 = 10;
    pub const TRACK_EVENT: u32 = 11;
    pub const INTERNED: u32 = 12;
    pub const SEQUENCE_FLAGS: u32 = 13;
    pub const TIMESTAMP_CLOCK: u32 = 58;
    pub const DEFAULTS: u32 = 59;
    pub const TRACK: u32 = 60;
}

/// `BUILTIN_CLOCK_REALTIME`.
const REALTIME: u64 = 1;
/// `SEQ_INCREMENTAL_STATE_CLEARED`, `SEQ_NEEDS_INCREMENTAL_STATE`.
const CLEARED: u64 = 1;
const NEEDS_STATE: u64 = 2;
/// `TrackEvent.Type`.
const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// Begins a Perfetto trace that leaves out holds shorter than this many nanoseconds.
///
/// # Errors
/// Errors of `out`.
pub fn begin<'t>(trace: &'t Trace, shortest: u64, out: impl Write + 't) -> io::Result<impl Export + 't> {
    let first = trace.logs().iter().map(|log| log.first.real_ns).min().unwrap_or(0);
    let mut perfetto = Perfetto { out, packet: Message::default(), interned: Interned::default(), pids: labels::Pids::of(trace) };
    perfetto.clock(first)?;
    Timeline::new(trace, shortest, perfetto)
}

struct Perfetto<W> {
    out: W,
    packet: Message,
    interned: Interned,
    pids: labels::Pids,
}

/// The numbers of interned texts, by kind. The first packet that uses a number gives its text.
#[derive(Default)]
struct Interned {
    names: HashMap<&'static str, u64>,
    categories: HashMap<&'static str, u64>,
    keys: HashMap<&'static str, u64>,
    words: HashMap<&'static str, u64>,
    statements: HashMap<u64, u64>,
}

/// The number of a key, and whether it is new.
fn number<K: std::hash::Hash + Eq>(numbers: &mut HashMap<K, u64>, key: K, next: u64) -> (u64, bool) {
    let mut fresh = false;
    let number = *numbers.entry(key).or_insert_with(|| {
        fresh = true;
        next
    });
    (number, fresh)
}

/// A track's id: small numbers mixed into 64 bits.
fn mixed(parts: [u64; 3]) -> u64 {
    // The finalizer of MurmurHash3 over each part.
    let mix = |mut x: u64| {
        x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        x ^ x >> 33
    };
    parts.into_iter().fold(0x9e37_79b9_7f4a_7c15, |sum, part| mix(sum ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

fn process_track(log: LogId) -> u64 {
    mixed([1, log.0.into(), 0])
}

fn row_track(row: RowId) -> u64 {
    let kind = u64::from(row.who.forked) << 16 | (row.kind as u64) << 8 | u64::from(row.lane);
    mixed([2, u64::from(row.who.log.0) << 32 | u64::from(row.who.conn), kind])
}

fn database_track(db: u32) -> u64 {
    mixed([3, db.into(), 0])
}

fn counter_track(db: u32, counter: Counter) -> u64 {
    mixed([4, db.into(), counter as u64])
}

const WHOLE_TRACK: u64 = 1;

impl<W: Write> Perfetto<W> {
    /// Writes a packet that `fill` fills.
    fn packet(&mut self, fill: impl FnOnce(&mut Message, &mut Interned)) -> io::Result<()> {
        let (packet, interned) = (&mut self.packet, &mut self.interned);
        packet.clear();
        packet.message(field::PACKET, |packet| {
            packet.number(field::SEQUENCE, 1);
            fill(packet, interned);
        });
        self.out.write_all(packet.as_bytes())
    }

    /// Writes the clock of all times, and begins the sequence to which all packets belong.
    fn clock(&mut self, real_ns: u64) -> io::Result<()> {
        self.packet(|packet, _| {
            packet.number(field::SEQUENCE_FLAGS, CLEARED);
            packet.message(field::DEFAULTS, |defaults| defaults.number(field::TIMESTAMP_CLOCK, REALTIME));
            packet.message(field::CLOCK_SNAPSHOT, |snapshot| {
                snapshot.message(1, |clock| {
                    clock.number(1, REALTIME);
                    clock.number(2, real_ns);
                });
                snapshot.number(2, REALTIME);
            });
        })?;
        self.track(WHOLE_TRACK, None, "locktrace", |_| {})
    }

    fn track(&mut self, id: u64, parent: Option<u64>, name: &str, more: impl FnOnce(&mut Message)) -> io::Result<()> {
        self.packet(|packet, _| {
            packet.message(field::TRACK, |track| {
                track.number(1, id);
                if let Some(parent) = parent {
                    track.number(5, parent);
                }
                track.bytes(2, name.as_bytes());
                more(track);
            });
        })
    }

    fn event(&mut self, at: u64, track: u64, kind: u64, more: impl FnOnce(&mut Message)) -> io::Result<()> {
        self.packet(|packet, _| {
            packet.number(field::TIMESTAMP, at);
            packet.number(field::SEQUENCE_FLAGS, NEEDS_STATE);
            packet.message(field::TRACK_EVENT, |event| {
                event.number(9, kind);
                event.number(11, track);
                more(event);
            });
        })
    }
}

/// Writes the texts that the event uses for the first time, and the event with their numbers.
fn write_slice(packet: &mut Message, interned: &mut Interned, slice: &Slice<'_>) {
    let category = slice.row.kind.category();
    let next = interned.categories.len() as u64 + 1;
    let (category_number, fresh_category) = number(&mut interned.categories, category, next);
    // The names and values that are new here: (field, number, text).
    let mut fresh: Vec<(u32, u64, &str)> = Vec::new();
    if fresh_category {
        fresh.push((1, category_number, category));
    }
    let name = labels::known_lock(slice.name).map(|name| {
        let next = interned.names.len() as u64 + 1;
        let (number, new) = number(&mut interned.names, name, next);
        if new {
            fresh.push((2, number, name));
        }
        number
    });
    let mut args: Vec<(u64, Option<u64>)> = Vec::with_capacity(slice.args.len());
    for &(key, value) in slice.args {
        let next = interned.keys.len() as u64 + 1;
        let (key_number, new) = number(&mut interned.keys, key, next);
        if new {
            fresh.push((3, key_number, key));
        }
        let next = (interned.words.len() + interned.statements.len()) as u64 + 1;
        let (value, text, new) = match value {
            ArgValue::Word(word) => {
                let (number, new) = number(&mut interned.words, word, next);
                (Some(number), word, new)
            }
            ArgValue::Sql(hash, text) => {
                let (number, new) = number(&mut interned.statements, hash, next);
                (Some(number), text, new)
            }
            _ => (None, "", false),
        };
        if let Some(value) = value.filter(|_| new) {
            fresh.push((29, value, text));
        }
        args.push((key_number, value));
    }
    if !fresh.is_empty() {
        packet.message(field::INTERNED, |data| {
            for (field, number, text) in fresh {
                data.message(field, |entry| {
                    entry.number(1, number);
                    entry.bytes(2, text.as_bytes());
                });
            }
        });
    }
    packet.message(field::TRACK_EVENT, |event| {
        event.number(9, if slice.instant { INSTANT } else { BEGIN });
        event.number(11, row_track(slice.row));
        event.number(3, category_number);
        match name {
            Some(number) => event.number(10, number),
            None => event.bytes(23, slice.name.as_bytes()),
        }
        for arrow in slice.arrows {
            event.fixed64(if arrow.ends { 48 } else { 47 }, arrow.id);
        }
        for (&(_, value), &(key, interned)) in slice.args.iter().zip(&args) {
            event.message(4, |annotation| {
                annotation.number(1, key);
                match (value, interned) {
                    (_, Some(number)) => annotation.number(17, number),
                    (ArgValue::Number(number), _) => annotation.number(3, number),
                    (ArgValue::Yes, _) => annotation.number(2, 1),
                    (ArgValue::Text(text) | ArgValue::Sql(_, text), _) => annotation.bytes(6, text.as_bytes()),
                    (ArgValue::Word(text), _) => annotation.bytes(6, text.as_bytes()),
                }
            });
        }
    });
}

impl<W: Write> TimelineFormat for Perfetto<W> {
    fn process(&mut self, trace: &Trace, log: LogId) -> io::Result<()> {
        let pid = self.pids.get(log);
        let name = labels::process(trace, log);
        let names = &trace.log(log).names;
        self.track(process_track(log), None, &name, |track| {
            track.message(3, |process| {
                process.number(1, pid);
                process.bytes(6, name.as_bytes());
                for argument in names.argv().unwrap_or_default() {
                    process.bytes(2, argument.as_bytes());
                }
                process.bytes(8, trace.log(log).id.as_bytes());
                if let Some(host) = names.host() {
                    process.bytes(8, format!("host {host}").as_bytes());
                }
            });
        })
    }

    fn row(&mut self, _: &Trace, row: RowId, database: Option<&str>) -> io::Result<()> {
        let life = row_track(RowId { kind: RowKind::Life, lane: 0, ..row });
        let (parent, name) = match row.kind {
            RowKind::Life => (process_track(row.who.log), labels::row(row.who, database)),
            kind => (life, labels::lane(kind.name(), row.lane)),
        };
        self.track(row_track(row), Some(parent), &name, |track| {
            if row.kind == RowKind::Life {
                track.number(11, 3);
            }
            track.number(12, row.kind as u64 * 64 + u64::from(row.lane));
            track.number(15, 2);
        })
    }

    fn slice(&mut self, slice: &Slice<'_>) -> io::Result<()> {
        self.packet(|packet, interned| {
            packet.number(field::TIMESTAMP, slice.from);
            packet.number(field::SEQUENCE_FLAGS, NEEDS_STATE);
            write_slice(packet, interned, slice);
        })?;
        if slice.instant { Ok(()) } else { self.event(slice.to, row_track(slice.row), END, |_| {}) }
    }

    fn counter(&mut self, db: u32, counter: Counter, path: &str) -> io::Result<()> {
        self.track(database_track(db), None, &format!("database {path}"), |_| {})?;
        let (name, unit) = match counter {
            Counter::Wal => ("-wal bytes", 3),
            Counter::Writing => ("writing", 2),
        };
        self.track(counter_track(db, counter), Some(database_track(db)), name, |track| {
            track.message(8, |counter| counter.number(3, unit))
        })
    }

    fn value(&mut self, db: u32, counter: Counter, _: &str, at: u64, value: u64) -> io::Result<()> {
        self.event(at, counter_track(db, counter), COUNTER, |event| event.number(30, value))
    }

    fn note(&mut self, log: Option<LogId>, at: u64, what: &str) -> io::Result<()> {
        self.event(at, log.map_or(WHOLE_TRACK, process_track), INSTANT, |event| event.bytes(23, what.as_bytes()))
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
