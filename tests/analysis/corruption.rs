//! Random damage to trace files: the reader ends without a panic and accounts for every record number.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use proptest::prelude::*;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::report::{json, record::Lines, text};
use sqlite_locktrace::trace::{Trace, jsonl};
use std::io::BufReader;
use std::path::Path;

const SCENARIO: &str = "
    100 c1 open
    110 c1 map
    120 c1 SHARED
    200 c1 S READ1       -- INSERT INTO t VALUES (1)
    210 c1 X WRITE       -- INSERT INTO t VALUES (1)
    215 c2 X WRITE=BUSY  -- INSERT INTO t VALUES (2)
    218+1000 c2 sleep 1000
    220 c1 wrote wal 4120
    230 c1 U WRITE
    240 c1 U READ1
    1300 c2 X WRITE      -- INSERT INTO t VALUES (2)
    1310 c2 U WRITE
    1400 c1 unmap
    1410 c1 close";

/// A commit with all that belongs to one in a rollback journal, with readers and another writer that block it.
const COMMIT: &str = "
    100 c1 open
    110 c2 open
    200 c1 SHARED          -- INSERT INTO t VALUES (1)
    210 c1 RESERVED        -- INSERT INTO t VALUES (1)
    220 c2 SHARED          -- INSERT INTO t VALUES (2)
    230 c2 RESERVED=BUSY   -- INSERT INTO t VALUES (2)
    240 c2 U(NONE)
    250+1000 c2 sleep 1000
    300+400 c1 wrote journal 8192
    800+9000 c1 sync journal
    9900 c2 SHARED         -- INSERT INTO t VALUES (2)
    9910 c2 RESERVED=BUSY  -- INSERT INTO t VALUES (2)
    10000 c1 EXCLUSIVE=BUSY
    10010+1000 c1 sleep 1000
    10020 c2 U(NONE)
    11100 c1 EXCLUSIVE
    11200 c2 SHARED=BUSY   -- SELECT * FROM t
    11210 c1 wrote database 4096
    11300+9000 c1 sync database
    20400 c1 delete journal
    20500 c1 U(SHARED)     -- COMMIT
    20510 c1 U(NONE)
    20600 c1 close";

/// Everything that can be done with a trace.
fn use_all(open: impl Fn() -> Option<Trace>) -> Result<(), TestCaseError> {
    let Some(trace) = open() else { return Ok(()) };
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    for tally in &analysis.summary.tallies {
        let sum = [tally.read, tally.overwritten, tally.lost, tally.empty, tally.torn, tally.missing];
        prop_assert_eq!(sum.iter().map(|&part| u128::from(part)).sum::<u128>(), u128::from(tally.head));
    }
    let mut out = Vec::new();
    json::write(&analysis, &mut out).unwrap();
    prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    text::write(&analysis, text::Style::default(), &mut out).unwrap();
    #[cfg(feature = "cli")]
    {
        use sqlite_locktrace::report::html::Page;
        let Some(trace) = open() else { return Ok(()) };
        let again = || Ok::<_, sqlite_locktrace::trace::Error>(open().expect("it could be opened before"));
        Page::read(&trace, &again, Options::default(), &|| ()).unwrap().write(&mut out).unwrap();
    }
    let Some(trace) = open() else { return Ok(()) };
    let mut lines = Lines::new(100).of(&trace);
    for event in trace.events().unwrap().take(1000) {
        lines.write(&trace, &event, &mut out).unwrap();
    }
    let Some(trace) = open() else { return Ok(()) };
    jsonl::write(&trace, trace.events().unwrap(), &mut out).unwrap();
    Ok(())
}

/// A number of bytes at random places, with random values.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_a_directory(ring in damage(), names in damage(), cut in any::<prop::sample::Index>(), keep_header in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::new(1);
        process.run(SCENARIO);
        let (mut ring_bytes, mut names_bytes) = (process.ring(), process.names());
        for (at, value) in ring {
            // A damaged header is refused at once; so that the rest is reached too, only its changing part is.
            let at = if keep_header { 128 + at.index(ring_bytes.len() - 128) } else { at.index(ring_bytes.len()) };
            ring_bytes[at] = value;
        }
        for (at, value) in names {
            let at = at.index(names_bytes.len());
            names_bytes[at] = value;
        }
        ring_bytes.truncate(1 + cut.index(ring_bytes.len()).max(4096));
        std::fs::write(dir.path().join("1-1.ring"), ring_bytes).unwrap();
        std::fs::write(dir.path().join("1-1.names"), names_bytes).unwrap();
        use_all(|| Trace::open(dir.path()).ok())?;
    }

    /// Records that decode, with anything in them.
    #[test]
    fn of_records_that_decode(words in proptest::collection::vec(any::<[u64; 7]>(), 1..60), small in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::new(1);
        process.records = words.iter().map(|words| {
            let mut record = shim::format::record::Record::from_words(words);
            if small {
                // Few connections and files, real kinds and results: so that the analysis has something to do.
                record.kind.0 %= 16;
                (record.conn, record.file, record.rc.0) = (record.conn % 4, record.file % 3, record.rc.0 % 3 * 5);
                (record.before.0, record.after.0, record.requested.0) = (record.before.0 % 6, record.after.0 % 6, record.requested.0 % 6);
                (record.shm_offset, record.shm_n) = (record.shm_offset % 9, record.shm_n % 9);
            }
            record
        }).collect();
        process.write(dir.path());
        use_all(|| Trace::open(dir.path()).ok())?;
    }

    /// A true trace, some of whose words say something wild: one of one record, or the same of all.
    #[test]
    fn of_records_gone_wild(
        what in proptest::collection::vec((any::<prop::sample::Index>(), 0..7usize, 0..8usize, any::<u64>(), any::<bool>()), 1..6),
        commit in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::new(1);
        process.run(if commit { COMMIT } else { SCENARIO });
        for (at, word, wild, random, all) in what {
            let at = at.index(process.records.len());
            for (place, record) in process.records.iter_mut().enumerate().filter(|(place, _)| all || *place == at) {
                let mut words = record.to_words();
                words[word] = match wild {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 1 << 63,
                    3 => words[word].wrapping_sub(1),
                    4 => words[word].wrapping_add(random << 32),
                    5 => words[word] ^ 1 << (random % 64),
                    6 => random.wrapping_mul(place as u64 + 1),
                    _ => u64::MAX / 2 + random % 3,
                };
                *record = shim::format::record::Record::from_words(&words);
            }
        }
        process.write(dir.path());
        use_all(|| Trace::open(dir.path()).ok())?;
    }

    #[test]
    fn of_an_export(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::new(1);
        process.run(SCENARIO);
        process.write(dir.path());
        let trace = Trace::open(dir.path()).unwrap();
        let mut lines = Vec::new();
        jsonl::write(&trace, trace.events().unwrap(), &mut lines).unwrap();
        for (at, value) in damage {
            let at = at.index(lines.len());
            lines[at] = value;
        }
        use_all(|| Trace::from_lines(Path::new("export"), Box::new(BufReader::new(std::io::Cursor::new(lines.clone())))).ok())?;
    }
}
