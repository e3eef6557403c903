//! Lost records: a cause may become unexplained, or the incident may vanish; it never becomes another cause.
//!
//! It stays Rust, because it damages each record in turn, and looks at what single refusals prove.
#![allow(clippy::unwrap_used)]

use super::judge::{START, WAL, attempts, damage, judged, judged_in};
use crate::common::Process;
use shim::event::Flags;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;

/// Scenarios with one cause each.
fn single_causes() -> Vec<(&'static str, String)> {
    let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let released = "90000 c1 wrote wal 4120\n90010 c1 U WRITE\n90020 c1 U READ1 -- INSERT a\n";
    let after = "95000 c2 S READ1 -- SELECT b\n95010 c2 U READ1\n";
    let sleeps = [1_000, 2_000, 5_000, 10_000];
    vec![
        (
            "upgrade-refused",
            format!(
                "{WAL}{held}120 c2 S READ1 -- SELECT b\n200 c2 X WRITE=BUSY -- INSERT b\n300 c2 U READ1 -- ROLLBACK\n{released}{after}"
            ),
        ),
        ("hold-exceeds-timeout", format!("{WAL}{held}{}{released}{after}", attempts(200, "c2", &START, &sleeps))),
        ("no-busy-timeout", format!("{WAL}{held}{}{released}{after}", attempts(200, "c2", &START, &[]))),
        (
            "stale-snapshot",
            format!(
                "{WAL}100 c2 S READ1 -- SELECT b\n200 c1 S READ1 -- INSERT a\n210 c1 X WRITE -- INSERT a\n220 c1 wrote wal 4120\n230 c1 U WRITE\n240 c1 U READ1\n300 c2 X WRITE -- UPDATE b\n310 c2 U WRITE\n400 c2 U READ1 -- ROLLBACK\n"
            ),
        ),
        (
            "reader-blocks-commit",
            format!(
                "10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n{}50000 c2 U(SHARED)\n50010 c2 U(NONE)\n90000 c1 U(NONE)\n",
                attempts(100, "c2", &["EXCLUSIVE=PENDING -- COMMIT"], &sleeps)
            ),
        ),
        (
            "hot-journal",
            format!(
                "10 c1 SHARED\n20 c1 check\n30 c1 EXCLUSIVE\n40+60000 c1 sync database\n60100 c1 delete journal\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n{}44000 c9 U(NONE)\n",
                attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000])
            ),
        ),
        (
            "commit-blocks-reader",
            format!(
                "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n40+60000 c1 sync database\n60100 c1 delete journal\n60200 c1 U(SHARED)\n60210 c1 U(NONE)\n{}44000 c9 U(NONE)\n",
                attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000])
            ),
        ),
        (
            "last-close",
            format!(
                "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n10 c1 EXCLUSIVE\n20 c1 ckpt start\n60000 c1 ckpt done\n60100 c1 unmap 1\n60110 c1 close wal\n60120 c1 delete wal\n60200 c1 U(NONE)\n60210 c1 close\n{}44000 c9 U(NONE)\n",
                attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000])
            ),
        ),
        (
            "exclusive-mode",
            format!(
                "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n10 c1 S READ1 -- INSERT a\n20 c1 EXCLUSIVE\n30 c1 U READ1\n60000 c1 U(SHARED)\n{}44000 c9 U(NONE)\n",
                attempts(40_000, "c9", &["SHARED=BUSY -- SELECT v"], &[1_000, 2_000])
            ),
        ),
        (
            "journal-mode-switch",
            format!("{WAL}100 c2 EXCLUSIVE=BUSY\n110 c2 U(SHARED)\n5000 c2 S READ1 -- SELECT b\n5010 c2 U READ1\n"),
        ),
        (
            "checkpoint-convoy",
            format!(
                "{WAL}100 c1 S READ1 -- SELECT a\n200 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n210 c2 X WRITE -- PRAGMA wal_checkpoint(FULL)\n{}60000 c2 U WRITE\n60010 c2 U CKPT\n90000 c1 U READ1\n",
                attempts(220, "c2", &["X READ1=BUSY -- PRAGMA wal_checkpoint(FULL)"], &sleeps)
            ),
        ),
    ]
}

/// Whether losses have only weakened the cause. A convoy of which one attempt is left is a starved checkpoint.
fn agrees(expected: &str, found: &[String]) -> bool {
    found.iter().all(|line| {
        let cause = line.split(' ').next().unwrap();
        cause == expected || cause == "unexplained" || (expected == "checkpoint-convoy" && cause == "checkpoint-starved")
    })
}

#[test]
fn losses_never_make_another_cause() {
    let mut unexplained = 0;
    for (expected, scenario) in single_causes() {
        let mut process = Process::new(7);
        process.run(&scenario);
        assert!(agrees(expected, &judged(&[&process])) && judged(&[&process]).len() == 1, "{expected}: {:?}", judged(&[&process]));
        let dir = tempfile::tempdir().unwrap();
        process.write(dir.path());
        let path = dir.path().join(format!("{}.ring", process.id));
        let whole = process.ring();
        let count = process.records.len();
        let damage = |torn: &[usize]| {
            let mut bytes = whole.clone();
            torn.iter().for_each(|at| bytes[4096 + at * 64 + 9] ^= 1);
            std::fs::write(&path, bytes).unwrap();
            judged_in(dir.path())
        };
        for at in 0..count {
            for torn in
                [vec![at], vec![at, (at + 1) % count], vec![at, (at * 7 + 3) % count], (at..count).collect(), (0..at).collect()]
            {
                let mut torn = torn;
                torn.sort_unstable();
                torn.dedup();
                let found = damage(&torn);
                assert!(agrees(expected, &found), "{expected} without records {torn:?}: {found:?}\n{scenario}");
                unexplained += usize::from(found.iter().any(|line| line.starts_with("unexplained")));
            }
        }
    }
    assert!(unexplained > 0, "losses make a difference");
}

