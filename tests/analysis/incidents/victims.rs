//! What the victim asked for, held and kept: what proves a cause, and what only looks like it.
#![allow(clippy::unwrap_used)]

use super::judge::{START, WAL, alone, attempts, damaged, judged, wal, without};
use crate::common::Process;

const WRITER: &str = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
const DONE: &str = "90000 c1 U WRITE\n90010 c1 U READ1 -- INSERT a\n";
const NEXT: &str = "95000 c2 S READ1 -- SELECT b\n95010 c2 U READ1\n";

#[test]
fn a_change_of_journal_mode_by_its_text() {
    // It wants to read the database, like everybody.
    let commit = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n9000 c1 U(SHARED) -- UPDATE a\n9010 c1 U(NONE)\n";
    let reads = attempts(200, "c2", &["SHARED=BUSY -- PRAGMA journal_mode"], &[1_000]) + "1300 c2 U(NONE)\n";
    assert_eq!(alone(&format!("{commit}{reads}")), ["commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"]);
    // Who waits for one as a writer waits for a writer.
    let switches = "10 c1 SHARED -- PRAGMA journal_mode=WAL\n20 c1 RESERVED -- PRAGMA journal_mode=WAL\n60000 c1 U(NONE)\n";
    let waits = attempts(200, "c2", &["SHARED -- UPDATE b", "RESERVED=BUSY -- UPDATE b", "U(NONE)"], &[1_000]);
    let found = alone(&format!("{switches}{waits}"));
    assert_eq!(found, ["hold-exceeds-timeout gave-up <- PRAGMA journal_mode=WAL (running)"]);
}

#[test]
fn exclusive_from_shared_in_wal_mode() {
    let reader = "50 c1 S READ1 -- SELECT a\n90000 c1 U READ1\n";
    // Under a reader's slot: to stay in exclusive mode.
    let enters = "100 c2 S READ1 -- INSERT b\n110 c2 EXCLUSIVE=BUSY\n120 c2 U READ1\n";
    assert_eq!(wal(&format!("{reader}{enters}")), ["exclusive-mode gave-up <- ? (running)"]);
    // PENDING may stay from an earlier attempt; who closes then is no writer that wants to commit.
    let pending = enters
        .replace("EXCLUSIVE=BUSY", "EXCLUSIVE=PENDING")
        .replace("120 c2 U READ1", "115 c2 U READ1\n120 c2 X CKPT\n125 c2 U CKPT");
    let again = "200 c2 S READ1 -- INSERT c\n210 c2 EXCLUSIVE=PENDING -- INSERT c\n220 c2 U READ1\n";
    let closes = "300 c2 X CKPT\n310 c2 U CKPT\n400 c2 EXCLUSIVE=PENDING\n410 c2 unmap 0\n420 c2 U(NONE)\n430 c2 close\n";
    let expected = "exclusive-mode gave-up <- ? (running)";
    assert_eq!(wal(&format!("{reader}{pending}{again}{closes}")), [expected; 2]);
    // Nothing else of it is in the trace: who unmaps a wal-index is in WAL mode.
    let last = "1 c1 SHARED -- SELECT a\n2 c2 SHARED\n4 c2 EXCLUSIVE=PENDING\n400 c2 EXCLUSIVE=PENDING\n410 c2 unmap 0\n420 c2 U(NONE)\n430 c2 close\n90000 c1 U(NONE)\n";
    let found = without(last, &[1, 2]);
    assert!(found.iter().all(|line| !line.starts_with("reader-blocks-commit")), "{found:?}");
    // With another slot, nobody does that.
    let other = "100 c2 X CKPT\n110 c2 EXCLUSIVE=BUSY\n120 c2 U CKPT\n";
    assert_eq!(wal(&format!("{reader}{other}")), ["unexplained gave-up <- ? (running)"]);
    // What it did next is not known: it may have closed.
    let closes = format!("{WAL}{reader}100 c2 EXCLUSIVE=BUSY\n110 c2 unmap 0\n120 c2 close wal\n130 c2 U(NONE)\n140 c2 close\n");
    assert!(without(&closes, &[]).is_empty());
    assert_eq!(without(&closes, &[11, 12]), ["unexplained gave-up <- ? (running)"]);
    let ends = "100 c2 check\n110 c2 EXCLUSIVE=BUSY\n";
    assert_eq!(wal(&format!("{reader}{ends}")), ["unexplained gave-up <- ? (running)"]);
}

