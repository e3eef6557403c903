//! Who keeps others out of the database file: readers and commits, and those who have it to themselves.

use crate::judge::{alone, attempts, wal};

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
fn wal_mode_is_left_and_closed() {
    let leaves = wal("100 c2 EXCLUSIVE=BUSY\n110 c2 U(SHARED)\n5000 c2 S READ1 -- SELECT b\n5010 c2 U READ1\n");
    assert_eq!(leaves, ["journal-mode-switch gave-up <- ? (running)"]);
    // It closes, and was not the last; also right after it had tried to leave.
    assert!(wal("100 c2 EXCLUSIVE=BUSY\n110 c2 unmap 0\n120 c2 close wal\n130 c2 U(NONE)\n140 c2 close\n").is_empty());
    let both =
        wal("100 c2 EXCLUSIVE=BUSY\n110 c2 U(SHARED)\n200 c2 EXCLUSIVE=BUSY\n210 c2 unmap 0\n220 c2 U(NONE)\n230 c2 close\n");
    assert_eq!(both, ["journal-mode-switch gave-up <- ? (running)"]);
}

#[test]
fn a_hold_that_has_just_ended_is_what_it_was() {
    // The attempt overlaps the end of the hold: who asked for EXCLUSIVE to close does not commit.
    let closes = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n100 c1 EXCLUSIVE=PENDING\n110 c1 unmap 0\n120 c1 close wal\n130+50 c1 U(NONE)\n190 c1 close\n";
    let reads = "135 c9 SHARED=BUSY -- SELECT v\n140 c9 U(NONE)\n";
    assert_eq!(alone(&format!("{closes}{reads}")), ["last-close gave-up <- ? (running)"]);
    // A commit is known by the statement that took RESERVED.
    let commits = "10 c1 SHARED -- BEGIN IMMEDIATE\n20 c1 RESERVED -- BEGIN IMMEDIATE\n100 c1 EXCLUSIVE -- COMMIT\n130+50 c1 U(SHARED)\n190 c1 U(NONE)\n300 c1 close\n";
    assert_eq!(
        alone(&format!("{commits}{reads}")),
        ["commit-blocks-reader gave-up +rollback-journal <- BEGIN IMMEDIATE (running)"]
    );
}
