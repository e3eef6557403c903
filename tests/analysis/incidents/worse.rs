//! What made it worse: each contributing cause up to its threshold, and what only looks like it.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::judge::{START, WAL, alone, attempts, damaged, judged, wal};
use crate::common::{Process, anchor_at};

/// A writer that has WRITE for this statement from 110 on, and one that is refused once at this instant, for 2 µs; the first line that is found.
fn met(statement: &str, until: u64, does: &str) -> String {
    let taken = format!("100 c1 S READ1 -- {statement}\n110 c1 X WRITE -- {statement}\n");
    let refused =
        format!("{} c2 S READ1 -- INSERT b\n{until} c2 X WRITE=BUSY -- INSERT b\n{} c2 U READ1\n", until - 10, until + 10);
    let last = "99000 c2 S READ1 -- SELECT b\n99010 c2 U READ1\n";
    wal(&format!("{taken}{refused}{does}{last}")).remove(0)
}

fn contributing(statement: &str, until: u64, does: &str) -> String {
    let found = met(statement, until, does);
    let (_, rest) = found.split_once(" gave-up ").unwrap_or_else(|| panic!("{found}"));
    rest.split_once("<-").unwrap().0.trim().to_owned()
}

/// How a transaction ends.
const COMMIT: &str = "90000 c1 U WRITE\n90010 c1 U READ1 -- COMMIT\n";
/// How the statement does that began it.
const OVER: &str = "90000 c1 U WRITE\n90010 c1 U READ1 -- UPDATE a\n";
/// How it ends where nothing is told of a statement.
const SILENT: &str = "90000 c1 U WRITE\n90010 c1 U READ1\n";

#[test]
fn idle_is_who_does_nothing_for_most_of_a_transaction() {
    let idle = |until: u64, does: &str| contributing("UPDATE a", until, does) == "+idle-in-transaction";
    // For 5 ms.
    assert!(idle(5_108, COMMIT) && !idle(5_107, COMMIT));
    // For four fifths of the time.
    let sync = |us: u64| format!("200+{us} c1 sync wal\n{COMMIT}");
    assert!(idle(20_108, &sync(4_000)) && !idle(20_108, &sync(4_001)));
    // And twice as long as its pages can have taken.
    let wrote = |pages: u64| format!("80000 c1 wrote wal {}\n{COMMIT}", pages * 4_096);
    assert!(idle(20_108, &wrote(10)) && !idle(20_108, &wrote(11)));
    // One statement is no transaction; where it is not told which one ended it, neither.
    assert!(!idle(20_108, OVER) && !idle(20_108, SILENT));
    // But BEGIN begins one, whatever ended it; and COMMIT ends one, whatever began it.
    assert_eq!(contributing("BEGIN IMMEDIATE", 20_108, SILENT), "+idle-in-transaction");
    let unknown = |ends: &str| {
        let taken = "100 c1 S READ1\n110 c1 X WRITE\n";
        wal(&format!("{taken}{}{ends}99000 c2 S READ1 -- SELECT b\n99010 c2 U READ1\n", attempts(20_100, "c2", &START, &[])))
    };
    assert_eq!(unknown(COMMIT), ["no-busy-timeout gave-up +idle-in-transaction <- ? (idle-in-transaction)"]);
    assert_eq!(unknown(OVER), ["no-busy-timeout gave-up <- ? (running)"]);
    // A text that is not known is another one all the same.
    let mut process = Process::new(7);
    process.run(&format!(
        "{WAL}100 c1 S READ1 -- UPDATE a\n110 c1 X WRITE -- UPDATE a\n{}{COMMIT}",
        attempts(20_100, "c2", &START, &[1_000])
    ));
    process.names.retain(|line| !line.contains("COMMIT"));
    assert_eq!(judged(&[&process]), ["hold-exceeds-timeout gave-up +idle-in-transaction <- UPDATE a (idle-in-transaction)"]);
    // Another statement took a lock meanwhile.
    let other = format!("30000 c1 X READ2 -- UPDATE z\n30010 c1 U READ2\n{SILENT}");
    assert!(idle(20_108, &other) && !idle(20_108, &other.replace("UPDATE z", "UPDATE a")));
}

#[test]
fn idle_is_nobody_of_whom_a_record_is_missing() {
    let mut process = Process::new(7);
    let tries = attempts(20_000, "c2", &START, &[1_000]);
    process.run(&format!("{WAL}100 c1 S READ1 -- UPDATE a\n110 c1 X WRITE -- UPDATE a\n150 c1 wrote wal 4120\n{tries}{COMMIT}"));
    assert_eq!(judged(&[&process]), ["hold-exceeds-timeout gave-up +idle-in-transaction <- UPDATE a (idle-in-transaction)"]);
    assert_eq!(damaged(&process, &[10]), ["hold-exceeds-timeout gave-up <- UPDATE a (running)"]);
}

