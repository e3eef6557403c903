"""Reads a Perfetto trace with Perfetto's own schema, as its trace processor would, and says what is in it as JSON."""

import collections
import json
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

trace = Trace()
with open(sys.argv[1], "rb") as file:
    trace.ParseFromString(file.read())


def known(message):
    assert not len(UnknownFieldSet(message)), f"not in the schema: {message}"
    for field, value in message.ListFields():
        if field.message_type:
            for inner in value if field.is_repeated else [value]:
                known(inner)


known(trace)

tables = {"event_categories": {}, "event_names": {}, "debug_annotation_names": {}, "debug_annotation_string_values": {}}
tracks, events, first = {}, [], None
for packet in trace.packet:
    assert packet.trusted_packet_sequence_id == 1
    if packet.HasField("clock_snapshot"):
        assert first is None, "the clock comes first"
        first = packet.clock_snapshot
        assert packet.sequence_flags == 1 and packet.trace_packet_defaults.timestamp_clock_id == first.primary_trace_clock
    if packet.HasField("interned_data"):
        for kind, table in tables.items():
            for entry in getattr(packet.interned_data, kind):
                assert entry.iid and entry.iid not in table, "given once"
                table[entry.iid] = entry.str.decode() if kind == "debug_annotation_string_values" else entry.name
    if packet.HasField("track_descriptor"):
        track = packet.track_descriptor
        known = tracks.setdefault(track.uuid, track)
        assert known == track, "declared twice, and differently"
        assert not track.parent_uuid or track.parent_uuid in tracks, "its parent comes first"
    if packet.HasField("track_event"):
        event = packet.track_event
        assert event.track_uuid in tracks, "its track comes first"
        name = tables["event_names"][event.name_iid] if event.name_iid else event.name
        facts = {}
        for fact in event.debug_annotations:
            value = getattr(fact, fact.WhichOneof("value"))
            if fact.WhichOneof("value") == "string_value_iid":
                value = tables["debug_annotation_string_values"][value]
            facts[tables["debug_annotation_names"][fact.name_iid]] = value
        categories = [tables["event_categories"][iid] for iid in event.category_iids]
        events.append((packet.timestamp, event, name, facts, categories))

# As the trace processor has it: by time, and at one time as they were written; an end closes what was opened last on its track.
events.sort(key=lambda event: event[0])
opened, slices, flows, counters = collections.defaultdict(list), [], collections.defaultdict(list), collections.Counter()
for at, event, name, facts, categories in events:
    stack = opened[event.track_uuid]
    for flow in [*event.flow_ids, *event.terminating_flow_ids]:
        flows[flow].append((at, name))
    if event.type == TrackEvent.TYPE_SLICE_BEGIN:
        stack.append({"from": at, "name": name, "facts": facts, "category": categories[0], "depth": len(stack)})
    elif event.type == TrackEvent.TYPE_SLICE_END:
        slices.append(stack.pop() | {"to": at})
    elif event.type == TrackEvent.TYPE_COUNTER:
        assert tracks[event.track_uuid].HasField("counter")
        counters[tracks[event.track_uuid].name] += 1
assert not any(opened.values()), "every slice ends"
assert all(len(ends) == 2 and ends[0][0] <= ends[1][0] for ends in flows.values()), "every arrow has two ends"

held, count = collections.Counter(), collections.Counter()
for slice in slices:
    if slice["category"] == "hold" and "end" not in slice["facts"]:
        held[slice["name"]] += slice["to"] - slice["from"]
        count[slice["name"]] += 1
processes = [track.process for track in tracks.values() if track.HasField("process")]
print(json.dumps({
    "held": held,
    "count": count,
    "depth": max((slice["depth"] for slice in slices), default=0),
    "waits": [slice["facts"] | {"name": slice["name"], "ns": slice["to"] - slice["from"]} for slice in slices if slice["category"] == "wait"],
    "arrows": len(flows),
    "counters": counters,
    "processes": [[process.pid, list(process.cmdline)] for process in processes],
    "connections": sum(track.name.startswith("c") and " " in track.name for track in tracks.values()),
}))
