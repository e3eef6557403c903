//! Who keeps others out of the database file: readers and commits, and those who have it to themselves.

use super::judge::{WAL, alone, attempts, judged, wal, with_attempts, without};
use crate::common::{Process, anchor_at};

#[test]
fn readers_and_commits_exclude_each_other() {
    let tries = attempts(100, "c2", &["EXCLUSIVE=PENDING -- COMMIT"], &[1_000, 2_000]);
    let blocked = alone(&format!(
        "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n{tries}5000 c2 U(SHARED)\n5010 c2 U(NONE)\n9000 c1 U(NONE)"
    ));
    assert_eq!(blocked, ["reader-blocks-commit gave-up +rollback-journal <- SELECT a (running)"]);
    // Two deferred writers: one cannot upgrade, the other cannot commit; and a reader that comes then waits for the one that waits.
    let tries = attempts(100, "c2", &["EXCLUSIVE=PENDING -- COMMIT"], &[1_000, 2_000, 5_000]);
    let three = alone(&format!(
        "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- SELECT b\n30 c2 RESERVED -- UPDATE b\n40 c1 RESERVED=BUSY -- UPDATE a\n{tries}{}9000 c1 U(NONE) -- ROLLBACK\n9010 c2 U(NONE)",
        attempts(300, "c3", &["SHARED=BUSY -- SELECT c"], &[1_000]) + "1900 c3 U(NONE)\n"
    ));
    let mut sorted = three;
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "commit-blocks-reader gave-up +rollback-journal <- UPDATE b (waiting)",
            "reader-blocks-commit gave-up +rollback-journal <- SELECT a (idle-in-transaction)",
            "upgrade-refused gave-up <- UPDATE b (running)",
        ]
    );
}

/// What a reader meets on a database that another one has to itself.
fn beside(holder: &str) -> Vec<String> {
    alone(&format!("{holder}{}", attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000]) + "44000 c9 U(NONE)\n"))
}

#[test]
fn who_has_the_database_to_himself() {
    let in_wal = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n";
    let cases = [
        // A commit.
        (
            "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40+60000 c1 sync database\n60100 c1 delete journal\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n",
            "commit-blocks-reader gave-up +slow-sync +rollback-journal <- UPDATE a (syncing)",
        ),
        // A journal is played back.
        (
            "10 c1 SHARED\n20 c1 check\n30 c1 EXCLUSIVE\n40+60000 c1 sync database\n60100 c1 delete journal\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n",
            "hot-journal gave-up +slow-sync <- ? (syncing)",
        ),
        // What it wrote before says nothing of that.
        (
            "10 c1 SHARED -- UPDATE z\n20 c1 RESERVED -- UPDATE z\n30 c1 EXCLUSIVE -- UPDATE z\n40 c1 U(SHARED)\n50 c1 U(NONE)\n110 c1 SHARED\n120 c1 check\n130 c1 EXCLUSIVE\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n",
            "hot-journal gave-up <- ? (running)",
        ),
        // Which statement took RESERVED was not seen: the one that commits is named.
        (
            "10 c1 SHARED\n20 c1 RESERVED\n30 c1 EXCLUSIVE -- COMMIT\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n",
            "commit-blocks-reader gave-up +rollback-journal <- COMMIT (running)",
        ),
        // The last one closes, and stays alone for the checkpoint.
        (
            &format!(
                "{in_wal}10 c1 EXCLUSIVE\n20 c1 ckpt start\n60000 c1 ckpt done\n60100 c1 unmap 1\n60110 c1 close wal\n60120 c1 delete wal\n60200 c1 U(NONE)\n60210 c1 close\n"
            ),
            "last-close gave-up <- ? (checkpointing)",
        ),
        // Exclusive mode in WAL: the reader's slot is given up, EXCLUSIVE is not.
        (
            &format!("{in_wal}10 c1 S READ1 -- INSERT a\n20 c1 EXCLUSIVE\n30 c1 U READ1\n60000 c1 U(SHARED)\n"),
            "exclusive-mode gave-up <- ? (running)",
        ),
        // Exclusive mode with a rollback journal: the commit is over, EXCLUSIVE is kept for the next one.
        (
            "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40 c1 sync journal\n50 c1 sync database\n60 c1 sync journal\n900000 c1 U(NONE)\n",
            "exclusive-mode gave-up <- UPDATE a (running)",
        ),
        (
            "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40 c1 sync journal\n50 c1 sync database\n60 c1 sync journal\n70 c1 sync journal\n80 c1 sync database\n45000 c1 U(NONE)\n",
            "exclusive-mode gave-up <- UPDATE a (running)",
        ),
        // WAL mode is left.
        (
            &format!(
                "{in_wal}10 c1 EXCLUSIVE\n12 c1 EXCLUSIVE\n20 c1 ckpt start\n60000 c1 ckpt done\n60100 c1 unmap 1\n60110 c1 close wal\n60120 c1 delete wal\n60200 c1 U(SHARED)\n60300 c1 RESERVED -- PRAGMA journal_mode=DELETE\n60400 c1 U(NONE)\n"
            ),
            "journal-mode-switch gave-up <- ? (checkpointing)",
        ),
        // How it was taken is not in the trace.
        ("50000 c1 U(SHARED)\n", "unexplained gave-up <- nobody"),
    ];
    for (holder, expected) in cases {
        let found = beside(holder);
        assert_eq!(found, [expected], "{holder}");
    }
}