#[test]
fn a_victim_that_looked_at_a_journal() {
    let reader = "5 c1 SHARED -- SELECT a\n";
    // It wants to play it back, and others read; or do the same.
    let plays = "10 c2 SHARED\n20 c2 check\n30 c2 EXCLUSIVE=BUSY\n40 c2 U(NONE)\n";
    assert_eq!(alone(&format!("{reader}{plays}90000 c1 U(NONE)\n")), ["hot-journal gave-up <- SELECT a (running)"]);
    // Somebody else has played it back while it slept: it reads, and nobody sees an error.
    let slept = "45+1000 c2 sleep 1000\n1100 c2 SHARED -- UPDATE b\n";
    let goes_on = |how: &str, then: &str| alone(&format!("{reader}{plays}{how}{then}90000 c1 U(NONE)\n"));
    let (done, gave_up) = ("hot-journal succeeded-after-wait <- SELECT a (running)", "hot-journal gave-up <- SELECT a (running)");
    assert_eq!(goes_on(slept, "1110 c2 U(NONE)\n"), [done]);
    assert_eq!(goes_on(slept, "1110 c2 check\n1115 c2 RESERVED -- UPDATE b\n1120 c2 U(NONE)\n"), [done]);
    assert_eq!(goes_on(&slept.replace("45+1000 c2 sleep 1000\n", ""), "1110 c2 U(NONE)\n"), [gave_up], "the next statement's");
    // Its own busy handler calls no xSleep: what it is refused then, it has waited for, too.
    let anew = "5 c2 open\n10 c2 SHARED -- UPDATE b\n20 c2 check\n30 c2 EXCLUSIVE=BUSY\n40 c2 U(NONE)\n1100 c2 SHARED -- UPDATE b\n1110 c2 RESERVED=BUSY -- UPDATE b\n1120 c2 U(NONE)\n95000 c2 SHARED -- SELECT\n95010 c2 U(NONE)\n";
    let found = alone(&format!("4 c1 SHARED -- SELECT a\n1000 c1 RESERVED -- UPDATE a\n{anew}90000 c1 U(NONE)\n"));
    assert_eq!(found, ["hot-journal gave-up <- SELECT a (running)", "hold-exceeds-timeout gave-up <- UPDATE a (running)"]);
    // It was cold (`journal_mode=PERSIST` leaves one): the statement goes on as any other.
    let writes = "4 c2 open\n10 c2 SHARED -- UPDATE b\n20 c2 check\n";
    let holder = "6 c1 RESERVED -- UPDATE a\n";
    let refused = "30 c2 RESERVED=BUSY -- UPDATE b\n40 c2 U(NONE)\n95000 c2 SHARED -- SELECT\n95010 c2 U(NONE)\n";
    let found = alone(&format!("{reader}{holder}{writes}{refused}90000 c1 U(NONE)\n"));
    assert_eq!(found, ["no-busy-timeout gave-up <- UPDATE a (running)"]);
    let tries = attempts(30, "c2", &["EXCLUSIVE=PENDING -- UPDATE b"], &[1_000]);
    let found =
        alone(&format!("{reader}{}25 c2 RESERVED -- UPDATE b\n27 c2 check\n{tries}2000 c2 U(NONE)\n90000 c1 U(NONE)\n", writes));
    assert_eq!(found, ["reader-blocks-commit gave-up +rollback-journal <- SELECT a (running)"]);
}

#[test]
fn a_commit_that_nobody_in_the_trace_is_in_the_way_of() {
    let tries = attempts(30, "c2", &["EXCLUSIVE=PENDING -- UPDATE b"], &[1_000]);
    let found = alone(&format!("10 c2 SHARED -- UPDATE b\n20 c2 RESERVED -- UPDATE b\n{tries}2000 c2 U(NONE)\n"));
    assert_eq!(found, ["unexplained gave-up <- nobody"]);
}

#[test]
fn one_of_two_may_have_been_in_the_way() {
    // Each is there for a part of the attempt only.
    let commit = |conn: &str, at: u64, until: u64| {
        format!(
            "{at} {conn} SHARED -- UPDATE {conn}\n{} {conn} RESERVED -- UPDATE {conn}\n{} {conn} EXCLUSIVE -- UPDATE {conn}\n{until} {conn} U(SHARED) -- UPDATE {conn}\n{} {conn} U(NONE)\n",
            at + 3,
            at + 6,
            until + 4
        )
    };
    let reads = "100+900 c9 SHARED=BUSY -- SELECT v\n1010 c9 U(NONE)\n";
    let one = format!("{}{reads}", commit("c1", 10, 300));
    assert_eq!(alone(&one), ["commit-blocks-reader gave-up +rollback-journal <- UPDATE c1 (running)"]);
    let two = alone(&format!("{}{}{reads}", commit("c1", 10, 300), commit("c3", 500, 2_000)));
    assert_eq!(two.len(), 1);
    assert!(two[0].starts_with("unexplained gave-up <-"), "{two:?}");
    // And where records are missing, there may have been others.
    let lost = without(&format!("{one}2000 c1 SHARED -- SELECT a\n2010 c1 U(NONE)\n2020 c1 close\n"), &[8]);
    assert_eq!(lost, ["unexplained open <- UPDATE c1 (running)"]);
}

