//! Checkpoints, recovery, and what no application sees.

use super::judge::{WAL, alone, attempts, wal, with_attempts};

#[test]
fn checkpoints_and_recovery() {
    let reader = "100 c1 S READ1 -- SELECT a\n";
    let gone = "90000 c1 U READ1\n";
    // FULL waits while it keeps writers out; and without a timeout is refused once.
    let tries = attempts(220, "c2", &["X READ1=BUSY -- PRAGMA wal_checkpoint(FULL)"], &[1_000, 2_000]);
    let full = format!(
        "{reader}200 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n210 c2 X WRITE -- PRAGMA wal_checkpoint(FULL)\n{tries}9000 c2 U WRITE\n9010 c2 U CKPT\n{gone}"
    );
    assert_eq!(wal(&full), ["checkpoint-convoy gave-up <- SELECT a (running)"]);
    let once = "220 c2 X READ1=BUSY -- PRAGMA wal_checkpoint(FULL)\n";
    assert_eq!(wal(&full.replace(&tries, once)), ["checkpoint-starved gave-up <- SELECT a (running)"]);
    // A writer that waits for such a checkpoint.
    let writer = attempts(300, "c3", &["S READ1 -- INSERT c", "X WRITE=BUSY -- INSERT c", "U READ1"], &[1_000]);
    let found = wal(&full.replace("9000 c2", &format!("{writer}9000 c2")));
    assert!(
        found.iter().any(|line| line.starts_with("hold-exceeds-timeout")
            && line.contains("+checkpoint-convoy")
            && line.ends_with("(waiting)")),
        "{found:?}"
    );
    // PASSIVE does without, once.
    let passive = |at: u64| format!("{at} c2 X CKPT\n{} c2 X READ1=BUSY\n{} c2 U CKPT\n", at + 1, at + 4);
    assert!(wal(&format!("{reader}{}{gone}", passive(200))).is_empty());
    let grows = format!("{reader}{}300 c2 wrote wal 9000\n{}{gone}", passive(200), passive(400));
    assert_eq!(wal(&grows), ["checkpoint-starved succeeded-after-wait <- SELECT a (running)"]);
    assert!(wal(&grows.replace("wrote wal", "wrote journal")).is_empty(), "nothing grows");
    // A slot that is taken to move its mark, or to restart the log, is no reader's.
    let moves = grows.replace("100 c1 S READ1 -- SELECT a", "100 c1 X READ1").replace("90000 c1", "900 c1");
    assert!(wal(&moves).is_empty());
    // Somebody else checkpoints: a PRAGMA is told so, an automatic checkpoint does not mind.
    let other = "100 c1 X CKPT -- PRAGMA wal_checkpoint\n200 c2 X CKPT=BUSY -- PRAGMA wal_checkpoint\n300 c1 U CKPT\n400 c2 S READ1 -- SELECT b\n410 c2 U READ1\n";
    assert_eq!(wal(other), ["checkpoint-contended gave-up <- PRAGMA wal_checkpoint (checkpointing)"]);
    assert!(wal(&other.replace("=BUSY -- PRAGMA wal_checkpoint", "=BUSY")).is_empty());
    // Who has CKPT makes the wal-index anew: that is no checkpoint.
    let recovers = other
        .replace("100 c1 X CKPT -- PRAGMA wal_checkpoint", "90 c1 X WRITE\n100 c1 X CKPT..RECOVER")
        .replace("U CKPT", "U CKPT..RECOVER");
    assert_eq!(wal(&recovers), ["unexplained gave-up <- ? (checkpointing)"]);
    // First the one, then the other: the statement is refused all the same.
    let both = other.replace("200 c2", "190 c2 X CKPT=BUSY\n200 c2");
    assert_eq!(wal(&both), ["checkpoint-contended gave-up <- PRAGMA wal_checkpoint (checkpointing)"]);
    // FULL gives up on WRITE, and goes on as PASSIVE: the reader it meets then had nothing to do with that.
    let passive = wal(
        "50 c1 S READ2 -- SELECT a\n100 c3 S READ1 -- INSERT c\n110 c3 X WRITE -- INSERT c\n200 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n210 c2 X WRITE=BUSY -- PRAGMA wal_checkpoint(FULL)\n220 c2 X READ2=BUSY -- PRAGMA wal_checkpoint(FULL)\n230 c2 U CKPT\n900 c3 U WRITE\n910 c3 U READ1\n920 c1 U READ2\n",
    );
    assert_eq!(passive, ["no-busy-timeout gave-up <- INSERT c (running)"]);
    // The index is made anew by another one; or is out of order, and a writer does not let go.
    let recovery = wal(
        "100 c1 X WRITE\n110 c1 X CKPT..RECOVER\n200 c2 X WRITE=BUSY\n210 c2 S RECOVER=BUSY\n220+1000 c2 sleep 1000\n1300 c1 U CKPT..RECOVER\n1310 c1 U WRITE\n1400 c2 S READ1 -- SELECT b\n1410 c2 U READ1\n",
    );
    assert_eq!(recovery, ["wal-recovery succeeded-after-wait <- ? (running)"]);
    let retry = "200 c2 X WRITE=BUSY\n210 c2 S RECOVER\n220 c2 U RECOVER\n";
    let again =
        retry.replace("2 c2", "3 c2").replace("200", "230").replace("210", "240").replace("220 c3", "250 c2").replace("c3", "c2");
    let protocol = wal(&format!("100 c1 X WRITE -- INSERT a\n{retry}{again}300 c2 U(NONE)\n400 c2 close\n500 c1 U WRITE\n"));
    assert_eq!(protocol, ["wal-protocol-retry gave-up <- INSERT a (running)"]);
    // The first looks come without a sleep, the later ones with one (wal.c: `walTryBeginRead`): all of them are one wait.
    let look = |at: u64| format!("{at} c2 X WRITE=BUSY\n{} c2 S RECOVER\n{} c2 U RECOVER\n", at + 10, at + 20);
    let looks: String =
        [200, 240, 280].map(look).concat() + "310+1000 c2 sleep 1000\n" + &look(1_400) + "1430+2000 c2 sleep 2000\n";
    let reads = "5100 c2 S READ1 -- SELECT b\n5110 c2 U READ1\n";
    let found = with_attempts(&format!("{WAL}100 c1 X WRITE -- INSERT a\n{looks}5000 c1 U WRITE\n{reads}"));
    assert_eq!(found, (vec!["wal-protocol-retry succeeded-after-wait <- INSERT a (running)".to_owned()], vec![(4, 1)]));
}

