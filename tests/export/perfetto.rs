//! Perfetto's trace format, decoded: as text with one packet a line, and as the slices, arrows, counters and processes that a viewer shows.
//!
//! The names are those of Perfetto's schema (`protos/perfetto/trace`). `tests/ecosystem/timelines.rs` compares them with the schema where it is installed.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Number,
    Fixed,
    Text,
    Message(&'static [Field]),
}
use Holds::{Fixed, Message, Number, Text};

type Field = (u64, &'static str, Holds);

const INTERNED_NAME: &[Field] = &[(1, "iid", Number), (2, "name", Text)];
const INTERNED_STRING: &[Field] = &[(1, "iid", Number), (2, "str", Text)];
const ANNOTATION: &[Field] = &[
    (1, "name_iid", Number),
    (2, "bool_value", Number),
    (3, "uint_value", Number),
    (6, "string_value", Text),
    (17, "string_value_iid", Number),
];
const TRACK_EVENT: &[Field] = &[
    (3, "category_iids", Number),
    (4, "debug_annotations", Message(ANNOTATION)),
    (9, "type", Number),
    (10, "name_iid", Number),
    (11, "track_uuid", Number),
    (23, "name", Text),
    (30, "counter_value", Number),
    (47, "flow_ids", Fixed),
    (48, "terminating_flow_ids", Fixed),
];
const PROCESS: &[Field] = &[(1, "pid", Number), (2, "cmdline", Text), (6, "process_name", Text), (8, "process_labels", Text)];
const TRACK: &[Field] = &[
    (1, "uuid", Number),
    (2, "name", Text),
    (3, "process", Message(PROCESS)),
    (5, "parent_uuid", Number),
    (8, "counter", Message(&[(3, "unit", Number)])),
    (11, "child_ordering", Number),
    (12, "sibling_order_rank", Number),
    (15, "sibling_merge_behavior", Number),
];
const INTERNED: &[Field] = &[
    (1, "event_categories", Message(INTERNED_NAME)),
    (2, "event_names", Message(INTERNED_NAME)),
    (3, "debug_annotation_names", Message(INTERNED_NAME)),
    (29, "debug_annotation_string_values", Message(INTERNED_STRING)),
];
const CLOCK: &[Field] =
    &[(1, "clocks", Message(&[(1, "clock_id", Number), (2, "timestamp", Number)])), (2, "primary_trace_clock", Number)];
const PACKET: &[Field] = &[
    (6, "clock_snapshot", Message(CLOCK)),
    (8, "timestamp", Number),
    (10, "trusted_packet_sequence_id", Number),
    (11, "track_event", Message(TRACK_EVENT)),
    (12, "interned_data", Message(INTERNED)),
    (13, "sequence_flags", Number),
    (58, "timestamp_clock_id", Number),
    (59, "trace_packet_defaults", Message(&[(58, "timestamp_clock_id", Number)])),
    (60, "track_descriptor", Message(TRACK)),
];
const TRACE: &[Field] = &[(1, "packet", Message(PACKET))];

/// A field's value.
enum Item<'a> {
    Number(u64),
    Text(&'a str),
    Message(Decoded<'a>),
}

/// The fields of a message, in the order of the bytes.
struct Decoded<'a>(Vec<(&'static str, Item<'a>)>);

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
}

impl<'a> Decoded<'a> {
    fn of(mut bytes: &'a [u8], fields: &[Field]) -> Decoded<'a> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let known = fields.iter().find(|field| field.0 == tag >> 3);
            let &(_, name, holds) = known.unwrap_or_else(|| panic!("no field {}", tag >> 3));
            let item = match (tag & 7, holds) {
                (0, Number) => Item::Number(varint(&mut bytes)),
                (1, Fixed) => {
                    let (number, rest) = bytes.split_first_chunk().unwrap();
                    bytes = rest;
                    Item::Number(u64::from_le_bytes(*number))
                }
                (2, Text | Message(_)) => {
                    let length = varint(&mut bytes) as usize;
                    let (inner, rest) = bytes.split_at(length);
                    bytes = rest;
                    match holds {
                        Message(fields) => Item::Message(Decoded::of(inner, fields)),
                        _ => Item::Text(std::str::from_utf8(inner).unwrap()),
                    }
                }
                (wire, _) => panic!("{name} is of wire type {wire}"),
            };
            items.push((name, item));
        }
        Decoded(items)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, item) in &self.0 {
            out.push_str(if out.is_empty() { "" } else { " " });
            match item {
                Item::Number(number) => write!(out, "{name}: {number}").unwrap(),
                Item::Text(text) => write!(out, "{name}: {text:?}").unwrap(),
                Item::Message(inner) => write!(out, "{name} {{ {} }}", inner.text()).unwrap(),
            }
        }
        out
    }

    fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b Item<'a>> {
        self.0.iter().filter(move |item| item.0 == name).map(|item| &item.1)
    }

    fn numbers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = u64> {
        self.all(name).filter_map(|item| if let Item::Number(number) = item { Some(*number) } else { None })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.numbers(name).next()
    }

    fn string(&self, name: &str) -> Option<&'a str> {
        self.all(name).find_map(|item| if let Item::Text(text) = item { Some(*text) } else { None })
    }

    fn messages<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b Decoded<'a>> {
        self.all(name).filter_map(|item| if let Item::Message(inner) = item { Some(inner) } else { None })
    }
}

/// A trace as text.
pub fn text(bytes: &[u8]) -> String {
    Decoded::of(bytes, TRACE).text().replace("} packet {", "}\npacket {") + "\n"
}