#[test]
fn idle_is_a_writer() {
    let begun = "10 c1 SHARED -- BEGIN IMMEDIATE\n20 c1 RESERVED -- BEGIN IMMEDIATE\n";
    let tries = attempts(10_000, "c2", &["SHARED -- INSERT b", "RESERVED=BUSY -- INSERT b", "U(NONE)"], &[1_000]);
    let found = alone(&format!("{begun}{tries}90000 c1 U(NONE) -- COMMIT\n"));
    assert_eq!(found, ["hold-exceeds-timeout gave-up +idle-in-transaction <- BEGIN IMMEDIATE (idle-in-transaction)"]);
    // A reader is in the way as long as it reads: that is no habit of writers.
    let tries = attempts(10_000, "c2", &["EXCLUSIVE=PENDING -- UPDATE b"], &[1_000]);
    let writes = "30 c2 SHARED -- UPDATE b\n40 c2 RESERVED -- UPDATE b\n";
    let found = alone(&format!("10 c1 SHARED -- SELECT a\n{writes}{tries}20000 c2 U(NONE)\n90000 c1 U(NONE) -- COMMIT\n"));
    assert_eq!(found, ["reader-blocks-commit gave-up +rollback-journal <- SELECT a (idle-in-transaction)"]);
    let reader = "50 c1 S READ1 -- SELECT a\n";
    let tries = attempts(10_220, "c2", &["X READ1=BUSY -- PRAGMA wal_checkpoint(FULL)"], &[1_000, 2_000]);
    let full = format!(
        "{reader}10200 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n10210 c2 X WRITE -- PRAGMA wal_checkpoint(FULL)\n{tries}19000 c2 U WRITE\n19010 c2 U CKPT\n90000 c1 U READ1 -- COMMIT\n"
    );
    assert_eq!(wal(&full), ["checkpoint-convoy gave-up <- SELECT a (idle-in-transaction)"]);
    // A checkpoint, in whose time a statement was prepared.
    let other = "100 c1 X CKPT -- PRAGMA wal_checkpoint\n20000 c2 X CKPT=BUSY -- PRAGMA wal_checkpoint\n30000 c1 U CKPT -- COMMIT\n40000 c2 S READ1 -- SELECT b\n40010 c2 U READ1\n";
    assert_eq!(wal(other), ["checkpoint-contended gave-up <- PRAGMA wal_checkpoint (checkpointing)"]);
}

#[test]
fn who_waits_is_neither_idle_nor_slow() {
    // c2 waits for the reader c1 to commit, for a long time; c3 is refused because of that.
    let story = |begins: &str, ends: &str| {
        let tries = attempts(100, "c2", &[&format!("EXCLUSIVE=PENDING -- {ends}")], &[9_000, 9_000]);
        let late = attempts(12_000, "c3", &["SHARED=BUSY -- SELECT c"], &[1_000]) + "14000 c3 U(NONE)\n";
        let mut found = alone(&format!(
            "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- {begins}\n30 c2 RESERVED -- {begins}\n{tries}{late}30000 c2 U(SHARED) -- {ends}\n30010 c2 U(NONE)\n90000 c1 U(NONE)\n"
        ));
        found.retain(|line| line.starts_with("commit-blocks-reader"));
        found
    };
    let expected = |sql: &str| [format!("commit-blocks-reader gave-up +rollback-journal <- {sql} (waiting)")];
    assert_eq!(story("BEGIN IMMEDIATE", "COMMIT"), expected("BEGIN IMMEDIATE"));
    assert_eq!(story("UPDATE b", "UPDATE b"), expected("UPDATE b"));
}

#[test]
fn a_statement_is_slow_that_fills_the_hold() {
    let slow = |until: u64, does: &str| contributing("UPDATE a", until, does) == "+slow-statement";
    assert!(slow(5_108, OVER) && !slow(5_107, OVER), "for 5 ms");
    assert!(!slow(20_108, COMMIT), "another one ended it");
    assert_eq!(contributing("PRAGMA user_version = 1", 20_108, &OVER.replace("UPDATE a", "PRAGMA user_version = 1")), "");
    // Half of it was a checkpoint's.
    let copies = |until: u64| format!("1000 c1 ckpt start\n{until} c1 ckpt done\n{OVER}");
    assert!(slow(20_108, &copies(11_001)) && !slow(20_108, &copies(11_002)));
    let copying = |until: u64| met("UPDATE a", 20_108, &copies(until)).ends_with("(checkpointing)");
    assert!(copying(11_002) && !copying(11_001));
    // Nobody was asked when it ended: the statement that was seen last, late enough, fills the hold, too.
    let seen = |at: u64, sql: &str| format!("{at} c1 X READ2 -- {sql}\n{} c1 U READ2\n{SILENT}", at + 1);
    assert!(slow(20_108, &seen(81_011, "UPDATE a")) && !slow(20_108, &seen(81_010, "UPDATE a")), "nine tenths of 89890");
    assert_eq!(contributing("UPDATE a", 20_108, &seen(81_011, "UPDATE z")), "+idle-in-transaction");
    // Another one ended it, but it was at work until then (it spilled its pages): it did not fill the hold for sure, and nobody was idle.
    let spilled = |at: u64, sql: &str| seen(at, sql).replace(SILENT, COMMIT);
    assert_eq!(contributing("UPDATE a", 20_108, &spilled(81_011, "UPDATE a")), "");
    assert_eq!(contributing("UPDATE a", 20_108, &spilled(81_011, "UPDATE z")), "+idle-in-transaction");
}

