//! Writers that meet writers: upgrades, waits, stale snapshots, and who the holder is.

use super::judge::{START, WAL, alone, attempts, judged, wal, with_attempts, without};
use crate::common::Process;

#[test]
fn an_upgrade_is_refused_at_once() {
    let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let reads = "120 c2 S READ1 -- SELECT b\n";
    // It rolls back, which gives the read lock up.
    let rolls_back =
        wal(&format!("{held}{reads}200 c2 X WRITE=BUSY -- INSERT b\n300 c2 U READ1 -- ROLLBACK\n400 c1 U WRITE\n410 c1 U READ1"));
    assert_eq!(rolls_back, ["upgrade-refused gave-up <- INSERT a (running)"]);
    // It keeps reading, and gets the lock later: the application has seen the error all the same.
    let keeps = wal(&format!(
        "{held}{reads}200 c2 X WRITE=BUSY -- INSERT b\n400 c1 U WRITE\n410 c1 U READ1\n500 c2 X WRITE -- INSERT b\n600 c2 U WRITE\n610 c2 U READ1"
    ));
    assert_eq!(keeps, ["upgrade-refused gave-up <- INSERT a (running)"]);
    // Nothing follows: the statements tell, and the timeout does not apply.
    assert_eq!(wal(&format!("{held}{reads}200 c2 X WRITE=BUSY -- INSERT b")), ["upgrade-refused gave-up <- INSERT a (running)"]);
    // The same with a rollback journal.
    let rollback = alone(
        "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c2 SHARED -- SELECT b\n40 c2 RESERVED=BUSY -- UPDATE b\n90 c2 U(NONE)\n99 c1 U(NONE)",
    );
    assert_eq!(rollback, ["upgrade-refused gave-up <- UPDATE a (running)"]);
    // Which statement took the read lock is not known, and it was given up: an upgrade, or no timeout. Nobody can tell.
    let unknown =
        wal(&format!("{held}120 c2 S READ1\n200 c2 X WRITE=BUSY -- INSERT b\n300 c2 U READ1\n400 c1 U WRITE\n410 c1 U READ1"));
    assert_eq!(unknown, ["unexplained gave-up <- INSERT a (running)"]);
    // But another thread took it; or it was kept.
    let found = |reads: &str, asks: &str| {
        wal(&format!("{held}120 {reads} S READ1\n200 c2 X WRITE=BUSY{asks}\n300 c2 U READ1\n400 c1 U WRITE\n410 c1 U READ1"))
    };
    assert_eq!(found("c2@104", " -- INSERT b"), ["upgrade-refused gave-up <- INSERT a (running)"]);
    assert_eq!(found("c2", "\n250 c2 check"), ["upgrade-refused gave-up <- INSERT a (running)"]);
    // Without texts in the trace, too.
    let silent = "10 c1 SHARED\n20 c1 RESERVED\n30 c2 SHARED\n40 c2 RESERVED=BUSY\n60 c2 check\n90 c2 U(NONE)\n99 c1 U(NONE)";
    assert_eq!(alone(silent), ["upgrade-refused gave-up <- ? (running)"]);
}