#[test]
fn a_full_cache_is_no_error() {
    let open = "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- INSERT b\n30 c2 RESERVED -- INSERT b\n";
    let spills = |sleeps: &[u64]| attempts(100, "c2", &["EXCLUSIVE=PENDING -- UPDATE b"], sleeps);
    let read = "60000 c1 U(NONE)\n";
    let commits =
        "70000 c2 EXCLUSIVE -- COMMIT\n70010 c2 sync database\n70020 c2 delete journal\n70030 c2 U(SHARED)\n70040 c2 U(NONE)\n";
    // Inside a transaction: it waited, and went on in memory. What is tried for the next pages, with no sleep, is the same run.
    let waited = format!("{open}{}", spills(&[1_000, 2_000]));
    let more = "3300 c2 EXCLUSIVE=PENDING -- UPDATE b\n3400 c2 EXCLUSIVE=PENDING -- UPDATE b\n";
    let expected = "reader-blocks-commit succeeded-after-wait +rollback-journal <- SELECT a (running)";
    assert_eq!(with_attempts(&format!("{waited}{more}{read}{commits}")), (vec![expected.to_owned()], vec![(5, 1)]));
    // Without a busy timeout nobody notices; nor in a transaction that is rolled back later.
    let rolls_back = "70000 c2 delete journal\n70010 c2 U(SHARED) -- ROLLBACK\n70020 c2 U(NONE) -- ROLLBACK\n";
    for end in [commits, rolls_back] {
        assert!(alone(&format!("{open}{}{more}{read}{end}", spills(&[]))).is_empty(), "{end}");
    }
    // A statement that commits by itself and cannot is rolled back at once: one error, however often it had been in want of room.
    let error = "reader-blocks-commit gave-up +rollback-journal <- SELECT a (running)";
    for end in ["3500 c2 delete journal\n3510 c2 U(SHARED) -- UPDATE b\n", "3500 c2 wrote journal 512\n3510 c2 U(NONE)\n"] {
        assert_eq!(with_attempts(&format!("{waited}{more}{end}{read}")), (vec![error.to_owned()], vec![(5, 1)]), "{end}");
    }
    // In exclusive mode the locks stay when it is rolled back; that the journal is synced shows it.
    for next in ["UPDATE c", "UPDATE b"] {
        let stays = format!("{waited}3400 c2 sync journal\n3500 c2 EXCLUSIVE=PENDING -- {next}\n3510 c2 sync journal\n");
        assert_eq!(alone(&format!("{stays}70000 c2 EXCLUSIVE -- UPDATE d\n{read}")), [error; 2], "{next}");
    }
    // COMMIT fails each time it is tried, and the transaction stays.
    let tries = waited.replace("UPDATE b", "COMMIT");
    assert_eq!(alone(&format!("{tries}{read}{commits}")), [error]);
    // The record that would tell is lost.
    let lost = format!("{open}{}3500 c2 U(NONE) -- UPDATE b\n5000 c2 SHARED -- SELECT b\n5010 c2 U(NONE)\n{read}", spills(&[]));
    assert_eq!(without(&lost, &[4]), [error]);
}

