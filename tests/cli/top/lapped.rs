//! A program that writes faster than `top` reads: it shows the latest state, and how much it skipped.

use crate::common::{Process, within};
use shim::format::header::word;
use shim::format::record::Record;
use sqlite_locktrace::analysis::current::Snapshot;
use sqlite_locktrace::cli::top::view::live::LiveTrace;
use std::fs::File;
use std::os::unix::fs::FileExt;

#[test]
fn the_latest_state_and_how_much_was_not_seen() {
    const MANY: u64 = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    process.header.capacity = (MANY + 8).next_power_of_two();
    process.run("100 c1 open\n200 c1 SHARED -- a");
    process.write(dir.path());
    let ring = File::options().write(true).open(dir.path().join(format!("{}.ring", process.id))).unwrap();
    let append = |from: u64, records: &mut dyn Iterator<Item = Record>| {
        let bytes: Vec<u8> = (from..).zip(records).flat_map(|(number, record)| record.encode(number)).collect();
        ring.write_all_at(&bytes, 4096 + from * 64).unwrap();
        let head = from + bytes.len() as u64 / 64;
        ring.write_all_at(&head.to_le_bytes(), word::HEAD as u64 * 8).unwrap();
        head
    };
    let mut live = LiveTrace::new(dir.path());
    let mut until = |is: &dyn Fn(&Snapshot) -> bool| {
        let came = within(60, || {
            live.poll().unwrap();
            is(&live.snapshot())
        });
        assert!(came, "{:#?}", live.snapshot());
        live.snapshot()
    };
    assert_eq!(until(&|_| true).lost, 0);
    let row = |snapshot: &Snapshot, conn: u32| snapshot.rows.iter().find(|row| row.who.conn == conn).cloned();

    process.run("250 c4 SHARED -- early");
    let head = append(2, &mut process.records[2..].iter().copied());
    assert!(!row(&until(&|snapshot| row(snapshot, 4).is_some()), 4).unwrap().doubted);

    // While nobody looks: one that takes its lock and keeps it, many turns of another, and the last one keeps what it takes, too.
    process.run("300 c2 SHARED -- idle\n400 c1 U(NONE)\n410 c1 SHARED -- hot\n420 c1 U(NONE)\n430 c3 SHARED -- last\n440 c3 RESERVED -- last");
    let [idle, given, hot, not, shared, last] = process.records[3..] else { panic!("six calls") };
    let turns = [hot, not].into_iter().cycle().take(MANY as usize);
    let latest = append(head, &mut [idle, given].into_iter().chain(turns).chain([shared, last]));
    let unseen = latest - head - (1 << 18);
    let snapshot = until(&|snapshot| snapshot.lost == unseen);
    let newest = row(&snapshot, 3).unwrap();
    assert_eq!((newest.held.len(), newest.doubted), (2, false), "{newest:?}");
    assert!(row(&snapshot, 1).is_none(), "it gave up its lock last");
    assert!(row(&snapshot, 2).is_none(), "it holds one, but that was not seen");
    assert!(row(&snapshot, 4).unwrap().doubted, "it may have given up its lock");
}