#[test]
fn a_writer_waits_for_another() {
    let sleeps = [1_000, 2_000, 5_000, 10_000, 15_000, 17_000];
    // The timeout of 50 ms ends before the hold does; nothing was called between BEGIN and COMMIT.
    let tries = attempts(200, "c2", &START, &sleeps);
    let idle = wal(&format!(
        "100 c1 S READ1 -- BEGIN IMMEDIATE\n110 c1 X WRITE -- BEGIN IMMEDIATE\n{tries}90000 c1 wrote wal 4120\n90010 c1 U WRITE\n90020 c1 U READ1 -- COMMIT"
    ));
    assert_eq!(idle, ["hold-exceeds-timeout gave-up +idle-in-transaction <- BEGIN IMMEDIATE (idle-in-transaction)"]);
    // One UPDATE takes that long.
    let slow = wal(&format!(
        "100 c1 S READ1 -- UPDATE a\n110 c1 X WRITE -- UPDATE a\n{tries}90010 c1 U WRITE\n90020 c1 U READ1 -- UPDATE a"
    ));
    assert_eq!(slow, ["hold-exceeds-timeout gave-up +slow-statement <- UPDATE a (running)"]);
    // Most of it is one sync.
    let sync = wal(&format!(
        "100 c1 S READ1 -- UPDATE a\n110 c1 X WRITE -- UPDATE a\n150+89000 c1 sync wal\n{tries}90010 c1 U WRITE\n90020 c1 U READ1 -- UPDATE a"
    ));
    assert_eq!(sync, ["hold-exceeds-timeout gave-up +slow-sync <- UPDATE a (syncing)"]);
    // The sync comes after the victim has given up.
    let later = wal(&format!(
        "100 c1 S READ1 -- BEGIN\n110 c1 X WRITE -- UPDATE a\n{tries}60000+500000 c1 sync wal\n600010 c1 U WRITE\n600020 c1 U READ1 -- COMMIT"
    ));
    assert_eq!(later, ["hold-exceeds-timeout gave-up +idle-in-transaction <- UPDATE a (idle-in-transaction)"]);
    // Granted in the end.
    let tries = attempts(200, "c2", &START, &[1_000]) + "1500+1000 c2 sleep 2000\n";
    let granted = wal(&format!(
        "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n{tries}1600 c1 U WRITE\n1610 c1 U READ1\n4000 c2 S READ1 -- INSERT b\n4010 c2 X WRITE -- INSERT b\n4100 c2 U WRITE\n4110 c2 U READ1"
    ));
    assert_eq!(granted, ["hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)"]);
}

#[test]
fn a_writer_does_not_wait() {
    let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let once = attempts(200, "c2", &START, &[]);
    let later = "400 c1 U WRITE\n410 c1 U READ1\n500 c2 S READ1 -- SELECT b\n510 c2 U READ1";
    assert_eq!(wal(&format!("{held}{once}{later}")), ["no-busy-timeout gave-up <- INSERT a (running)"]);
    // The same statement a second later is the application's next try, and succeeds.
    let again = "400 c1 U WRITE\n410 c1 U READ1\n1000500 c2 S READ1 -- INSERT b\n1000510 c2 X WRITE -- INSERT b\n1000600 c2 U WRITE\n1000610 c2 U READ1";
    assert_eq!(wal(&format!("{held}{once}{again}")), ["no-busy-timeout gave-up <- INSERT a (running)"]);
    // A millisecond later it may be the application's own busy handler.
    let soon = again.replace("10005", "5").replace("10006", "6");
    assert_eq!(wal(&format!("{held}{once}{soon}")), ["hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)"]);
    // With a rollback journal, a change of journal mode looks the same: the text tells, and without one nothing does.
    let journal = |sql: &str| {
        alone(&format!(
            "5 c2 open\n10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c2 SHARED -- {sql}\n40 c2 RESERVED=BUSY -- {sql}\n50 c2 U(NONE)\n80 c1 U(NONE)\n90 c2 SHARED -- SELECT\n95 c2 U(NONE)"
        ))
    };
    assert_eq!(journal("UPDATE b"), ["no-busy-timeout gave-up <- UPDATE a (running)"]);
    assert_eq!(journal("PRAGMA journal_mode=WAL"), ["journal-mode-switch gave-up <- UPDATE a (running)"]);
}