#[test]
fn the_index_is_out_of_order() {
    let owner = "100 c1 X WRITE\n110 c1 X CKPT..RECOVER\n9000 c1 U CKPT..RECOVER\n9010 c1 U WRITE\n";
    let victim = "200 c2 X WRITE=BUSY\n210 c2 S RECOVER=BUSY\n220+1000 c2 sleep 1000\n";
    let found = ["wal-recovery succeeded-after-wait <- ? (running)"];
    assert_eq!(without(&format!("{WAL}{owner}{victim}{NEXT}"), &[]), found);
    // What it saw of RECOVER is lost; the owner has it all the same.
    assert_eq!(without(&format!("{WAL}{owner}{victim}{NEXT}"), &[13]), found);
    // Somebody who reads has found the index in order: he waits to write.
    let writes = attempts(200, "c2", &START, &[1_000, 2_000]);
    assert_eq!(wal(&format!("{owner}{writes}{NEXT}")), ["hold-exceeds-timeout gave-up <- ? (running)"]);
    // It asked for WRITE before it read, once or again, and whether for RECOVER is not known.
    let unknown = "200 c2 X WRITE=BUSY\n";
    let again = "210+1000 c2 sleep 1000\n1300 c2 X WRITE=BUSY\n";
    for tries in [unknown.to_owned(), format!("{unknown}{again}"), format!("{unknown}{NEXT}")] {
        let found = wal(&format!("{WRITER}{tries}{DONE}"));
        assert!(found.len() == 1 && found[0].starts_with("unexplained "), "{found:?}");
    }
    // It looked again, and read; the record of that is missing.
    let looks = "200 c2 X WRITE=BUSY\n210 c2 S RECOVER\n220 c2 U RECOVER\n230 c2 S READ1 -- SELECT b\n240 c2 U READ1\n300 c2 X CKPT\n310 c2 U CKPT\n";
    let looks = format!("{WAL}{WRITER}{looks}{DONE}");
    assert!(without(&looks, &[]).is_empty());
    assert_eq!(without(&looks, &[13, 14]), ["unexplained gave-up <- INSERT a (running)"]);
}

