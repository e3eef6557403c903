//! The journal mode changes, or the wal-index's header is half written: what that does to those who wait, or only have the database open.

use super::judge::{WAL, alone, judged, wal};
use crate::common::{Process, anchor_at};

/// A writer is refused RESERVED by one that brings the database into WAL mode.
const TO_WAL: &str = "10 c1 SHARED -- PRAGMA journal_mode=WAL\n20 c1 RESERVED -- PRAGMA journal_mode=WAL\n30 c2 open\n40 c2 SHARED -- UPDATE b\n50 c2 RESERVED=BUSY -- UPDATE b\n60 c2 U(NONE)\n80 c1 EXCLUSIVE -- PRAGMA journal_mode=WAL\n90 c1 sync database\n95 c1 delete journal\n100 c1 U(NONE)\n";

#[test]
fn who_waited_for_reserved_goes_on_in_wal_mode() {
    let goes_on = "1200 c2 SHARED -- UPDATE b\n1210 c2 open wal\n1220 c2 map\n1230 c2 S READ0 -- UPDATE b\n1240 c2 X WRITE -- UPDATE b\n1300 c2 U WRITE\n1310 c2 U READ0\n";
    let expected = ["hold-exceeds-timeout succeeded-after-wait <- PRAGMA journal_mode=WAL (running)"];
    assert_eq!(alone(&format!("{TO_WAL}70+1005 c2 sleep 1000\n{goes_on}")), expected);
    // Without a sleep that is seen, it was its own busy handler.
    assert_eq!(alone(&format!("{TO_WAL}{goes_on}")), expected);
    // Another statement finds it, or the same one much later: it did not wait.
    let gave_up = ["no-busy-timeout gave-up <- PRAGMA journal_mode=WAL (running)"];
    assert_eq!(alone(&format!("{TO_WAL}{}", goes_on.replace("UPDATE b", "UPDATE c"))), gave_up);
    let late = |text: &str| text.lines().map(|line| format!("99999{line}\n")).collect::<String>();
    assert_eq!(alone(&format!("{TO_WAL}{}", late(goes_on))), gave_up);
}

#[test]
fn a_change_of_mode_refused_at_once_is_an_error_whatever_follows() {
    let again = "5 c2 open\n10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c2 SHARED -- PRAGMA journal_mode=WAL\n40 c2 RESERVED=BUSY -- PRAGMA journal_mode=WAL\n50 c2 U(NONE)\n80 c1 U(NONE)\n90 c2 SHARED -- PRAGMA journal_mode=WAL\n95 c2 RESERVED -- PRAGMA journal_mode=WAL\n99 c2 EXCLUSIVE -- PRAGMA journal_mode=WAL\n200 c2 U(NONE)";
    assert_eq!(alone(again), ["journal-mode-switch gave-up <- UPDATE a (running)"]);
    // For EXCLUSIVE it waits, where it has RESERVED.
    let waits = "5 c2 open\n10 c1 SHARED -- SELECT a\n30 c2 SHARED -- PRAGMA journal_mode=WAL\n40 c2 RESERVED -- PRAGMA journal_mode=WAL\n50 c2 EXCLUSIVE=PENDING -- PRAGMA journal_mode=WAL\n60+1005 c2 sleep 1000\n80 c1 U(NONE)\n1200 c2 EXCLUSIVE -- PRAGMA journal_mode=WAL\n1300 c2 U(NONE)";
    assert_eq!(alone(waits), ["journal-mode-switch succeeded-after-wait <- SELECT a (running)"]);
}