#[test]
fn wal_mode_is_left_and_closed() {
    let leaves = wal("100 c2 EXCLUSIVE=BUSY\n110 c2 U(SHARED)\n5000 c2 S READ1 -- SELECT b\n5010 c2 U READ1\n");
    assert_eq!(leaves, ["journal-mode-switch gave-up <- ? (running)"]);
    // It closes, and was not the last; also right after it had tried to leave.
    assert!(wal("100 c2 EXCLUSIVE=BUSY\n110 c2 unmap 0\n120 c2 close wal\n130 c2 U(NONE)\n140 c2 close\n").is_empty());
    let both =
        wal("100 c2 EXCLUSIVE=BUSY\n110 c2 U(SHARED)\n200 c2 EXCLUSIVE=BUSY\n210 c2 unmap 0\n220 c2 U(NONE)\n230 c2 close\n");
    assert_eq!(both, ["journal-mode-switch gave-up <- ? (running)"]);
    // That it unmaps the wal-index is lost; that it closes the WAL file is not.
    let closes = format!("{WAL}100 c2 EXCLUSIVE=BUSY\n110 c2 unmap 0\n120 c2 close wal\n130 c2 U(NONE)\n140 c2 close\n");
    assert!(without(&closes, &[9]).is_empty());
    // Nor is what came before in the trace.
    let closes = "2 c2 SHARED\n100 c2 EXCLUSIVE=BUSY\n110 c2 unmap 0\n120 c2 close wal\n130 c2 U(NONE)\n140 c2 close\n";
    assert!(without(closes, &[2]).is_empty());
    // It has left WAL mode: what it reads under from then on is SHARED.
    let left =
        "10 c1 EXCLUSIVE\n12 c1 EXCLUSIVE\n20 c1 unmap 1\n30 c1 close wal\n40 c1 delete wal\n50 c1 U(SHARED)\n60 c1 U(NONE)\n";
    let reads = "70 c2 SHARED -- UPDATE b\n80 c2 RESERVED -- UPDATE b\n90 c1 SHARED -- SELECT a\n100 c1 RESERVED=BUSY -- UPDATE a\n200 c1 U(NONE)\n900 c2 U(NONE)\n";
    let in_wal = "1 c1 open\n2 c1 SHARED\n5 c1 open wal\n7 c1 map\n";
    assert_eq!(alone(&format!("{in_wal}{left}{reads}")), ["upgrade-refused gave-up <- UPDATE b (running)"]);
}

#[test]
fn a_hold_that_has_just_ended_is_what_it_was() {
    // The attempt overlaps the end of the hold: who asked for EXCLUSIVE to close does not commit.
    let closes = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n100 c1 EXCLUSIVE=PENDING\n110 c1 unmap 0\n120 c1 close wal\n130+50 c1 U(NONE)\n190 c1 close\n";
    let reads = "135 c9 SHARED=BUSY -- SELECT v\n140 c9 U(NONE)\n";
    assert_eq!(alone(&format!("{closes}{reads}")), ["last-close gave-up <- ? (running)"]);
    // What a longer one did is not known: it was over when it was found.
    let long =
        "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n60000+50 c1 U(NONE)\n60190 c1 close\n";
    assert_eq!(
        alone(&format!("{long}60010 c9 SHARED=BUSY -- SELECT v\n60020 c9 U(NONE)\n")),
        ["unexplained gave-up <- UPDATE a (running)"]
    );
    // A commit is known by the statement that took RESERVED.
    let commits = "10 c1 SHARED -- BEGIN IMMEDIATE\n20 c1 RESERVED -- BEGIN IMMEDIATE\n100 c1 EXCLUSIVE -- COMMIT\n130+50 c1 U(SHARED)\n190 c1 U(NONE)\n300 c1 close\n";
    assert_eq!(
        alone(&format!("{commits}{reads}")),
        ["commit-blocks-reader gave-up +rollback-journal <- BEGIN IMMEDIATE (running)"]
    );
}