#[test]
fn no_timeout_is_proven_by_one_attempt_from_end_to_end() {
    let once = attempts(200, "c2", &START, &[]);
    let proven = ["no-busy-timeout gave-up <- INSERT a (running)"];
    assert_eq!(wal(&format!("{WRITER}{once}{NEXT}{DONE}")), proven);
    // It slept after it, and did not come back: it has a busy handler.
    let slept = wal(&format!("{WRITER}{once}230+1000 c2 sleep 1000\n{NEXT}{DONE}"));
    assert_eq!(slept, ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
    // Nothing is known of what it did next.
    let ends = once.replace("220 c2 U READ1\n", "");
    assert_eq!(wal(&format!("{WRITER}{ends}{DONE}")), ["unexplained gave-up <- INSERT a (running)"]);
    let full = "200 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n210 c2 X WRITE=BUSY -- PRAGMA wal_checkpoint(FULL)\n";
    assert_eq!(wal(&format!("{WRITER}{full}{DONE}")), ["unexplained gave-up <- INSERT a (running)"]);
    assert_eq!(wal(&format!("{WRITER}{full}220 c2 U CKPT\n{DONE}")), proven);
    let called = full.replace(" -- PRAGMA wal_checkpoint(FULL)", "");
    assert_eq!(wal(&format!("{WRITER}{called}220 c2 U CKPT\n{DONE}")), proven, "by sqlite3_wal_checkpoint_v2, not by a statement");
    // The statements are not in the trace: it may have been an upgrade.
    let silent = once.replace(" -- INSERT b", "");
    assert_eq!(wal(&format!("{WRITER}{silent}{NEXT}{DONE}")), ["unexplained gave-up <- INSERT a (running)"]);
    // Of this one the text is not: with a rollback journal it may have changed the journal mode.
    let nameless = |scenario: &str| {
        let mut process = Process::new(7);
        process.run(scenario).names.retain(|line| !line.contains("INSERT b"));
        judged(&[&process])
    };
    assert_eq!(nameless(&format!("{WAL}{WRITER}{once}{NEXT}{DONE}")), proven);
    let journal = "5 c2 open\n10 c1 SHARED -- INSERT a\n20 c1 RESERVED -- INSERT a\n30 c2 SHARED -- INSERT b\n40 c2 RESERVED=BUSY -- INSERT b\n50 c2 U(NONE)\n80 c1 U(NONE)\n90 c2 SHARED -- SELECT\n95 c2 U(NONE)";
    assert_eq!(alone(journal), proven);
    assert_eq!(nameless(journal), ["unexplained gave-up <- INSERT a (running)"]);
}

#[test]
fn a_wait_is_proven_by_what_is_given_back() {
    // Without a statement in the trace: the read lock is given back, and it sleeps.
    let silent: Vec<String> = START.iter().map(|line| line.replace(" -- INSERT b", "")).collect();
    let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
    let tries = attempts(200, "c2", &silent, &[1_000, 2_000]);
    let mut process = Process::new(7);
    process.run(&format!("{WAL}{WRITER}{}{NEXT}{DONE}", tries.replace("220 c2", "215 c1 wrote wal 4120\n220 c2")));
    assert_eq!(judged(&[&process]), ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
    assert_eq!(damaged(&process, &[12]), ["unexplained gave-up <- INSERT a (running)"]);
    // The read lock is kept over both attempts, and another statement had taken it: no busy handler was called. With a record missing in between,
    // nobody can tell.
    let kept = "200 c2 S READ1 -- SELECT b\n210 c2 X WRITE=BUSY -- INSERT b\n215 c1 wrote wal 4120\n220 c2 X WRITE=BUSY -- INSERT b\n230 c2 U READ1\n";
    process = Process::new(7);
    process.run(&format!("{WAL}{WRITER}{kept}{NEXT}{DONE}"));
    assert_eq!(judged(&[&process]), ["upgrade-refused gave-up <- INSERT a (running)"]);
    assert_eq!(damaged(&process, &[12]), ["unexplained gave-up <- INSERT a (running)"]);
}

#[test]
fn in_exclusive_mode_a_reader_that_writes_waits() {
    let writer = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n90000 c1 U(NONE) -- UPDATE a\n";
    let refused = attempts(200, "c2", &["RESERVED=BUSY -- UPDATE b"], &[1_000, 2_000]);
    let once = attempts(200, "c2", &["RESERVED=BUSY -- UPDATE b"], &[]);
    let later = "91000 c2 RESERVED -- UPDATE c\n91010 c2 U(NONE)\n";
    let story = |reads: &str, tries: &str| alone(&format!("5 c2 open\n{writer}30 c2 SHARED -- {reads}\n{tries}{later}"));
    // SHARED is kept, as in a transaction; but a transaction would not have slept.
    assert_eq!(story("UPDATE b", &refused), ["hold-exceeds-timeout gave-up <- UPDATE a (running)"]);
    assert_eq!(story("SELECT b", &refused), ["unexplained gave-up <- UPDATE a (running)"]);
    // Without a sleep, the same statement has no timeout, and another one is taken for a transaction.
    assert_eq!(story("UPDATE b", &once), ["no-busy-timeout gave-up <- UPDATE a (running)"]);
    assert_eq!(story("SELECT b", &once), ["upgrade-refused gave-up <- UPDATE a (running)"]);
    // Another thread of the pool runs the same statement on this connection: the first one's SHARED is still there, and no transaction is open.
    let shared = once.replace("c2", "c2@104");
    let twice = story("UPDATE b", &format!("{once}{}", shared.replace("200 ", "4000 ")));
    assert_eq!(twice, ["no-busy-timeout gave-up <- UPDATE a (running)"; 2]);
    // A change of journal mode is refused like that, whatever the timeout. Without its text nobody can tell; where there is a WAL, it asks for something else.
    let nameless = |scenario: &str, text: &str| {
        let mut process = Process::new(7);
        process.run(scenario).names.retain(|line| !line.contains(text));
        judged(&[&process])
    };
    let switch = once.replace("UPDATE b", "PRAGMA journal_mode=WAL");
    let switch = format!("5 c2 open\n{writer}30 c2 SHARED -- SELECT b\n{switch}{later}");
    assert_eq!(alone(&switch), ["journal-mode-switch gave-up <- UPDATE a (running)"]);
    assert_eq!(nameless(&switch, "PRAGMA"), ["unexplained gave-up <- UPDATE a (running)"]);
    let upgrade = "120 c2 S READ1 -- SELECT b\n200 c2 X WRITE=BUSY -- UPDATE b\n300 c2 U READ1 -- ROLLBACK\n";
    let upgrade = format!("{WAL}{WRITER}{upgrade}{DONE}");
    assert_eq!(nameless(&upgrade, "UPDATE b"), ["upgrade-refused gave-up <- INSERT a (running)"]);
}