#[test]
fn to_have_a_database_open_is_no_transaction() {
    // Its SHARED is that of WAL mode, whichever statement took it; another one ran since, and it makes no call.
    let opened = WAL.replace("2 c1 SHARED", "2 c1 SHARED -- BEGIN");
    let leaves = "60000 c2 EXCLUSIVE=BUSY\n60010 c2 U(SHARED)\n65000 c2 S READ1 -- SELECT b\n65010 c2 U READ1\n90000 c1 U(NONE)\n";
    let expected = ["journal-mode-switch gave-up <- BEGIN (running)"];
    assert_eq!(alone(&format!("{opened}10 c1 S READ0 -- SELECT a\n20 c1 U READ0\n{leaves}")), expected);
    // What it syncs has nothing to do with it.
    assert_eq!(alone(&format!("{opened}10+59000 c1 sync wal\n{leaves}")), expected);
    // One statement that has run all the time, or is not finished, neither.
    let rows = format!("{}{leaves}", WAL.replace("2 c1 SHARED", "2 c1 SHARED -- SELECT a"));
    let rows = rows.replace("90000 c1 U(NONE)", "90000 c1 U(NONE) -- SELECT a");
    assert_eq!(alone(&rows), ["journal-mode-switch gave-up <- SELECT a (running)"]);
    assert_eq!(alone(&rows.replace("SELECT a", "UPDATE a")), ["journal-mode-switch gave-up <- UPDATE a (running)"]);
}

/// It finds the header half written, this often.
fn retries(from: u64, times: u64) -> String {
    let retry =
        |at: u64| format!("{at} c2 X WRITE=BUSY -- SELECT b\n{} c2 S RECOVER -- SELECT b\n{} c2 U RECOVER\n", at + 3, at + 6);
    let sleep = |at: u64| format!("{} c2 sleep 1\n", at + 8);
    (0..times).map(|n| retry(from + n * 10) + &if n >= 4 { sleep(from + n * 10) } else { String::new() }).collect()
}

#[test]
fn how_a_retry_of_the_header_ended() {
    let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let told = |outcome: &str| vec![format!("wal-protocol-retry {outcome} <- INSERT a (running)")];
    // The trace ends in the midst of it: its sleeps are no busy handler's.
    let cut = |times, rest: &str| {
        let mut process = Process::new(7);
        process.header.last = Some(anchor_at(1_500));
        process.run(&format!("{WAL}{held}{}{rest}", retries(200, times)));
        judged(&[&process])
    };
    assert_eq!(cut(9, ""), told("open"));
    assert_eq!(cut(9, "640000 c1 sync wal\n"), told("open"));
    // Nobody sleeps that long; nobody tries more often than that.
    assert_eq!(cut(9, "660000 c1 sync wal\n"), told("gave-up"));
    assert_eq!(cut(99, ""), told("open"));
    assert_eq!(cut(100, ""), told("gave-up"));
    // It reads: for the same statement, or for another one, which is told nothing of the error.
    let reads = "2000 c1 U WRITE\n2010 c1 U READ1\n2100 c2 S READ1 -- SELECT b\n2110 c2 U READ1\n";
    assert_eq!(wal(&format!("{held}{}{reads}", retries(200, 100))), told("succeeded-after-wait"));
    assert_eq!(wal(&format!("{held}{}{}", retries(200, 100), reads.replace("SELECT b", "SELECT c"))), told("gave-up"));
}

#[test]
fn who_waits_to_write_makes_the_index_anew_and_waits_on() {
    // The other one has died in the midst of its commit.
    let waits = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n200 c2 S READ1 -- INSERT b\n210 c2 X WRITE=BUSY -- INSERT b\n220 c2 U READ1\n230+1005 c2 sleep 1000\n500 c1 U WRITE\n510 c1 U READ1\n";
    let recovers = "1300 c2 X WRITE -- INSERT b\n1310 c2 X CKPT..RECOVER -- INSERT b\n1320 c2 X READ1 -- INSERT b\n1330 c2 U READ1\n1340 c2 U CKPT..RECOVER\n1350 c2 U WRITE\n";
    let writes = "1400 c2 S READ1 -- INSERT b\n1410 c2 X WRITE -- INSERT b\n1500 c2 U WRITE\n1510 c2 U READ1\n";
    let expected = ["hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)"];
    assert_eq!(wal(&format!("{waits}{recovers}{writes}")), expected);
}

