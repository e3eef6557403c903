//! A profile for Firefox, compared with one of the crate with which samply writes profiles (`fxprof-processed-profile`): it has each thing that one has,
//! of the same kind, and little else.
//!
//! That crate writes version 55 of the format, and we write 57. What changed in between is in the profiler's `docs-developer/CHANGELOG-formats.md`: since 56
//! the strings are one list of all threads, `shared.stringArray`; since 57 a marker's fields are not `searchable` any more, since all are.

use super::export;
use crate::common::contended;
use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, MarkerFieldFlags, MarkerFieldFormat, MarkerLocations, MarkerTiming, Profile, ReferenceTimestamp,
    SamplingInterval, StaticSchemaMarker, StaticSchemaMarkerField, StringHandle, Timestamp,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

/// A marker as ours are: a text of its own, a text of a list, and a number.
struct Hold([StringHandle; 2], CategoryHandle);

const fn field(key: &'static str, format: MarkerFieldFormat) -> StaticSchemaMarkerField {
    StaticSchemaMarkerField { key, label: key, format, flags: MarkerFieldFlags::empty() }
}

impl StaticSchemaMarker for Hold {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "hold";
    const LOCATIONS: MarkerLocations = MarkerLocations::all();
    const CHART_LABEL: Option<&'static str> = Some("{marker.name} {marker.data.SQL}");
    const TOOLTIP_LABEL: Option<&'static str> = Some("{marker.name}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.name}");
    const FIELDS: &'static [StaticSchemaMarkerField] =
        &[field("SQL", MarkerFieldFormat::String), field("record", MarkerFieldFormat::Integer)];

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.0[0]
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.1
    }

    fn string_field_value(&self, _: u32) -> StringHandle {
        self.0[1]
    }

    fn number_field_value(&self, _: u32) -> f64 {
        7.0
    }
}

/// What that crate writes of a process, a connection, a hold and a point.
fn theirs() -> Value {
    let start = ReferenceTimestamp::from_system_time(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let mut profile = Profile::new("locktrace", start, SamplingInterval::from_millis(1));
    let category = profile.add_category("hold", CategoryColor::Blue);
    let at = Timestamp::from_nanos_since_reference;
    let process = profile.add_process("app 100", 100, at(0));
    profile.add_thread(process, 100, at(0), true);
    let thread = profile.add_thread(process, 101, at(0), false);
    profile.set_thread_name(thread, "c1 app.db");
    profile.set_thread_show_markers_in_timeline(thread, true);
    profile.add_initial_visible_thread(thread);
    profile.add_initial_selected_thread(thread);
    let strings = ["X WRITE", "BEGIN IMMEDIATE"].map(|text| profile.intern_string(text));
    profile.add_marker(thread, MarkerTiming::Interval(at(10), at(20)), Hold(strings, category));
    profile.add_marker(thread, MarkerTiming::Instant(at(20)), Hold(strings, category));
    serde_json::to_value(&profile).unwrap()
}

/// What is where, and of which kinds; `[]` is any element of an array.
fn shape(value: &Value, at: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    found.entry(at.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(all) => all.iter().for_each(|each| shape(each, &format!("{at}[]"), found)),
        // The fields of a marker are what its schema says.
        Value::Object(_) if at == "threads[].markers.data[]" => {}
        Value::Object(all) => all.iter().for_each(|(key, each)| {
            let at = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
            shape(each, &at, found);
        }),
        _ => {}
    }
}

fn shapes(value: &Value) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut found = BTreeMap::new();
    shape(value, "", &mut found);
    found
}

#[test]
fn a_profile_has_what_another_writer_puts_into_one() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let profile: Value = serde_json::from_slice(&export(dir.path(), "firefox")).unwrap();
    let (ours, theirs) = (shapes(&profile), shapes(&theirs()));
    assert!(theirs.len() > 90, "{theirs:?}");

    // Moved by version 56; what the profiler's types have as optional, of which there is nothing here; differences of times, or else the times.
    let not_ours = [
        "threads[].stringArray",
        "pages",
        "profilerOverhead",
        "counters",
        "threads[].samples.threadCPUDelta",
        "threads[].samples.timeDeltas",
    ];
    let lacks = theirs.keys().filter(|at| !ours.contains_key(*at)).filter(|at| !not_ours.iter().any(|one| at.starts_with(one)));
    assert_eq!(lacks.collect::<Vec<_>>(), Vec::<&String>::new());
    for (at, kinds) in &theirs {
        let known = |kinds: &BTreeSet<&'static str>| kinds.iter().copied().filter(|kind| *kind != "null").collect::<BTreeSet<_>>();
        if let Some(mine) = ours.get(at).map(known).filter(|mine| !mine.is_empty() && !known(kinds).is_empty()) {
            assert_eq!(mine, known(kinds), "{at}");
        }
    }
    let theirs: BTreeSet<&str> = theirs.keys().map(String::as_str).collect();
    let more: Vec<&str> = ours.keys().map(String::as_str).filter(|at| !theirs.contains(at)).collect();
    let expected = [
        "meta.keepProfileThreadOrder",
        "meta.stackwalk",
        "shared",
        "shared.stringArray",
        "shared.stringArray[]",
        "threads[].samples.time",
    ];
    assert_eq!(more, expected, "further ones, which the profiler's types have");

    // What has a number of its own: the versions, and the two kinds of markers there are.
    assert_eq!((&profile["meta"]["preprocessedProfileVersion"], &profile["meta"]["version"]), (&57.into(), &24.into()));
    assert_eq!(profile["meta"]["startTime"], 1_700_000_000_000.0);
    let phases: BTreeSet<u64> = profile["threads"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|thread| thread["markers"]["phase"].as_array().unwrap())
        .map(|phase| phase.as_u64().unwrap())
        .collect();
    assert_eq!(phases, BTreeSet::from([0, 1]));
}