#[test]
fn a_sleep_proves_no_lock() {
    // Process 200 has released SHARED, the record of that is lost, and it sleeps. Process 300 wants to commit meanwhile; the reader blocks it.
    let (mut reader, mut other, mut writer) = (Process::new(100), Process::new(200), Process::new(300));
    reader.run("50 c1 SHARED -- SELECT a\n60000 c1 U(NONE)\n");
    other.run(
        "5 c1 open\n100 c1 SHARED -- UPDATE b\n110 c1 RESERVED=BUSY -- UPDATE b\n120 c1 U(NONE)\n130+5000 c1 sleep 5000\n5200 c1 SHARED -- UPDATE b\n5210 c1 RESERVED -- UPDATE b\n5220 c1 U(NONE)\n",
    );
    writer.run("80 c1 SHARED -- UPDATE c\n90 c1 RESERVED -- UPDATE c\n1000 c1 EXCLUSIVE=PENDING -- UPDATE c\n4000 c1 U(NONE)\n");
    let expected = "reader-blocks-commit gave-up +rollback-journal <- SELECT a (running)";
    let found = |processes: &[&Process]| -> Vec<String> {
        judged(processes).into_iter().filter(|line| line.starts_with("reader")).collect()
    };
    assert_eq!(found(&[&reader, &other, &writer]), [expected]);
    let dir = tempfile::tempdir().unwrap();
    [&reader, &other, &writer].iter().for_each(|process| process.write(dir.path()));
    damage(dir.path(), &other, &[3]);
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let certain = analysis.refusals.iter().flat_map(|refusal| &refusal.candidates).filter(|holder| holder.certain);
    let pids: Vec<u32> = certain.map(|holder| trace.log(holder.who.log).pid).collect();
    assert_eq!(pids, [300, 100], "the first one is the refused RESERVED's");
}

#[test]
fn a_process_whose_last_call_has_no_end_has_not_died() {
    // It released EXCLUSIVE in its last call, and the record does not have that call's end.
    let (mut writer, mut reader) = (Process::new(100), Process::new(200));
    writer.run("10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n100+0 c1 U(SHARED)\n");
    writer.header.last = None;
    writer.records[3].flags = writer.records[3].flags.with(Flags::ONE_CLOCK);
    reader.run("110 c9 SHARED=BUSY -- SELECT v\n120 c9 U(NONE)\n");
    assert_eq!(judged(&[&writer, &reader]), ["commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"]);
}

#[test]
fn where_the_certain_one_is_in_doubt_nobody_has_looked_for_others() {
    // The records show that the first process holds WRITE, but the kernel has dropped its lock (another library closed the file, say). The second
    // process gets WRITE while the third one asks for it. When that attempt was refused, the second one was not known yet, and the analysis
    // looked no further, since it had a certain holder.
    let forgotten = |second: &str| {
        let (mut first, mut other, mut victim) = (Process::new(100), Process::new(200), Process::new(300));
        first.run("10 c1 S READ1 -- UPDATE a\n20 c1 X WRITE -- UPDATE a\n90000 c2 open\n");
        other.run(second);
        victim.run(
            "30 c1 S READ1 -- UPDATE c\n1000+50 c1 X WRITE=BUSY -- UPDATE c\n1060 c1 U READ1\n1070 c1 sleep 1000\n5000 c2 open\n",
        );
        let dir = tempfile::tempdir().unwrap();
        [&first, &other, &victim].iter().for_each(|process| process.write(dir.path()));
        let trace = Trace::open(dir.path()).unwrap();
        let analysis = Analysis::of(&trace, Options::default()).unwrap();
        let [refusal] = &analysis.refusals[..] else { panic!("one attempt was refused") };
        assert_eq!(refusal.candidates.len(), 1);
        (refusal.candidates[0].certain, refusal.forgotten)
    };
    assert_eq!(forgotten("5 c1 S READ1 -- SELECT b\n60000 c1 U READ1\n"), (true, false));
    assert_eq!(
        forgotten("5 c1 S READ1 -- UPDATE b\n1010+60 c1 X WRITE -- UPDATE b\n60000 c1 U WRITE\n60010 c1 U READ1\n"),
        (false, true)
    );
    // The same with a commit that seems to have blocked a reader: it proves no cause.
    let (mut first, mut other, mut victim) = (Process::new(100), Process::new(200), Process::new(300));
    first.run(
        "10 c1 SHARED -- UPDATE a\n20 c1 RESERVED -- UPDATE a\n30 c1 EXCLUSIVE -- UPDATE a\n9000 c1 U(SHARED)\n9010 c1 U(NONE)\n",
    );
    victim.run("1000+50 c1 SHARED=BUSY -- SELECT c\n1060 c1 U(NONE)\n");
    assert_eq!(judged(&[&first, &victim]), ["commit-blocks-reader gave-up +rollback-journal <- UPDATE a (running)"]);
    other.run("1010+60 c1 SHARED -- SELECT b\n60000 c1 U(NONE)\n");
    assert_eq!(judged(&[&first, &other, &victim]), ["unexplained gave-up <- UPDATE a (running)"]);
}
