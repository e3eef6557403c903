//! The reader of traces: whole, cut, damaged and empty ones, and their export.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use shim::event::Kind;
use shim::format::record::Record;
use sqlite_locktrace::trace::{Error, Event, Place, Severity, Summary, Tally, Trace, jsonl};
use std::io::BufReader;
use std::path::Path;

fn read(trace: &Trace) -> (Vec<Event>, Summary) {
    let mut events = trace.events().unwrap();
    let all: Vec<Event> = (&mut events).collect();
    let summary = events.finish();
    for tally in &summary.tallies {
        assert_eq!(tally.read + tally.unread(), tally.head, "{tally:?}");
    }
    assert_eq!(all.len() as u64, summary.tallies.iter().map(|tally| tally.read).sum::<u64>());
    (all, summary)
}

fn export(trace: &Trace) -> Vec<u8> {
    let mut out = Vec::new();
    jsonl::write(trace, trace.events().unwrap(), &mut out).unwrap();
    out
}

fn from_lines(bytes: Vec<u8>) -> Result<Trace, Error> {
    Trace::from_lines(Path::new("export"), Box::new(BufReader::new(std::io::Cursor::new(bytes))))
}

fn error(path: &Path) -> Error {
    match Trace::open(path) {
        Ok(_) => panic!("{path:?} was read"),
        Err(error) => error,
    }
}

fn writer() -> Process {
    let mut process = Process::new(100);
    process.thread(101, "main").run(
        "100 c1 open
         200 c1 SHARED         -- INSERT INTO t VALUES (1)
         210 c1 RESERVED       -- INSERT INTO t VALUES (1)
         220 c1 wrote journal 512
         300 c1 EXCLUSIVE      -- INSERT INTO t VALUES (1)
         320 c1 delete journal
         330 c1 U(SHARED)
         340 c1 U(NONE)
         350 c1 U(NONE)
         400 c1 close",
    );
    process
}

fn reader() -> Process {
    let mut process = Process::new(200);
    process.run(
        "150 c1 open
         205 c1 SHARED         -- SELECT * FROM t
         260 c1 U(NONE)
         305+20 c1 SHARED=BUSY -- SELECT * FROM t
         326 c1 sleep 1000
         1400 c1 SHARED        -- SELECT * FROM t
         1450 c1 U(NONE)",
    );
    process
}

#[test]
fn two_processes_are_one_timeline() {
    let dir = tempfile::tempdir().unwrap();
    writer().write(dir.path());
    reader().write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let (events, summary) = read(&trace);
    assert_eq!(summary.problems, []);
    let order: Vec<(u32, Kind)> = events.iter().map(|event| (trace.log(event.log).pid, event.record.kind)).collect();
    assert_eq!(order.len(), 17);
    assert_eq!(
        order[..6],
        [(100, Kind::OPEN), (200, Kind::OPEN), (100, Kind::LOCK), (200, Kind::LOCK), (100, Kind::LOCK), (100, Kind::WROTE)]
    );
    let busy = events.iter().position(|event| event.record.rc.is_busy()).unwrap();
    assert_eq!(events[busy - 1].record.kind, Kind::DELETE, "a refusal counts from its end");
    let real = trace.real_ns(events[0].log, events[0].record.start).unwrap();
    assert_eq!(real, 1_700_000_000_000_100_000);
}

/// The release begins before the other's acquisition ends, and its record comes later: it must sort first.
#[test]
fn a_release_sorts_before_the_acquisition_it_made_possible() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(1);
    process.run(
        "10 c1 X WRITE
         100+9 c2 X WRITE
         101+50 c1 U WRITE",
    );
    process.write(dir.path());
    let (events, _) = read(&Trace::open(dir.path()).unwrap());
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [0, 2, 1]);
}