#[test]
fn what_a_statement_waited_for_to_open_the_database_counts_for_its_first_read() {
    let held = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n10 c1 EXCLUSIVE\n900 c1 U(SHARED)\n950 c1 S READ1 -- INSERT a\n960 c1 X WRITE -- INSERT a\n9000 c1 U WRITE\n9010 c1 U READ1\n";
    let opens = "5 c2 open\n100 c2 SHARED=BUSY -- INSERT b\n110+1005 c2 sleep 1000\n1200 c2 SHARED -- INSERT b\n1210 c2 open wal\n1220 c2 map\n";
    let refused = "1300 c2 S READ1 -- INSERT b\n1310 c2 X WRITE=BUSY -- INSERT b\n1320 c2 U READ1\n1400 c2 S READ1 -- SELECT c\n1410 c2 U READ1\n";
    let found = alone(&format!("{held}{opens}{refused}"));
    assert_eq!(found[1..], ["hold-exceeds-timeout gave-up <- INSERT a (running)"], "{found:?}");
    // Another statement did not wait.
    let found = alone(&format!("{held}{opens}{}", refused.replace("INSERT b", "UPDATE b")));
    assert_eq!(found[1..], ["no-busy-timeout gave-up <- INSERT a (running)"], "{found:?}");
}

#[test]
fn a_reader_that_stays_while_the_index_is_made_anew_is_in_nobodys_way() {
    let recovers = "200 c2 X WRITE -- SELECT b\n210 c2 X CKPT..RECOVER -- SELECT b\n220 c2 X READ1=BUSY -- SELECT b\n230 c2 X READ2 -- SELECT b\n240 c2 U READ2\n250 c2 U CKPT..RECOVER\n260 c2 U WRITE\n270 c2 S READ2 -- SELECT b\n280 c2 U READ2\n";
    assert!(wal(&format!("100 c1 S READ1 -- SELECT a\n{recovers}900 c1 U READ1")).is_empty());
}

#[test]
fn of_two_holds_of_one_connection_in_one_attempt_nothing_is_concluded_from_the_later_one() {
    let commits = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40 c1 sync database\n50 c1 delete journal\n";
    let gone = "110 c1 U(SHARED)\n112 c1 U(NONE)\n";
    let switches = "120 c1 SHARED -- PRAGMA journal_mode=WAL\n122 c1 RESERVED -- PRAGMA journal_mode=WAL\n124 c1 EXCLUSIVE -- PRAGMA journal_mode=WAL\n5000 c1 U(SHARED)\n5010 c1 U(NONE)\n";
    let reads = "100+50 c2 SHARED=BUSY -- SELECT v\n200 c2 U(NONE)\n";
    let both = alone(&format!("5 c2 open\n{commits}{reads}{gone}{switches}"));
    assert_eq!(both, ["unexplained gave-up <- PRAGMA journal_mode=WAL (running)"], "the commit may have refused it");
    // Either alone is the only one that can have.
    let first = alone(&format!("5 c2 open\n{commits}{reads}{gone}"));
    assert_eq!(first, ["commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"]);
    let second = alone(&format!("5 c2 open\n{reads}{switches}"));
    assert_eq!(second, ["journal-mode-switch gave-up <- PRAGMA journal_mode=WAL (running)"]);
    // From PENDING to EXCLUSIVE it stays there.
    let waits = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n101 c1 EXCLUSIVE=PENDING -- UPDATE a\n104 c1 EXCLUSIVE -- UPDATE a\n110 c1 sync database\n115 c1 delete journal\n5000 c1 U(SHARED)\n5010 c1 U(NONE)\n";
    let stays = alone(&format!("5 c2 open\n{reads}{waits}"));
    assert_eq!(
        stays.first().map(String::as_str),
        Some("commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"),
        "{stays:?}"
    );
}