#[test]
fn what_no_application_sees_is_no_incident() {
    let quiet = [
        "100 c1 S READ1 -- SELECT a\n200 c2 X READ1=BUSY\n210 c2 X READ2\n220 c2 U READ2\n230 c2 S READ2\n240 c2 U READ2\n300 c1 U READ1\n",
        "100 c1 S READ1 -- SELECT a\n200 c2 S READ0 -- INSERT b\n210 c2 X WRITE -- INSERT b\n220 c2 X READ1..READ4=BUSY\n230 c2 U READ0\n240 c2 S READ1\n250 c2 U WRITE\n260 c2 U READ1\n300 c1 U READ1\n",
        // Who wants to make the index anew meets one that looks whether somebody does.
        "100 c1 S RECOVER\n110 c2 X WRITE\n120 c2 X CKPT..RECOVER=BUSY\n130 c2 U WRITE\n140 c1 U RECOVER\n150 c2 X WRITE\n160 c2 X CKPT..RECOVER\n170 c2 U CKPT..RECOVER\n180 c2 U WRITE\n",
        "100 c1 X READ0\n110 c2 S READ0=BUSY -- SELECT b\n120 c2 S READ1 -- SELECT b\n130 c2 U READ1\n140 c1 U READ0\n",
    ];
    for scenario in quiet {
        assert_eq!(wal(scenario), Vec::<String>::new(), "{scenario}");
    }
    // What looks like one of these, and is seen by an application, or by nobody knows whom.
    let index = "100 c1 S RECOVER\n120 c2 X CKPT..RECOVER=BUSY\n130 c2 U(SHARED)\n140 c1 U RECOVER\n";
    assert_eq!(wal(index), ["unexplained gave-up <- ? (running)"], "without WRITE");
    let looks = "100 c1 X WRITE -- INSERT a\n200 c2 X WRITE=BUSY\n210 c2 S RECOVER\n220 c2 U RECOVER\n230+1000 c2 sleep 1000\n1300 c2 S READ1 -- SELECT b\n1310 c2 U READ1\n2000 c1 U WRITE\n";
    assert_eq!(wal(looks), ["wal-protocol-retry succeeded-after-wait <- INSERT a (running)"], "it slept");
    let owner = "100 c1 X WRITE\n110 c1 X CKPT..RECOVER\n250 c1 U CKPT..RECOVER\n260 c1 U WRITE\n";
    let own = "200 c2 X WRITE=BUSY\n210 c2 S RECOVER=BUSY\n300 c2 S READ1 -- SELECT b\n310 c2 U READ1\n";
    assert_eq!(wal(&format!("{owner}{own}")), ["wal-recovery succeeded-after-wait <- ? (running)"], "RECOVER was refused");
    // Its attempt at WRITE is not in the trace.
    let begun = own.replace("200 c2 X WRITE=BUSY\n", "");
    assert_eq!(wal(&format!("{owner}{begun}")), ["wal-recovery succeeded-after-wait <- ? (running)"]);
    // So is who makes the index anew.
    assert_eq!(wal(&begun), ["wal-recovery succeeded-after-wait <- nobody"]);
    // A writer closes, and what it gave up before is not in the trace: it wanted to commit all the same.
    let commits = "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n40 c2 EXCLUSIVE=PENDING -- UPDATE b\n50 c2 close\n90 c1 U(NONE)\n";
    assert_eq!(alone(commits), ["reader-blocks-commit gave-up +rollback-journal <- SELECT a (running)"]);
}