#[test]
fn records_far_out_of_claim_order_are_sorted_and_those_beyond_the_window_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(1);
    let record = |start: u64| Record { start, conn: 1, ..Record::new(Kind::CHECK_RESERVED) };
    process.records = (0..50_000).map(|i| record(i * 10)).collect();
    let early = process.records.remove(20_000);
    process.records.insert(24_000, early);
    process.write(dir.path());
    let (events, summary) = read(&Trace::open(dir.path()).unwrap());
    assert!(events.is_sorted_by_key(|event| event.record.start));
    assert_eq!(summary.problems, []);

    let early = process.records.remove(10);
    process.records.insert(49_000, early);
    process.write(dir.path());
    let (events, summary) = read(&Trace::open(dir.path()).unwrap());
    assert!(!events.is_sorted_by_key(|event| event.record.start));
    assert!(summary.problems[0].to_string().starts_with("1 record came too late to be sorted"), "{:?}", summary.problems);
}

#[test]
fn more_logs_than_are_open_at_once_are_one_timeline() {
    let dir = tempfile::tempdir().unwrap();
    for pid in 1..=100 {
        let mut process = Process::new(pid);
        for i in 0..50 {
            process.run(&format!("{} c1 SHARED\n{} c1 U(NONE)", pid * 20 + i * 100, pid * 20 + i * 100 + 10));
        }
        process.write(dir.path());
    }
    let (events, summary) = read(&Trace::open(dir.path()).unwrap());
    assert_eq!((events.len(), summary.problems), (10_000, vec![]));
    assert!(events.is_sorted_by_key(|event| sqlite_locktrace::trace::instant(&event.record)));
}

#[test]
fn a_ring_cut_at_every_byte_gives_what_comes_before() {
    let dir = tempfile::tempdir().unwrap();
    let process = writer();
    process.write(dir.path());
    let ring = dir.path().join(format!("{}.ring", process.id));
    let bytes = process.ring();
    for cut in 0..bytes.len() {
        std::fs::write(&ring, &bytes[..cut]).unwrap();
        if cut < 4096 {
            let text = error(dir.path()).to_string();
            assert!(text.contains(&format!("byte {cut}: ")), "{cut}: {text}");
            continue;
        }
        let (events, summary) = read(&Trace::open(dir.path()).unwrap());
        let whole = (cut - 4096) / 64;
        assert_eq!(events.iter().map(|event| event.record).collect::<Vec<_>>(), process.records[..whole]);
        assert_eq!(summary.tallies[0].missing, 10 - whole as u64);
        let problem = &summary.problems[0];
        assert_eq!(problem.place, Place::Byte(cut as u64));
        assert!(problem.what.starts_with("torn tail"), "{problem}");
    }
}

#[test]
fn a_wrapped_ring_holds_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = writer();
    process.header.capacity = 4;
    process.write(dir.path());
    let (events, summary) = read(&Trace::open(dir.path()).unwrap());
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [6, 7, 8, 9]);
    assert_eq!(summary.tallies[0], Tally { head: 10, read: 4, overwritten: 6, ..Tally::default() });
}

#[test]
fn lost_empty_and_torn_records_are_distinguished() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = writer();
    process.header.lost_space = 2;
    process.write(dir.path());
    let mut bytes = process.ring();
    for slot in [1, 2, 3] {
        bytes[4096 + slot * 64..4096 + (slot + 1) * 64].fill(0);
    }
    bytes[4096 + 5 * 64 + 20] ^= 1;
    std::fs::write(dir.path().join(format!("{}.ring", process.id)), bytes).unwrap();
    let (_, summary) = read(&Trace::open(dir.path()).unwrap());
    assert_eq!(summary.tallies[0], Tally { head: 10, read: 6, lost: 2, empty: 1, torn: 1, ..Tally::default() });
}

#[test]
fn an_absurd_head_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = writer();
    process.header.capacity = 16;
    process.write(dir.path());
    let path = dir.path().join(format!("{}.ring", process.id));
    let good = process.ring();
    for head in [u64::MAX, u64::MAX - 3, 1 << 40, 17] {
        let mut bytes = good.clone();
        bytes[128..136].copy_from_slice(&head.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let (_, summary) = read(&Trace::open(dir.path()).unwrap());
        assert_eq!(summary.tallies[0].head, head);
    }
    let mut process = writer();
    process.header.capacity = 1 << 40;
    process.header.head = 1 << 40;
    std::fs::write(&path, process.ring_of(10)).unwrap();
    let (events, summary) = read(&Trace::open(dir.path()).unwrap());
    assert_eq!((events.len(), summary.tallies[0].missing), (10, (1 << 40) - 10));
}