#[test]
fn who_slept_for_nobody_knows_whom_has_a_busy_handler() {
    // It gets WRITE after a sleep, and somebody has committed meanwhile: it begins anew by itself, with a sleep that no refused call comes before. Then it
    // is refused, and its time is over.
    let writer = |at: u64, until: u64| {
        format!(
            "{at} c1 S READ1 -- INSERT a\n{} c1 X WRITE -- INSERT a\n{until} c1 wrote wal 4120\n{until} c1 U WRITE\n{} c1 U READ1\n",
            at + 5,
            until + 5
        )
    };
    let first = attempts(300, "c2", &START, &[]) + "330+1000 c2 sleep 1000\n1400 c2 S READ1 -- INSERT b\n";
    let anew = "1500 c2 X WRITE -- INSERT b\n1510 c2 U WRITE\n1520 c2 U READ1\n";
    let again = attempts(3_000, "c2", &START, &[]);
    let last = "9000 c2 S READ1 -- SELECT b\n9010 c2 U READ1\n";
    let story = |sleep: &str| wal(&format!("{}{first}{anew}{sleep}{}{again}{last}", writer(100, 1_450), writer(2_000, 8_000)));
    let waited = "hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)";
    assert_eq!(story("1530+1000 c0@102 sleep 1000\n"), [waited, "unexplained gave-up <- INSERT a (running)"]);
    // The application tries again by itself, without any timeout; another thread's sleep is another matter.
    let without = attempts(3_000, "c2", &START, &[]).replace("INSERT b", "INSERT c");
    let other = |sleep: &str| wal(&format!("1400 c2 S READ1 -- INSERT b\n{anew}{sleep}{}{without}{last}", writer(2_000, 8_000)));
    assert_eq!(other(""), ["no-busy-timeout gave-up <- INSERT a (running)"]);
    assert_eq!(other("1530+1000 c0@103 sleep 1000\n"), ["no-busy-timeout gave-up <- INSERT a (running)"]);
    assert_eq!(other("1530+1000 c0@102 sleep 1000\n"), ["unexplained gave-up <- INSERT a (running)"]);
    // An application's own busy handler sleeps unseen: the same statement again may be another attempt of it. Unless it had written.
    let same = |wrote: &str| {
        let begin = format!("1400 c2 S READ1 -- INSERT b\n1500 c2 X WRITE -- INSERT b\n{wrote}1510 c2 U WRITE\n1520 c2 U READ1\n");
        wal(&format!("{begin}{}{again}{last}", writer(2_000, 8_000)))
    };
    assert_eq!(same(""), ["unexplained gave-up <- INSERT a (running)"]);
    assert_eq!(same("1505 c2 wrote wal 4120\n"), ["no-busy-timeout gave-up <- INSERT a (running)"]);
}

#[test]
fn a_header_half_written_is_read_again_at_once() {
    // A writer is stopped while it writes the wal-index's header: who comes to read asks for WRITE to put it in order, in vain, and tries again without a sleep.
    let writer =
        "100 c1 S READ1 -- INSERT a\n105 c1 X WRITE -- INSERT a\n9000 c1 wrote wal 4120\n9000 c1 U WRITE\n9005 c1 U READ1\n";
    let first = attempts(300, "c2", &START, &[]) + "330+1000 c2 sleep 1000\n";
    let header = "1400 c2 X WRITE=BUSY -- INSERT b\n1410 c2 S RECOVER -- INSERT b\n1420 c2 U RECOVER\n";
    let granted =
        "9100 c2 S READ1 -- INSERT b\n9110 c2 X WRITE -- INSERT b\n9120 c2 wrote wal 4120\n9130 c2 U WRITE\n9140 c2 U READ1\n";
    let waited = ["hold-exceeds-timeout succeeded-after-wait <- INSERT a (running)"];
    assert_eq!(wal(&format!("{writer}{first}{granted}")), waited);
    let again = attempts(1_500, "c2", &START, &[]) + "1530+7500 c2 sleep 7500\n";
    assert_eq!(wal(&format!("{writer}{first}{header}{again}{granted}")), waited);
    assert_eq!(wal(&format!("{writer}{first}{header}{}{granted}", header.replace("14", "15"))), waited);
    let own = "9050 c2 X WRITE -- INSERT b\n9060 c2 U WRITE\n";
    assert_eq!(wal(&format!("{writer}{first}{own}{granted}")), waited);
}

