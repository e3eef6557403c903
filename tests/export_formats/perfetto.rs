//! What a trace for Perfetto has in it, as text: one packet a line, with the names that Perfetto's schema (`protos/perfetto/trace`) has for its fields.
//!
//! That these are its names is tested where that schema can be had: `tests/ecosystem/timelines.rs`.

use crate::common::{contended, expect};
use crate::export;
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

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
}

/// The fields of a message, with blanks between.
fn message(mut bytes: &[u8], fields: &[Field]) -> String {
    let mut out = String::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let &(_, name, holds) = fields.iter().find(|field| field.0 == tag >> 3).unwrap_or_else(|| panic!("no field {}", tag >> 3));
        out.push_str(if out.is_empty() { "" } else { " " });
        match (tag & 7, holds) {
            (0, Number) => write!(out, "{name}: {}", varint(&mut bytes)).unwrap(),
            (1, Fixed) => {
                let (number, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                write!(out, "{name}: {}", u64::from_le_bytes(*number)).unwrap();
            }
            (2, Text | Message(_)) => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                match holds {
                    Message(fields) => write!(out, "{name} {{ {} }}", message(inner, fields)).unwrap(),
                    _ => write!(out, "{name}: {:?}", std::str::from_utf8(inner).unwrap()).unwrap(),
                }
            }
            (wire, _) => panic!("{name} is of wire type {wire}"),
        }
    }
    out
}

/// A trace as text.
pub fn text(bytes: &[u8]) -> String {
    message(bytes, TRACE).replace("} packet {", "}\npacket {") + "\n"
}

#[test]
fn the_packets_of_a_small_trace() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    expect("export-perfetto.txt", &text(&export(dir.path(), "perfetto")));
}
