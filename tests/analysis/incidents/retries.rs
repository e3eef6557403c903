//! Which attempts belong together: what SQLite does while it waits, and what is the application's next try.
#![allow(clippy::unwrap_used)]

use super::judge::{START, WAL, alone, attempts, judged, wal, with_attempts};
use crate::common::Process;

const WRITER: &str = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
const DONE: &str = "3000000 c1 U WRITE\n3000010 c1 U READ1\n";
const NEXT: &str = "3500000 c2 S READ1 -- SELECT b\n3500010 c2 U READ1\n";

#[test]
fn a_second_later_it_is_the_application_that_tries_again() {
    let gave_up = "no-busy-timeout gave-up <- INSERT a (running)";
    let twice = attempts(200, "c2", &START, &[]) + &attempts(1_000_200, "c2", &START, &[]);
    assert_eq!(wal(&format!("{WRITER}{twice}{DONE}{NEXT}")), [gave_up; 2]);
    // With a rollback journal, too: what the first one read under, and got again, is no wait of the second one.
    let tries = ["SHARED -- UPDATE b", "RESERVED=BUSY -- UPDATE b", "U(NONE)"];
    let twice = attempts(200, "c2", &tries, &[]) + &attempts(1_000_200, "c2", &tries, &[]);
    let holder = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n3000000 c1 U(NONE)\n";
    let next = "3500000 c2 SHARED -- SELECT\n3500010 c2 U(NONE)\n";
    assert_eq!(alone(&format!("5 c2 open\n{holder}{twice}{next}")), ["no-busy-timeout gave-up <- UPDATE a (running)"; 2]);
    // A sleep of SQLite's in between is its busy handler's, however long the machine took to end it.
    let slept = format!("{}230+900000 c2 sleep 1000\n{}", attempts(200, "c2", &START, &[]), attempts(900_300, "c2", &START, &[]));
    let (found, counts) = with_attempts(&format!("{WAL}{WRITER}{slept}{DONE}{NEXT}"));
    assert_eq!(found, ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
    assert_eq!(counts, [(2, 1)]);
    let granted = "3000100 c2 S READ1 -- INSERT b\n3000110 c2 X WRITE -- INSERT b\n3000120 c2 U WRITE\n3000130 c2 U READ1\n";
    let slept = attempts(200, "c2", &START, &[]) + "230+2999800 c2 sleep 1000\n";
    let found = wal(&format!("{WRITER}{slept}{DONE}{granted}{NEXT}"));
    assert_eq!(found, ["hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)"]);
}

#[test]
fn who_waits_to_play_a_journal_back_begins_anew_each_time() {
    // Both have found the journal hot; each one's SHARED refuses the other's EXCLUSIVE.
    let attempt = ["SHARED", "check", "EXCLUSIVE=BUSY", "U(NONE)"];
    let tries = attempts(100, "c2", &attempt, &[1_000]) + "1160+2000 c2 sleep 2000\n";
    let other = "50 c1 SHARED\n60 c1 check\n130 c1 EXCLUSIVE=BUSY\n1150 c1 U(NONE)\n";
    let played = "3200 c2 SHARED\n3210 c2 check\n3220 c2 EXCLUSIVE\n3230 c2 sync database\n3240 c2 delete journal\n3250 c2 U(SHARED)\n3260 c2 U(NONE)\n";
    let (found, counts) = with_attempts(&format!("{tries}{other}{played}"));
    let at = found.iter().position(|line| line.contains("succeeded")).unwrap();
    assert_eq!(found[at], "hot-journal succeeded-after-wait <- ? (running)");
    assert_eq!(counts[at], (2, 1), "two attempts, one connection");
}

#[test]
fn a_readers_slot_that_was_free_again_is_no_wait() {
    // It begins to read while the log is checkpointed and READ0 is taken for a moment; then a writer is in its way, and it has no timeout.
    let checkpoint = "200 c3 X CKPT\n210 c3 X READ0\n240 c3 U READ0\n250 c3 U CKPT\n";
    let tries = "220 c2 S READ0=BUSY -- INSERT b\n260 c2 S READ0 -- INSERT b\n270 c2 X WRITE=BUSY -- INSERT b\n280 c2 U READ0\n";
    let found = wal(&format!("{WRITER}{checkpoint}{tries}{DONE}{NEXT}"));
    assert_eq!(found, ["no-busy-timeout gave-up <- INSERT a (running)"]);
}

#[test]
fn what_the_kernel_said_of_one_wait_says_nothing_of_the_next() {
    let mut process = Process::new(7);
    let tries = attempts(200, "c2", &START, &[1_000]);
    let later = attempts(2_000_000, "c2", &START, &[1_000]).replace("INSERT b", "INSERT c");
    process.run(&format!("{WAL}{tries}{later}{NEXT}"));
    let refused = process.records.iter().find(|record| record.rc.is_busy()).unwrap().start;
    process.name(format!(
        r#"{{"t":"outside","conn":2,"start":"{refused:016x}","after":9,"readings":1,"holders":[{{"pid":4711,"how":"posix","mode":"write","locks":["WRITE"],"exact":true,"own":false,"comm":"sqlite3"}}]}}"#
    ));
    assert_eq!(judged(&[&process]), ["untraced-holder gave-up <- nobody", "unexplained gave-up <- nobody"]);
}

#[test]
fn a_writer_that_comes_again_is_no_convoy() {
    // The same connection writes all the time, in three transactions.
    let turn = |at: u64, until: u64| {
        format!("{at} c1 S READ1 -- INSERT a\n{} c1 X WRITE -- INSERT a\n{until} c1 U WRITE\n{} c1 U READ1\n", at + 5, until + 5)
    };
    let turns = turn(100, 250) + &turn(1_000, 1_450) + &turn(1_460, 8_000);
    let tries = attempts(200, "c2", &START, &[1_000, 2_000]);
    let found = wal(&format!("{turns}{tries}{NEXT}"));
    assert_eq!(found, ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
}

#[test]
fn a_holder_waits_only_while_it_waits() {
    // c1 waited for c3 before it got WRITE; c2 waits for c1, which waits for nobody by then.
    let first = "50 c3 S READ1 -- INSERT c\n60 c3 X WRITE -- INSERT c\n1400 c3 U WRITE\n1410 c3 U READ1\n";
    let waited = attempts(100, "c1", &["S READ1 -- INSERT a", "X WRITE=BUSY -- INSERT a", "U READ1"], &[1_000]);
    let waited = waited + "1170+400 c1 sleep 400\n";
    let holds = "1600 c1 S READ1 -- INSERT a\n1610 c1 X WRITE -- INSERT a\n20000 c1 U WRITE\n20010 c1 U READ1 -- INSERT a\n";
    let tries = attempts(2_000, "c2", &START, &[1_000]);
    let found = wal(&format!("{first}{waited}{holds}{tries}{NEXT}"));
    assert_eq!(
        found,
        ["hold-exceeds-timeout succeeded-after-wait <- INSERT c (running)", "hold-exceeds-timeout gave-up <- INSERT a (running)"]
    );
    // A reader that is refused an upgrade meanwhile, and goes on reading, did not wait; one whose own busy handler asks again does.
    let commits = attempts(100, "c2", &["EXCLUSIVE=PENDING -- COMMIT"], &[1_000, 2_000, 5_000]);
    let story = |upgrades: &str| {
        let found = alone(&format!(
            "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n{commits}{upgrades}50000 c1 U(NONE)\n50010 c2 U(NONE)\n"
        ));
        found.into_iter().find(|line| line.starts_with("reader-blocks-commit")).unwrap()
    };
    let once = "500 c1 RESERVED=BUSY -- UPDATE a\n";
    assert!(!story(once).contains("(waiting)"), "{}", story(once));
    let busy = "30 c2 RESERVED -- UPDATE b\n100 c2 EXCLUSIVE=PENDING -- UPDATE b\n1100 c2 EXCLUSIVE=PENDING -- UPDATE b\n30000 c2 U(NONE)\n";
    let late = attempts(500, "c3", &["SHARED=BUSY -- SELECT c"], &[1_000]) + "1600 c3 U(NONE)\n";
    let found = alone(&format!("10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n{busy}{late}50000 c1 U(NONE)\n"));
    assert!(found.contains(&"commit-blocks-reader gave-up +rollback-journal <- UPDATE b (waiting)".to_owned()), "{found:?}");
}

/// A driver keeps many statements, so that nobody knows which one began to read; which one gives the read lock back is seen after a refusal.
#[test]
fn who_gives_the_read_lock_back_tells_what_was_refused() {
    let held = "100 c1 S READ1 -- BEGIN IMMEDIATE\n110 c1 X WRITE -- BEGIN IMMEDIATE\n";
    let end = "90000 c1 U WRITE\n90010 c1 U READ1 -- COMMIT\n90020 c2 U(NONE)\n90030 c2 close";
    let tried =
        |at: u64, by: &str| format!("{at} c2 S READ1\n{} c2 X WRITE=BUSY -- INSERT b\n{} c2 U READ1{by}\n", at + 10, at + 20);
    for (tries, expected) in [
        // A later statement does: the transaction was open when it was refused, each time.
        (&[" -- ROLLBACK"][..], &["upgrade-refused"][..]),
        (&[" -- ROLLBACK", " -- ROLLBACK"], &["upgrade-refused", "upgrade-refused"]),
        // The refused one does: it had begun the transaction, and there was no timeout.
        (&[" -- INSERT b"], &["no-busy-timeout"]),
        (&[" -- INSERT b", " -- INSERT b"], &["hold-exceeds-timeout"]),
        // Nobody knows.
        (&[""], &["unexplained"]),
        (&["", ""], &["unexplained"]),
    ] {
        let tries: String = (0..).zip(tries).map(|(n, by)| tried(200 + n * 100, by)).collect();
        let found = wal(&format!("{held}{tries}{end}"));
        let causes: Vec<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(causes, expected, "{tries}\n{found:#?}");
    }
}