#[test]
fn a_snapshot_gets_stale() {
    let reads = "100 c2 S READ1 -- SELECT b\n";
    let commit = "200 c1 S READ1 -- INSERT a\n210 c1 X WRITE -- INSERT a\n220 c1 wrote wal 4120\n230 c1 U WRITE\n240 c1 U READ1\n";
    let empty = commit.replace("220 c1 wrote wal 4120\n", "");
    let upgrade = "300 c2 X WRITE -- UPDATE b\n310 c2 U WRITE\n400 c2 U READ1 -- ROLLBACK\n";
    assert_eq!(wal(&format!("{reads}{commit}{upgrade}")), ["stale-snapshot gave-up <- INSERT a (running)"]);
    // DROP TABLE under an open cursor: no peer has committed since; or none at all.
    assert!(wal(&format!("{commit}{}{upgrade}", reads.replace("100", "250"))).is_empty());
    assert!(wal(&format!("{reads}{empty}{upgrade}")).is_empty());
    assert!(wal(&format!("{reads}{upgrade}{}", commit.replace('2', "5"))).is_empty());
    // It has written: the transaction went on.
    let wrote = upgrade.replace("310 c2", "305 c2 wrote wal 4120\n310 c2");
    assert!(wal(&format!("{reads}{commit}{wrote}")).is_empty());
    // Its own commit is nobody else's; a statement that takes both locks at once begins anew by itself.
    let own =
        commit.replace(" c1 ", " c2 ").replace("S READ1 -- INSERT a\n", "S READ2 -- INSERT a\n").replace("U READ1", "U READ2");
    assert!(wal(&format!("{reads}{own}{upgrade}")).is_empty());
    assert!(wal(&format!("{}{commit}{upgrade}", reads.replace("SELECT b", "UPDATE b"))).is_empty());
    // Where one of the two statements was not seen, it may be one; but not where another thread began to read.
    let unseen = reads.replace(" -- SELECT b", "");
    assert!(wal(&format!("{unseen}{commit}{upgrade}")).is_empty());
    assert!(wal(&format!("{reads}{commit}{}", upgrade.replace(" -- UPDATE b", ""))).is_empty());
    let thread = unseen.replace("c2", "c2@104");
    assert_eq!(wal(&format!("{thread}{commit}{upgrade}")), ["stale-snapshot gave-up <- INSERT a (running)"]);
    // When it began to read is lost.
    assert!(without(&format!("{WAL}{reads}150 c2 check\n{commit}{upgrade}"), &[8]).is_empty());
}

#[test]
fn a_snapshot_is_of_one_database() {
    let commit = |conn: &str, at: u64| {
        format!(
            "{at} {conn} S READ1 -- INSERT a\n{} {conn} X WRITE -- INSERT a\n{} {conn} wrote wal 4120\n{} {conn} U WRITE\n{} {conn} U READ1\n",
            at + 10,
            at + 20,
            at + 30,
            at + 40
        )
    };
    let found = |committed_in: u32| {
        let mut process = Process::new(7);
        process.run("1 c3 open\n2 c3 SHARED\n3 c3 open wal\n4 c3 map\n");
        process.database(2, "/data/other.db", 43);
        process.run("5 c1 open\n6 c1 SHARED\n7 c1 open wal\n8 c1 map\n9 c2 open\n10 c2 SHARED\n11 c2 open wal\n12 c2 map\n100 c2 S READ1 -- SELECT b\n");
        if committed_in == 2 {
            process.run(&commit("c1", 200));
        }
        process.database(1, "/data/app.db", 42);
        process.run(&commit("c3", 250));
        process.database(2, "/data/other.db", 43);
        process.run("300 c2 X WRITE -- UPDATE b\n310 c2 U WRITE\n400 c2 U READ1 -- ROLLBACK\n");
        judged(&[&process])
    };
    assert_eq!(found(2), ["stale-snapshot gave-up <- INSERT a (running)"]);
    assert!(found(1).is_empty());
}