/// A commit that has EXCLUSIVE from 30 on.
const COMMIT: &str = "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n";
const EXCLUSIVE_MODE: &str = "exclusive-mode gave-up <- UPDATE a (running)";
const A_COMMIT: &str = "commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)";

#[test]
fn how_long_a_commit_may_take_to_end() {
    let cases = [
        // Its database file is synced, and 50 ms later it has nothing done: EXCLUSIVE outlives it, however it ends.
        ("40+10 c1 sync database\n50049 c1 U(SHARED)\n", A_COMMIT),
        ("40+10 c1 sync database\n50050 c1 U(SHARED)\n", EXCLUSIVE_MODE),
        ("40+10 c1 sync database\n50049 c1 U(NONE)\n", A_COMMIT),
        ("40+10 c1 sync database\n50050 c1 U(NONE)\n", EXCLUSIVE_MODE),
        // The same where its work took half as long; then, how it ends tells.
        (
            "40+30000 c1 sync database\n90040 c1 U(SHARED)\n",
            &EXCLUSIVE_MODE.replace("<-", "+slow-sync <-").replace("running", "syncing"),
        ),
        (
            "40+30000 c1 sync database\n90039 c1 U(SHARED)\n",
            &A_COMMIT.replace("+roll", "+slow-sync +roll").replace("running", "syncing"),
        ),
        (
            "40+30000 c1 sync database\n80040 c1 U(NONE)\n",
            &EXCLUSIVE_MODE.replace("<-", "+slow-sync <-").replace("running", "syncing"),
        ),
        (
            "40+30000 c1 sync database\n80039 c1 U(NONE)\n",
            &A_COMMIT.replace("+roll", "+slow-sync +roll").replace("running", "syncing"),
        ),
        // What it did before it synced the database is no time after it.
        ("40+10 c1 sync journal\n49000+10 c1 sync database\n49100 c1 U(SHARED)\n49110 c1 U(NONE)\n", A_COMMIT),
        // Two commits.
        ("40+10 c1 sync database\n30000+10 c1 sync database\n49000 c1 U(SHARED)\n", EXCLUSIVE_MODE),
    ];
    for (ends, expected) in cases {
        assert_eq!(beside(&format!("{COMMIT}{ends}")), [expected], "{ends}");
    }
    // It is still held, and its process has been seen 85 ms after it began: it may go on to end its journal.
    let mut process = Process::new(7);
    process.run(&format!(
        "{COMMIT}40+30000 c1 sync database\n{}44000 c9 U(NONE)\n",
        attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000])
    ));
    process.header.last = Some(anchor_at(85_000));
    assert_eq!(judged(&[&process]), ["unexplained open +slow-sync <- UPDATE a (syncing)"]);
}

#[test]
fn what_a_commit_did_is_not_known_throughout() {
    let lost = |ends: &str| {
        let reader = attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000]);
        without(&format!("{COMMIT}{ends}{reader}44000 c9 U(NONE)\n"), &[4])
    };
    // A short one is a commit; or two, of which the end of the first is lost.
    assert_eq!(lost("40+10 c1 sync journal\n45 c1 sync journal\n50029 c1 U(NONE)\n"), [A_COMMIT]);
    assert_eq!(lost("40+10 c1 sync database\n45 c1 sync journal\n30000+10 c1 sync database\n49000 c1 U(NONE)\n"), [A_COMMIT]);
    // Of one that lasts 50 ms nobody knows.
    let unknown = A_COMMIT.replace("commit-blocks-reader gave-up +rollback-journal", "unexplained gave-up");
    assert_eq!(lost("40+10 c1 sync journal\n45 c1 sync journal\n50030 c1 U(NONE)\n"), [unknown]);
}