#[test]
fn errors_name_the_file_and_the_byte_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = error(&dir.path().join("nowhere"));
    assert!(missing.to_string().contains("nowhere") && missing.to_string().contains("LOCKTRACE_DIR"), "{missing}");
    let empty = error(dir.path());
    assert!(empty.to_string().contains("extension"), "{empty}");

    let process = writer();
    process.write(dir.path());
    let ring = dir.path().join(format!("{}.ring", process.id));
    let asked_for_the_ring = error(&ring);
    assert!(asked_for_the_ring.to_string().contains("give the directory"), "{asked_for_the_ring}");
    for (byte, value, place, says) in [(8, 9, 8, "newer locktrace"), (0, b'x', 0, "not a locktrace ring"), (33, 1, 80, "damaged")] {
        let mut bytes = process.ring();
        bytes[byte] = value;
        std::fs::write(&ring, bytes).unwrap();
        let text = error(dir.path()).to_string();
        assert!(text.contains(&format!("byte {place}: ")) && text.contains(says) && text.contains(".ring"), "{text}");
    }
    // With a good log beside it, the same is a problem and no more.
    reader().write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    assert_eq!((trace.logs().len(), trace.problems().len()), (1, 1));
    assert_eq!((trace.problems()[0].place, trace.problems()[0].severity), (Place::Byte(80), Severity::Problem));
}

#[test]
fn names_and_rings_without_each_other_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reader) = (writer(), reader());
    writer.write(dir.path());
    reader.write(dir.path());
    std::fs::remove_file(dir.path().join(format!("{}.names", writer.id))).unwrap();
    std::fs::remove_file(dir.path().join(format!("{}.ring", reader.id))).unwrap();
    let trace = Trace::open(dir.path()).unwrap();
    let text: Vec<String> = trace.problems().iter().map(ToString::to_string).collect();
    assert!(text[0].contains(".ring: no ") && text[1].contains(".names: no "), "{text:?}");
    assert_eq!(read(&trace).0.len(), 10);
}