#[test]
fn the_same_thread_holds_what_it_waits_for() {
    let tries = attempts(200, "c2@101", &START, &[1_000, 2_000]);
    let found = wal(&format!(
        "100 c1@101 S READ1 -- INSERT INTO a RETURNING id\n110 c1@101 X WRITE -- INSERT INTO a RETURNING id\n{tries}90010 c1@101 U WRITE\n90020 c1@101 U READ1 -- INSERT INTO a RETURNING id"
    ));
    assert_eq!(
        found,
        ["hold-exceeds-timeout gave-up +unfinished-statement +same-thread-holder <- INSERT INTO a RETURNING id (running)"]
    );
}

#[test]
fn the_writer_changes_while_one_waits() {
    let first = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let change = "250 c1 U WRITE\n255 c1 U READ1\n260 c3 S READ1 -- INSERT c\n262 c3 X WRITE -- INSERT c\n1500 c3 U WRITE\n1510 c3 U READ1\n1520 c1 S READ1 -- INSERT a\n1530 c1 X WRITE -- INSERT a\n9000 c1 U WRITE\n9010 c1 U READ1\n";
    let tries = attempts(200, "c2", &START, &[1_000, 2_000]);
    let found = wal(&format!("{first}{change}{tries}"));
    assert!(found[0].starts_with("hold-exceeds-timeout gave-up +writer-convoy"), "{found:?}");
}

#[test]
fn nobody_is_accused_of_what_is_not_in_the_trace() {
    let tries = attempts(200, "c2", &START, &[1_000, 2_000]);
    assert_eq!(wal(&format!("{tries}9000 c2 U(NONE)\n")), ["unexplained gave-up <- nobody"]);
}

#[test]
fn a_writer_waits_for_shared_and_then_for_reserved() {
    let holder = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40+8000 c1 sync database\n9000 c1 U(SHARED)\n9010 c1 U(NONE)\n";
    let next = "9100 c1 SHARED -- UPDATE d\n9110 c1 RESERVED -- UPDATE d\n60000 c1 U(NONE)\n";
    // The application's own busy handler calls no xSleep; what it waited for SHARED it waited.
    let shared = "7000 c2 SHARED=BUSY -- UPDATE b\n8000 c2 SHARED=BUSY -- UPDATE b\n9500 c2 SHARED -- UPDATE b\n";
    let refused = "9510 c2 RESERVED=BUSY -- UPDATE b\n9520 c2 U(NONE)\n70000 c2 SHARED -- SELECT\n70010 c2 U(NONE)\n";
    let found = alone(&format!("5 c2 open\n{holder}{shared}{next}{refused}"));
    let expected = [
        "commit-blocks-reader succeeded-after-wait +slow-sync +rollback-journal <- UPDATE a (syncing)",
        "hold-exceeds-timeout gave-up <- UPDATE d (running)",
    ];
    assert_eq!(found, expected);
    // Where its text is lost, it may have been a change of journal mode, which is refused once, whatever the timeout; but that asks once, and sleeps for nobody.
    let nameless = |scenario: &str| {
        let mut process = Process::new(7);
        process.run(scenario).names.retain(|line| !line.contains("UPDATE b"));
        judged(&[&process]).remove(1)
    };
    let story = |tries: &str| nameless(&format!("5 c2 open\n{holder}{shared}{next}{tries}"));
    let waited = "hold-exceeds-timeout gave-up <- UPDATE d (running)";
    assert_eq!(story(refused), "unexplained gave-up <- UPDATE d (running)");
    let again = "9530 c2 SHARED -- UPDATE b\n9540 c2 RESERVED=BUSY -- UPDATE b\n9550 c2 U(NONE)\n";
    let (first, last) = refused.split_at(refused.find("70000").unwrap());
    assert_eq!(story(&format!("{first}{again}{last}")), waited, "its own busy handler");
    assert_eq!(story(&format!("{first}9530+1000 c2 sleep 1000\n{last}")), waited, "SQLite's");
    let granted = format!("{first}60100 c2 SHARED -- UPDATE b\n60110 c2 RESERVED -- UPDATE b\n60120 c2 U(NONE)\n{last}");
    assert_eq!(story(&granted), waited.replace("gave-up", "succeeded-after-wait"));
    // Another statement's wait is no wait of this one.
    let other = alone(&format!("5 c2 open\n{holder}{}{next}{refused}", shared.replace("UPDATE b", "SELECT b")));
    assert_eq!(other.last().unwrap(), "upgrade-refused gave-up <- UPDATE d (running)");
    // With a record missing in between it may have read for itself; a wait it is not.
    let lost = format!("5 c2 open\n{holder}{}{next}9505 c2 check\n{refused}", shared.replace("UPDATE b", "SELECT b"));
    let at = lost.lines().position(|line| line.contains("check")).unwrap();
    assert_eq!(without(&lost, &[at]).last().unwrap(), "unexplained gave-up <- UPDATE d (running)");
    // The other way round it is one wait: from RESERVED back to SHARED, until it gives up.
    let anew = "5 c2 open\n10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c2 SHARED -- UPDATE b\n40 c2 RESERVED=BUSY -- UPDATE b\n50 c2 U(NONE)\n60+1000 c2 sleep 1000\n100 c1 EXCLUSIVE -- UPDATE a\n1100 c2 SHARED=BUSY -- UPDATE b\n1110+2000 c2 sleep 2000\n3200 c2 SHARED=BUSY -- UPDATE b\n3210 c2 U(NONE)\n4000 c1 U(NONE)\n5000 c2 SHARED -- SELECT\n5010 c2 U(NONE)\n";
    let (found, attempts) = with_attempts(anew);
    assert_eq!(found, ["hold-exceeds-timeout gave-up <- UPDATE a (running)"]);
    assert_eq!(attempts, [(3, 2)], "attempts and blockers: RESERVED, and EXCLUSIVE, of one connection");
}

