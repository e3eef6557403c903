//! What the report says of incidents: how many errors the application saw, what is not known, and what to change.

use super::judge::{START, WAL, attempts};
use crate::common::{Process, anchor_at};
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::report::{explain, text};
use sqlite_locktrace::trace::Trace;

/// The report on one process, in lines of this width, and the steps of its first incident; words are parted by one blank.
fn reported(scenario: &str, width: usize) -> (String, String) {
    reported_until(10_000_000, scenario, width)
}

/// The same of one that was seen last at this time, in microseconds.
fn reported_until(last: u64, scenario: &str, width: usize) -> (String, String) {
    let mut process = Process::new(7);
    process.header.last = Some(anchor_at(last));
    process.run(&format!("{WAL}{scenario}"));
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let (mut report, mut steps) = (Vec::new(), Vec::new());
    text::write(&analysis, text::Style { width, ..text::Style::default() }, &mut report).unwrap();
    explain::write(&analysis, 0, &[], width, &mut steps).unwrap();
    let plain = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap().replace("\x1b[1;31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    (plain(report), plain(steps))
}

const HELD: &str = "100 c1 S READ1 -- BEGIN\n110 c1 X WRITE -- INSERT a\n";
const COMMITS: &str = "900000 c1 wrote wal 4120\n900010 c1 U WRITE\n900020 c1 U READ1 -- COMMIT\n";

#[test]
fn what_made_it_worse_is_to_be_changed() {
    let tries = attempts(200, "c2", &START, &[1_000, 2_000, 5_000, 10_000, 15_000, 17_000]);
    let (report, steps) = reported(&format!("{HELD}{tries}{COMMITS}"), 66);
    assert!(report.contains("The application saw `database is locked` 1 time hold-exceeds-timeout: 1 time, 1 error,"), "{report}");
    assert!(report.contains("waited in all with idle-in-transaction refused INSERT b"), "{report}");
    assert!(
        report.contains("fix Commit or roll back right after the last statement")
            && report.contains("the holder's transaction stayed open without a call")
    );
    assert!(steps.contains("holding X WRITE: idle-in-transaction, since 100 µs before the wait"), "{steps}");
    // It may have been another one than the one that is named.
    let next = "40000 c1 U WRITE\n40010 c1 U READ1 -- COMMIT\n40020 c3 S READ1 -- INSERT c\n40030 c3 X WRITE -- INSERT c\n";
    let (report, _) = reported(&format!("{HELD}{tries}{next}60000 c3 U WRITE\n60010 c3 U READ1 -- INSERT c"), 100);
    assert!(report.contains("one holder's transaction stayed open"), "{report}");
    // The same thread waits for itself: nothing that it sets at the beginning of a transaction helps.
    let reads = "120 c2@101 S READ1 -- SELECT b\n200 c2@101 X WRITE=BUSY -- INSERT b\n300 c2@101 U READ1 -- ROLLBACK\n";
    let (report, _) = reported(&format!("{HELD}{reads}{COMMITS}"), 100);
    assert!(report.contains("upgrade-refused + same-thread-holder"), "{report}");
    assert!(report.contains("no timeout can help") && !report.contains("BEGIN IMMEDIATE"), "{report}");
}

#[test]
fn a_silent_holder_is_not_said_to_have_run() {
    let silent = "The trace does not show what the holder did meanwhile";
    let tries = attempts(200, "c2", &START, &[1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 25_000, 7_000]);
    for (end, expected) in [
        // Nobody gives it up.
        ("", true),
        // It is rolled back when its connection closes, and no record carries a statement.
        ("900010 c1 U WRITE\n900020 c1 U READ1\n900030 c1 close\n", true),
        // The statement ran all the time.
        ("900010 c1 U WRITE\n900020 c1 U READ1 -- INSERT a\n", false),
    ] {
        let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
        let (report, _) = reported(&format!("{held}{tries}{end}"), 100);
        assert!(report.contains("hold-exceeds-timeout"), "{report}");
        assert_eq!(report.contains(silent), expected, "{end}: {report}");
    }
    let short = attempts(200, "c2", &START, &[1_000, 2_000, 3_000]);
    assert!(!reported(&format!("100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n{short}"), 100).0.contains(silent));
}

#[test]
fn a_checkpoint_that_returns_busy_is_no_error() {
    let lines = ["X CKPT -- PRAGMA wal_checkpoint(FULL)", "X WRITE=BUSY -- PRAGMA wal_checkpoint(FULL)"];
    let tries = attempts(200, "c2", &lines[1..], &[1_000, 2_000, 3_000]);
    let checkpoint = format!("190 c2 {}\n{tries}9000 c2 U CKPT -- PRAGMA wal_checkpoint(FULL)\n", lines[0]);
    let (report, steps) = reported(&format!("{HELD}{checkpoint}{COMMITS}"), 100);
    let head = "The application did not see `database is locked`; 1 checkpoint returned busy hold-exceeds-timeout + idle-in-transaction: 1 time, 6";
    assert!(report.starts_with(head), "{report}");
    assert!(steps.starts_with("Incident 1 of 1: hold-exceeds-timeout; the checkpoint returned busy"), "{steps}");
    // Another statement that gives up so has failed.
    let (report, _) = reported(&format!("{HELD}{}{COMMITS}", checkpoint.replace("PRAGMA wal_checkpoint(FULL)", "VACUUM")), 100);
    assert!(report.starts_with("The application saw `database is locked` 1 time hold-exceeds-timeout"), "{report}");
}

#[test]
fn attempts_without_a_sleep_may_all_be_errors() {
    let lines: String = (0..12)
        .map(|n| 200 + n * 80_000)
        .map(|at| format!("{at} c2 S READ1 -- INSERT b\n{} c2 X WRITE=BUSY -- INSERT b\n{} c2 U READ1\n", at + 10, at + 20))
        .collect();
    let granted = "950000 c2 S READ1 -- INSERT b\n950010 c2 X WRITE -- INSERT b\n950020 c2 U WRITE\n950030 c2 U READ1\n";
    let (report, steps) = reported(&format!("{HELD}{lines}{COMMITS}{granted}"), 100);
    assert!(report.starts_with("The application may have seen `database is locked`; 1 waited and got the lock One of these waits has 12 attempts without SQLite sleeping in between."), "{report}");
    assert!(steps.contains("or it retried by itself and saw an error each time"), "{steps}");
    // SQLite's own handler sleeps.
    let tries = attempts(200, "c2", &START, &[1_000, 2_000]) + "3300+5000 c2 sleep 5000\n";
    let (report, steps) = reported(
        &format!(
            "{HELD}{tries}4000 c1 U WRITE\n4010 c1 U READ1 -- COMMIT\n9000 c2 S READ1 -- INSERT b\n9010 c2 X WRITE -- INSERT b\n"
        ),
        100,
    );
    assert!(
        report.starts_with("The application did not see `database is locked`; 1 waited and got the lock hold-exceeds-timeout"),
        "{report}"
    );
    assert!(!steps.contains("saw an error each time"), "{steps}");
}

#[test]
fn a_hazard_is_reported_whole_and_with_what_removes_it() {
    let writes = |conn: &str, at: u64| {
        format!(
            "{at} {conn} S READ1 -- UPDATE a\n{} {conn} X WRITE -- UPDATE a\n{} {conn} wrote wal 4120\n{} {conn} U WRITE\n{} {conn} U READ1\n",
            at + 10,
            at + 20,
            at + 30,
            at + 40
        )
    };
    let (report, _) = reported(&(writes("c1", 100) + &writes("c2", 200)), 70);
    assert!(
        report.contains("SQLite 3.40.1 has the WAL-reset bug (fixed in 3.51.3) /data/app.db fix Use SQLite 3.51.3 or later"),
        "{report}"
    );
}

#[test]
fn who_ends_with_the_refusal_may_have_seen_an_error() {
    // A shell without a timeout: its statement is refused, it gives its read lock back, and ends.
    let once = attempts(200, "c2", &START, &[]);
    let (report, _) = reported_until(
        95_000,
        &format!("100 c1 S READ1 -- BEGIN\n110 c1 X WRITE -- INSERT a\n{once}90000 c1 U WRITE\n90010 c1 U READ1 -- COMMIT\n"),
        100,
    );
    assert!(
        report.starts_with("The application may have seen `database is locked`; 1 still waiting when the trace ends unexplained"),
        "{report}"
    );
    assert!(report.contains("The refused process made no call after that:") && !report.contains("Trace every process"), "{report}");
    // If no blocker is known, more has to be traced.
    let (report, _) = reported_until(95_000, &once, 100);
    assert!(report.contains("unexplained") && report.contains("Trace every process"), "{report}");
}

#[test]
fn who_made_a_snapshot_stale_holds_nothing_any_more() {
    let stale = "100 c2 S READ1 -- SELECT b\n200 c1 S READ1 -- INSERT a\n210 c1 X WRITE -- INSERT a\n220 c1 wrote wal 4120\n230 c1 U WRITE\n240 c1 U READ1\n\
                 300 c2 X WRITE -- UPDATE b\n310 c2 U WRITE\n400 c2 U READ1 -- ROLLBACK\n";
    let (report, steps) = reported(stale, 100);
    assert!(report.contains("by INSERT a pid 7 thread 101 c1, committed in between fix Start"), "{report}");
    assert!(report.contains("No attempt to take a lock was refused, apart from the upgrades that failed."), "{report}");
    assert!(steps.contains("holder pid 7 thread 101 c1, which committed in between INSERT a"), "{steps}");
}

#[test]
fn commits_that_are_tried_again_are_errors_each_time() {
    let first_line = |sql: &str, times: u64| {
        let mut process = Process::new(7);
        process.run("1 c1 open\n2 c2 open\n10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n");
        (0..times).for_each(|n| {
            process.run(&format!("{} c2 EXCLUSIVE=PENDING -- {sql}", 1_000 + n * 50_000));
        });
        process.run(&format!("490000 c1 U(NONE)\n500000 c2 EXCLUSIVE -- {sql}\n500100 c2 U(SHARED)\n500110 c2 U(NONE)"));
        let dir = tempfile::tempdir().unwrap();
        process.write(dir.path());
        let trace = Trace::open(dir.path()).unwrap();
        let analysis = Analysis::of(&trace, Options::default()).unwrap();
        let mut report = Vec::new();
        text::write(&analysis, text::Style::default(), &mut report).unwrap();
        String::from_utf8(report)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .replace("\x1b[1;31m", "")
            .replace("\x1b[1m", "")
            .replace("\x1b[0m", "")
    };
    assert_eq!(first_line("COMMIT", 8), "The application may have seen `database is locked`; 1 waited and got the lock");
    // So long after, it was certainly the application's next try.
    assert_eq!(first_line("COMMIT", 1), "The application saw `database is locked` 1 time");
    assert!(!first_line("UPDATE b", 8).contains("certainly"), "a full cache");
}

/// Without the text of a statement (`LOCKTRACE_SQL=hash`, lost names), CKPT shows that it is a checkpoint, and that no statement failed.
#[test]
fn a_checkpoint_whose_text_is_unknown_is_no_error_either() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(7);
    process.run(&format!(
        "{WAL}100 c1 S READ1 -- SELECT a\n190 c2 X CKPT -- PRAGMA wal_checkpoint(FULL)\n200 c2 X WRITE -- PRAGMA wal_checkpoint(FULL)\n\
         210 c2 X READ1=BUSY -- PRAGMA wal_checkpoint(FULL)\n220 c2 U WRITE\n230 c2 U CKPT -- PRAGMA wal_checkpoint(FULL)\n900 c1 U READ1"
    ));
    process.names.retain(|line| !line.contains("wal_checkpoint"));
    process.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let found: Vec<_> = analysis.incidents.iter().map(|incident| (incident.cause.id(), incident.checkpoint_busy)).collect();
    assert_eq!(found, [("checkpoint-starved", true)]);
    assert_eq!(analysis.totals.incidents.errors(), 0);
}
