//! A program that writes more than is read: what is shown is the latest state, and how much was not seen.

use crate::common::{Process, within};
use locktrace::format::header::word;
use sqlite_locktrace::cli::top::live::Live;
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
    let mut live = Live::new(dir.path());
    live.poll().unwrap();
    assert_eq!((live.snapshot().lost, live.trace().logs().len()), (0, 1));
    // While nobody looked: one that takes its lock and keeps it, many turns of another, and the last one keeps what it takes, too.
    process.run("300 c2 SHARED -- idle\n400 c1 U(NONE)\n410 c1 SHARED -- hot\n420 c1 U(NONE)\n430 c3 SHARED -- last\n440 c3 RESERVED -- last");
    let [idle, given, hot, not, shared, last] = process.records[2..] else { panic!("six calls") };
    let turns = [hot, not].into_iter().cycle().take(MANY as usize);
    let records = [idle, given].into_iter().chain(turns).chain([shared, last]);
    let bytes: Vec<u8> = (2..).zip(records).flat_map(|(number, record)| record.encode(number)).collect();
    std::fs::write(dir.path().join(format!("{}.names", process.id)), process.names()).unwrap();
    let file = File::options().write(true).open(dir.path().join(format!("{}.ring", process.id))).unwrap();
    file.write_all_at(&bytes, 4096 + 2 * 64).unwrap();
    let head = MANY + 6;
    file.write_all_at(&head.to_le_bytes(), word::HEAD as u64 * 8).unwrap();

    let unseen = head - 2 - (1 << 18);
    let all = within(60, || {
        live.poll().unwrap();
        live.snapshot().lost == unseen
    });
    let snapshot = live.snapshot();
    assert!(all, "{} of {unseen}", snapshot.lost);
    let row = |conn: u32| snapshot.rows.iter().find(|row| row.who.conn == conn);
    let newest = row(3).unwrap();
    assert_eq!((newest.held.len(), newest.doubted), (2, false), "{newest:?}");
    assert!(row(1).is_none(), "it gave up its lock last");
    assert!(row(2).is_none(), "it holds one, but that was not seen");
}