#[test]
fn bad_names_lines_are_said_and_the_rest_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(5);
    process.name(r#"{"t":"file","file":"#).name(r#"{"t":"weather"}"#).name("[1]").database(2, "/data/second.db", 9);
    process.run("1 c1 open");
    process.write(dir.path());
    let path = dir.path().join(format!("{}.names", process.id));
    std::fs::write(&path, [&process.names()[..], br#"{"t":"thread","tid":1,"na"#].concat()).unwrap();
    let trace = Trace::open(dir.path()).unwrap();
    assert_eq!(trace.logs()[0].names.file(2).unwrap().path.text, "/data/second.db");
    let places: Vec<Place> = trace.problems().iter().map(|problem| problem.place).collect();
    assert_eq!(places, [Place::Line(4), Place::Line(5), Place::Line(6), Place::Line(8)]);
    assert!(trace.problems()[3].what.contains("torn last line"));
    assert_eq!(trace.problems()[3].severity, Severity::Notice);
}

#[test]
fn an_export_gives_the_same_records_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut odd = Process::new(300);
    // Every field with values that have no name, and numbers that JSON cannot hold.
    odd.records = (0..2_000u64)
        .map(|i| Record::from_words(&std::array::from_fn(|word| (i * 7 + word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .collect();
    odd.write(dir.path());
    writer().write(dir.path());
    reader().write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let lines = export(&trace);
    let back = from_lines(lines.clone()).unwrap();
    assert_eq!(read(&back), read(&trace));
    let again = from_lines(lines.clone()).unwrap();
    assert_eq!(String::from_utf8(export(&again)).unwrap(), String::from_utf8(lines).unwrap());
    for (a, b) in back.logs().iter().zip(trace.logs()) {
        assert_eq!((&a.id, a.pid, a.boot_id, a.first, a.last, &a.names), (&b.id, b.pid, b.boot_id, b.first, b.last, &b.names));
    }
}

/// `locktrace follow --json` writes a log and a name when it hears of them, between the records.
#[test]
fn logs_and_names_may_come_behind_records_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    writer().write(dir.path());
    reader().write(dir.path());
    let lines = String::from_utf8(export(&Trace::open(dir.path()).unwrap())).unwrap();
    let (records, mut others): (Vec<_>, Vec<_>) = lines.lines().partition(|line| line.contains(r#""t":"record""#));
    let ends = others.iter().position(|line| line.contains(r#""t":"end""#)).unwrap();
    let ends = others.split_off(ends);
    let late = [records, others, ends].concat().join("\n") + "\n";
    let file = dir.path().join("late.jsonl");
    std::fs::write(&file, &late).unwrap();
    let (_, summary) = read(&Trace::open(&file).unwrap());
    assert_eq!(summary.problems, []);
    assert_eq!(String::from_utf8(export(&Trace::open(&file).unwrap())).unwrap(), lines);
    // Of a stream nobody knows what comes.
    assert!(from_lines(late.into_bytes()).is_err());
    let (first, rest) = lines.split_once('\n').unwrap();
    let (records, others): (Vec<_>, Vec<_>) = rest.lines().partition(|line| line.contains(r#""t":"record""#));
    let (_, summary) = read(&from_lines([&[first], &*records, &*others].concat().join("\n").into_bytes()).unwrap());
    assert!(summary.problems.iter().any(|problem| problem.what.contains("give them in a file")), "{:?}", summary.problems);
}

#[test]
fn record_lines_have_the_documented_keys() {
    let dir = tempfile::tempdir().unwrap();
    writer().write(dir.path());
    let lines = String::from_utf8(export(&Trace::open(dir.path()).unwrap())).unwrap();
    let records: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["t"] == "record")
        .collect();
    let expected = serde_json::json!({
        "t": "record", "log": "100-17979cfe362a0000", "n": 2, "time": "2023-11-14T22:13:20.000210000Z", "start": "1000525000",
        "duration": 5000, "ns": 2000, "pid": 100, "tid": 101, "thread": "main", "conn": 1, "file": 1, "path": "/data/app.db",
        "kind": "xLock", "lock": "RESERVED", "before": "SHARED", "after": "RESERVED", "shm_shared": [], "shm_exclusive": [],
        "file_kind": "database", "rc": 0, "result": "OK", "sql": records[2]["sql"], "text": "INSERT INTO t VALUES (1)",
    });
    assert_eq!(records[2], expected);
    assert_eq!((&records[8]["flags"][0], &records[3]["arg"]), (&"redundant".into(), &512.into()));
}

#[test]
fn bad_lines_of_an_export_are_said_by_number_and_the_rest_is_used() {
    let dir = tempfile::tempdir().unwrap();
    writer().write(dir.path());
    let text = String::from_utf8(export(&Trace::open(dir.path()).unwrap())).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let first = lines.iter().position(|line| line.contains("record")).unwrap();
    lines[first + 1] = lines[first + 1].replace("xLock", "xLick");
    lines[first + 3].truncate(40);
    lines.push("{\"t\":\"later\"}".into());
    let trace = from_lines(lines.join("\n").into_bytes()).unwrap();
    let (events, summary) = read(&trace);
    assert_eq!(events.len(), 8);
    assert_eq!(summary.tallies[0].missing, 2);
    let text: Vec<String> = summary.problems.iter().map(ToString::to_string).collect();
    assert!(text[0].starts_with(&format!("export: line {}: unknown \"kind\" \"xLick\"", first + 2)), "{text:?}");
    assert!(text[1].starts_with(&format!("export: line {}: expected a record", first + 4)), "{text:?}");

    // Cut short: the records that follow are missing, and said to be.
    let cut = lines[..first + 6].join("\n");
    let (_, summary) = read(&from_lines(cut.into_bytes()).unwrap());
    assert!(summary.problems.iter().any(|problem| problem.what.contains("cut short")), "{:?}", summary.problems);

    assert!(matches!(from_lines(b"hello\n".to_vec()), Err(error) if error.to_string().contains("no `log` line")));
    assert!(from_lines(Vec::new()).is_err());
}