#[test]
fn a_sync_is_slow_that_fills_half_the_hold() {
    let slow = |until: u64, us: u64| contributing("UPDATE a", until, &format!("200+{us} c1 sync wal\n{OVER}")) == "+slow-sync";
    assert!(slow(5_108, 2_500) && !slow(5_108, 2_499), "half of 5 ms");
    assert!(!slow(5_107, 4_000), "less than 5 ms");
    // What of it came before the victim gave up.
    assert!(
        slow(10_108, 80_000) && !contributing("UPDATE a", 10_108, &format!("10110+80000 c1 sync wal\n{OVER}")).contains("sync")
    );
    assert_eq!(
        contributing("UPDATE a", 10_108, &format!("5109+80000 c1 sync wal\n{OVER}")),
        "+slow-sync +slow-statement".split(' ').next().unwrap()
    );
}

#[test]
fn a_statement_is_left_unfinished_that_nobody_steps() {
    let rows = "INSERT INTO a RETURNING id";
    let ends = OVER.replace("UPDATE a", rows);
    assert_eq!(contributing(rows, 20_108, &ends), "", "it may give its rows slowly");
    // Its thread is at work on another connection of its process.
    let elsewhere = |tid: u32| format!("5000 c3@{tid} S READ1 -- SELECT c\n5010 c3@{tid} U READ1\n{ends}");
    assert_eq!(contributing(rows, 20_108, &elsewhere(101)), "+unfinished-statement");
    assert_eq!(contributing(rows, 20_108, &elsewhere(103)), "");
    // The trace ends with both: the one that was refused by its own thread's other statement.
    let open = |tid: u32| {
        let mut process = Process::new(7);
        let refused =
            format!("95000 c2@{tid} S READ1 -- INSERT b\n95010 c2@{tid} X WRITE=BUSY -- INSERT b\n95020 c2@{tid} U READ1\n");
        let taken = format!("100 c1 S READ1 -- {rows}\n110 c1 X WRITE -- {rows}\n90000 c1 X READ2 -- {rows}\n90010 c1 U READ2\n");
        process.run(&format!("{WAL}{taken}{refused}"));
        process.header.last = Some(anchor_at(96_000));
        judged(&[&process]).remove(0)
    };
    assert!(open(101).contains("+unfinished-statement"), "{}", open(101));
    assert!(!open(103).contains("+unfinished-statement"), "{}", open(103));
    // Another statement of its connection took a lock.
    let other = |sql: &str| format!("30000 c1 X READ2 -- {sql}\n30010 c1 U READ2\n{ends}");
    assert_eq!(contributing(rows, 20_108, &other("UPDATE z")), "+unfinished-statement");
    assert_eq!(contributing(rows, 20_108, &other(rows)), "");
    // One step ends a statement without rows: it was slow, wherever its thread was.
    let step = elsewhere(101).replace(rows, "UPDATE a");
    assert_eq!(contributing("UPDATE a", 20_108, &step), "+slow-statement");
    // Nobody was asked when it ended: the last one seen counts in a hold of 5 ms, and tells nothing in a shorter one.
    let short = |until: u64| {
        let holds = format!("10 c1 SHARED -- SELECT a\n{} c1 check -- SELECT a\n{until} c1 U(NONE)\n", until - 20);
        let tries = attempts(100, "c2@101", &["EXCLUSIVE=PENDING -- UPDATE b"], &[1_000]);
        let writes = "30 c2@101 SHARED -- UPDATE b\n40 c2@101 RESERVED -- UPDATE b\n";
        alone(&format!("{writes}{tries}{holds}4000 c2@101 U(NONE)\n")).remove(0)
    };
    let unfinished =
        "reader-blocks-commit gave-up +unfinished-statement +rollback-journal +same-thread-holder <- SELECT a (running)";
    assert_eq!(short(5_010), unfinished);
    assert_eq!(short(5_009), unfinished.replace("+unfinished-statement ", ""));
}