/// A slice of a track, or a point.
#[derive(Clone, Debug)]
pub struct Slice {
    pub track: u64,
    /// Empty for a note.
    pub category: String,
    pub name: String,
    /// In nanoseconds since 1970.
    pub from: u64,
    pub to: u64,
    pub args: BTreeMap<String, String>,
    /// Arrows that begin here.
    pub begins: Vec<u64>,
    /// Arrows that end here.
    pub ends: Vec<u64>,
}

/// What a viewer shows.
#[derive(Default)]
pub struct Timeline {
    pub slices: Vec<Slice>,
    pub points: Vec<Slice>,
    /// The values of each counter, by the names of its track and that track's parent: `-wal bytes of database /data/app.db`.
    pub counters: BTreeMap<String, Vec<(u64, u64)>>,
    /// Process ids.
    pub processes: Vec<u64>,
}

impl Timeline {
    /// Decodes a trace. Every slice must end in the packet after the one that begins it, every number must have been given its text before, and what a
    /// viewer makes of the slices (sorted by time, an end closes what was opened last) must be what was written.
    pub fn of(bytes: &[u8]) -> Timeline {
        let trace = Decoded::of(bytes, TRACE);
        let mut timeline = Timeline::default();
        let mut tracks: HashMap<u64, (String, Option<u64>)> = HashMap::new();
        let mut interned: HashMap<(&str, u64), String> = HashMap::new();
        let mut open: Option<Slice> = None;
        for packet in trace.messages("packet") {
            for track in packet.messages("track_descriptor") {
                let name = track.string("name").unwrap().to_owned();
                tracks.insert(track.number("uuid").unwrap(), (name, track.number("parent_uuid")));
                timeline.processes.extend(track.messages("process").filter_map(|process| process.number("pid")));
            }
            for data in packet.messages("interned_data") {
                for (kind, item) in &data.0 {
                    let Item::Message(entry) = item else { panic!("{kind} is no message") };
                    let text = entry.string("name").or(entry.string("str")).unwrap().to_owned();
                    let before = interned.insert((kind, entry.number("iid").unwrap()), text);
                    assert_eq!(before, None, "{kind} has a number twice");
                }
            }
            let Some(event) = packet.messages("track_event").next() else { continue };
            let (at, track) = (packet.number("timestamp").unwrap(), event.number("track_uuid").unwrap());
            let (track_name, parent) = tracks.get(&track).expect("a track is described before its events");
            match event.number("type") {
                Some(2) => {
                    let slice = open.take().expect("a slice has begun");
                    assert_eq!(slice.track, track);
                    timeline.slices.push(Slice { to: at, ..slice });
                    continue;
                }
                Some(4) => {
                    let name = format!("{track_name} of {}", tracks[&parent.unwrap()].0);
                    timeline.counters.entry(name).or_default().push((at, event.number("counter_value").unwrap()));
                    continue;
                }
                _ => {}
            }
            let known = |kind: &'static str, number: u64| interned[&(kind, number)].clone();
            let argument = |annotation: &Decoded<'_>| {
                let key = known("debug_annotation_names", annotation.number("name_iid").unwrap());
                let number = annotation.number("uint_value").map(|number| number.to_string());
                let yes = annotation.number("bool_value").map(|yes| (yes == 1).to_string());
                let word = annotation.number("string_value_iid").map(|word| known("debug_annotation_string_values", word));
                (key, annotation.string("string_value").map(str::to_owned).or(number).or(yes).or(word).unwrap())
            };
            let slice = Slice {
                track,
                category: event.number("category_iids").map_or_else(String::new, |number| known("event_categories", number)),
                name: match event.number("name_iid") {
                    Some(number) => known("event_names", number),
                    None => event.string("name").unwrap().to_owned(),
                },
                from: at,
                to: at,
                args: event.messages("debug_annotations").map(argument).collect(),
                begins: event.numbers("flow_ids").collect(),
                ends: event.numbers("terminating_flow_ids").collect(),
            };
            assert!(open.is_none(), "a slice ends in the next packet");
            match event.number("type") {
                Some(1) => open = Some(slice),
                Some(3) => timeline.points.push(slice),
                kind => panic!("an event of type {kind:?}"),
            }
        }
        assert!(open.is_none(), "every slice ends");
        timeline.is_seen_as_written();
        timeline
    }

    /// Slices of one track lie beside or inside one another, so a viewer pairs each beginning with its own end.
    fn is_seen_as_written(&self) {
        let mut marks: BTreeMap<u64, Vec<(u64, Option<usize>)>> = BTreeMap::new();
        for (index, slice) in self.slices.iter().enumerate() {
            marks.entry(slice.track).or_default().extend([(slice.from, Some(index)), (slice.to, None)]);
        }
        for (track, mut marks) in marks {
            marks.sort_by_key(|&(at, _)| at);
            let mut open: Vec<usize> = Vec::new();
            for (at, begins) in marks {
                match begins {
                    Some(index) => open.push(index),
                    None => {
                        let slice = &self.slices[open.pop().unwrap()];
                        assert_eq!(slice.to, at, "track {track}: {slice:?} crosses another");
                    }
                }
            }
        }
    }

    /// The slices of a category.
    pub fn of_category<'a>(&'a self, category: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.slices.iter().filter(move |slice| slice.category == category)
    }

    /// The times at which arrows begin, and those at which they end, by the numbers of the arrows.
    pub fn arrows(&self) -> [BTreeMap<u64, u64>; 2] {
        let marks = || self.slices.iter().chain(&self.points);
        [
            marks().flat_map(|slice| slice.begins.iter().map(|&id| (id, slice.from))).collect(),
            marks().flat_map(|slice| slice.ends.iter().map(|&id| (id, slice.from))).collect(),
        ]
    }
}