#[test]
fn a_readers_slot_on_the_way_is_another_matter() {
    // It begins anew: READ1 is kept by a reader, who is not in its way. It does without.
    let tries = "100 c3 S READ1 -- SELECT c\n110 c1 S READ2 -- INSERT a\n120 c1 X WRITE -- INSERT a\n200 c2 X READ1=BUSY -- INSERT b\n210 c2 S READ2 -- INSERT b\n220 c2 X WRITE=BUSY -- INSERT b\n230 c2 U READ2\n240+1000 c2 sleep 1000\n1300 c2 X READ1=BUSY -- INSERT b\n1310 c2 S READ2 -- INSERT b\n1320 c2 X WRITE=BUSY -- INSERT b\n1330 c2 U READ2\n2000 c1 U WRITE\n2010 c1 U READ2\n3000 c3 U READ1\n3100 c2 S READ1 -- SELECT\n3110 c2 U READ1\n";
    let (found, attempts) = with_attempts(&format!("{WAL}{tries}"));
    assert_eq!(found, ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
    assert_eq!(attempts, [(2, 1)]);
}

#[test]
fn who_waits_later_did_not_wait_then() {
    // c1 commits, and waits for c3 in its next statement, while c2 still waits.
    let tries = attempts(200, "c2", &START, &[1_000, 2_000, 5_000]);
    let first = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n2000 c1 U WRITE\n2010 c1 U READ1\n";
    let third = "2100 c3 S READ1 -- INSERT c\n2110 c3 X WRITE -- INSERT c\n20000 c3 U WRITE\n20010 c3 U READ1\n";
    let then = attempts(4_000, "c1", &["S READ1 -- INSERT d", "X WRITE=BUSY -- INSERT d", "U READ1"], &[1_000]);
    let found = wal(&format!("{first}{third}{tries}{then}"));
    assert_eq!(found[0], "hold-exceeds-timeout gave-up <- INSERT a (running)");
}