#[test]
fn a_silent_hold_is_a_commit_for_a_second() {
    let unknown = "unexplained gave-up <- UPDATE a (running)";
    let begun = |text: &str, ends: &str| format!("{}{ends}", COMMIT.replace("UPDATE a", text));
    let cases = [
        (format!("{COMMIT}1000029 c1 U(SHARED)\n"), A_COMMIT),
        (format!("{COMMIT}1000030 c1 U(SHARED)\n"), unknown),
        // Something was done; or it was begun, and left open; or it waits for readers, with PENDING.
        (format!("{COMMIT}40 c1 sync journal\n1000030 c1 U(SHARED)\n"), A_COMMIT),
        (
            begun("BEGIN IMMEDIATE", "1000030 c1 U(SHARED)\n"),
            &A_COMMIT
                .replace("UPDATE a", "BEGIN IMMEDIATE")
                .replace("running", "idle-in-transaction")
                .replace("+roll", "+idle-in-transaction +roll"),
        ),
        (
            format!("{COMMIT}1000030 c1 U(SHARED) -- COMMIT\n"),
            &A_COMMIT.replace("running", "idle-in-transaction").replace("+roll", "+idle-in-transaction +roll"),
        ),
        (
            format!(
                "5 c3 SHARED -- SELECT c\n{}1000030 c1 U(SHARED)\n1000040 c3 U(NONE)\n",
                COMMIT.replace("EXCLUSIVE", "EXCLUSIVE=PENDING")
            ),
            A_COMMIT,
        ),
    ];
    for (holder, expected) in cases {
        assert!(beside(&holder).contains(&expected.to_owned()), "{holder}\n{:?}", beside(&holder));
    }
}

#[test]
fn who_takes_exclusive_from_shared() {
    let in_wal = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n";
    let cases = [
        // It opens the WAL under EXCLUSIVE: in exclusive mode it needs no wal-index.
        ("1 c1 open\n10 c1 SHARED\n20 c1 EXCLUSIVE\n30 c1 open wal\n60000 c1 U(NONE)\n", "exclusive-mode gave-up <- ? (running)"),
        // WAL mode is left, or not in the end: it stays, where a last close goes.
        (&format!("{in_wal}10 c1 EXCLUSIVE\n60000 c1 U(SHARED)\n"), "journal-mode-switch gave-up <- ? (running)"),
        (&format!("{in_wal}10 c1 EXCLUSIVE\n60000 c1 U(NONE)\n"), "last-close gave-up <- ? (running)"),
        (&format!("{in_wal}10 c1 EXCLUSIVE\n12 c1 EXCLUSIVE\n60000 c1 U(NONE)\n"), "journal-mode-switch gave-up <- ? (running)"),
        // How it goes on is not in the trace; that it looked for a journal as it opened the database says nothing in WAL mode.
        (&format!("{in_wal}10 c1 EXCLUSIVE\n"), "unexplained gave-up <- ? (running)"),
        (&format!("{in_wal}10 c1 check\n20 c1 EXCLUSIVE\n"), "unexplained gave-up <- ? (running)"),
        // A journal is looked at and played back; without a look it is none.
        ("10 c1 SHARED\n20 c1 check\n30 c1 EXCLUSIVE\n35 c1 EXCLUSIVE\n60000 c1 U(NONE)\n", "hot-journal gave-up <- ? (running)"),
        ("10 c1 SHARED\n30 c1 EXCLUSIVE\n60000 c1 U(NONE)\n", "unexplained gave-up <- ? (running)"),
    ];
    for (holder, expected) in cases {
        assert_eq!(beside(holder), [expected], "{holder}");
    }
    // To WAL mode it goes as a writer: the text tells, at the beginning or at the end.
    let to_wal = COMMIT.replace("UPDATE a", "PRAGMA journal_mode = wal");
    let expected = "journal-mode-switch gave-up <- PRAGMA journal_mode = wal (running)";
    assert_eq!(beside(&format!("{to_wal}60000 c1 U(NONE)\n")), [expected]);
    let unknown = COMMIT.replace(" -- UPDATE a", "");
    let found = beside(&format!("{unknown}60000 c1 U(NONE) -- PRAGMA journal_mode = wal\n"));
    assert_eq!(found, [expected.replace("<- PRAGMA journal_mode = wal (running)", "<- ? (running)")]);
}