#[test]
fn the_mode_of_the_journal_is_to_blame_where_it_is_one() {
    let blocked = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n";
    let tries = attempts(200, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000]) + "44000 c9 U(NONE)\n";
    let found = |before: &str| alone(&format!("{before}{blocked}{tries}9000 c1 U(SHARED) -- UPDATE a\n9010 c1 U(NONE)\n"));
    assert_eq!(found(""), ["commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"]);
    // It was in WAL mode before.
    let was = "1 c5 open\n2 c5 SHARED\n3 c5 open wal\n4 c5 map\n5 c5 unmap 1\n6 c5 close wal\n7 c5 U(NONE)\n8 c5 close\n";
    assert_eq!(found(was), ["commit-blocks-reader gave-up <- UPDATE a (running)"]);
}

#[test]
fn its_own_thread_is_in_the_way() {
    // To leave WAL mode, everybody else has to close the database: that is nobody's transaction.
    let leaves = wal(
        "90 c1@102 S READ1 -- SELECT a\n95 c1@102 U READ1\n100 c2@102 EXCLUSIVE=BUSY\n110 c2@102 U(SHARED)\n5000 c2@102 S READ1 -- SELECT b\n5010 c2@102 U READ1\n",
    );
    assert_eq!(leaves, ["journal-mode-switch gave-up <- ? (running)"]);
    // With a rollback journal it is.
    let tries = attempts(100, "c2@101", &["EXCLUSIVE=PENDING -- UPDATE b"], &[1_000]);
    let writes = "30 c2@101 SHARED -- UPDATE b\n40 c2@101 RESERVED -- UPDATE b\n";
    let found = alone(&format!("10 c1@101 SHARED\n{writes}{tries}4000 c2@101 U(NONE)\n9000 c1@101 U(NONE)\n"));
    assert_eq!(found, ["reader-blocks-commit gave-up +rollback-journal +same-thread-holder <- ? (running)"]);
}

#[test]
fn a_checkpoint_that_nobody_asked_for() {
    let story = |sql: &str| {
        wal(&format!(
            "100 c1 X CKPT{sql}\n110 c1 ckpt start\n200 c2 X CKPT=BUSY -- PRAGMA wal_checkpoint\n300 c1 ckpt done\n310 c1 U CKPT\n400 c2 S READ1 -- SELECT b\n410 c2 U READ1\n"
        ))
    };
    assert_eq!(story(""), ["checkpoint-contended gave-up +checkpoint-in-commit <- ? (checkpointing)"]);
    let asked = story(" -- PRAGMA wal_checkpoint");
    assert_eq!(asked, ["checkpoint-contended gave-up <- PRAGMA wal_checkpoint (checkpointing)"]);
}

#[test]
fn a_convoy_is_two_other_writers() {
    let turn = |conn: &str, at: u64, until: u64| {
        format!(
            "{at} {conn} S READ1 -- INSERT {conn}\n{} {conn} X WRITE -- INSERT {conn}\n{until} {conn} U WRITE\n{} {conn} U READ1\n",
            at + 5,
            until + 5
        )
    };
    let own = "9000 c2 S READ1 -- INSERT b\n9010 c2 X WRITE -- INSERT b\n9100 c2 U WRITE\n9110 c2 U READ1\n";
    let tries = attempts(200, "c2", &START, &[1_000, 2_000]) + "3300+5600 c2 sleep 5000\n";
    let found = |turns: &str| wal(&format!("{}{turns}{tries}{own}", turn("c1", 100, 250))).remove(0);
    let one = turn("c3", 260, 8_000);
    let two = turn("c3", 260, 1_500) + &turn("c1", 1_520, 8_000);
    assert_eq!(found(&one), "hold-exceeds-timeout succeeded-after-wait <- INSERT c3 (running)", "its own turn is none of them");
    assert_eq!(found(&two), "hold-exceeds-timeout succeeded-after-wait +writer-convoy <- INSERT c1 (running)");
    // A reader does not queue with them.
    let write = |conn: &str, at: u64| {
        format!(
            "{at} {conn} SHARED -- UPDATE {conn}\n{} {conn} RESERVED -- UPDATE {conn}\n{} {conn} EXCLUSIVE -- UPDATE {conn}\n{} {conn} U(NONE)\n",
            at + 5,
            at + 10,
            at + 900
        )
    };
    let reads = attempts(200, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 1_000]) + "2900 c9 U(NONE)\n";
    let found = alone(&format!("{}{}{}{reads}", write("c1", 100), write("c3", 1_100), write("c1", 2_100)));
    assert_eq!(found, ["commit-blocks-reader gave-up +rollback-journal <- UPDATE c1 (running)"]);
}
