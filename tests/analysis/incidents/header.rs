//! A reader finds the wal-index header half-written and asks again, up to 100 times: how that ended, by the number of attempts.
//!
//! It stays Rust, because the numbers are the point: as case files these would be thousands of lines.

use super::judge::{WAL, judged};
use crate::common::{Process, anchor_at};

/// The calls of a reader that finds the header half-written, this often.
fn retries(from: u64, times: u64) -> String {
    let retry =
        |at: u64| format!("{at} c2 X WRITE=BUSY -- SELECT b\n{} c2 S RECOVER -- SELECT b\n{} c2 U RECOVER\n", at + 3, at + 6);
    let sleep = |at: u64| format!("{} c2 sleep 1\n", at + 8);
    (0..times).map(|n| retry(from + n * 10) + &if n >= 4 { sleep(from + n * 10) } else { String::new() }).collect()
}

#[test]
fn how_a_retry_of_the_header_ended() {
    let held = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
    let incident = |outcome: &str| vec![format!("wal-protocol-retry {outcome} <- INSERT a (running)")];
    // The trace ends during the attempts. Their sleeps are not those of a busy handler.
    let wal = |scenario: &str, last: u64| {
        let mut process = Process::new(7);
        process.header.last = Some(anchor_at(last));
        process.run(&format!("{WAL}{held}{scenario}"));
        judged(&[&process])
    };
    let cut = |times, rest: &str| wal(&format!("{}{rest}", retries(200, times)), 1_500);
    assert_eq!(cut(9, ""), incident("open"));
    assert_eq!(cut(9, "640000 c1 sync wal\n"), incident("open"));
    // SQLite neither sleeps that long nor asks more often than that.
    assert_eq!(cut(9, "660000 c1 sync wal\n"), incident("gave-up"));
    assert_eq!(cut(99, ""), incident("open"));
    assert_eq!(cut(100, ""), incident("gave-up"));
    // It reads: the same statement waited; another statement shows that the first one failed.
    let reads = "2000 c1 U WRITE\n2010 c1 U READ1\n2100 c2 S READ1 -- SELECT b\n2110 c2 U READ1\n";
    assert_eq!(wal(&format!("{}{reads}", retries(200, 100)), 10_000_000), incident("succeeded-after-wait"));
    assert_eq!(wal(&format!("{}{}", retries(200, 100), reads.replace("SELECT b", "SELECT c")), 10_000_000), incident("gave-up"));
}
