//! Disk space of a process's trace: in proportion to what the process recorded, and never more than its limit.
#![allow(missing_docs)]

use crate::common::{alone, quiet, record_into, record_with, selects, trace, works_untouched};
use locktrace::recorder::config::SqlPolicy;
use rusqlite::Connection;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of disk space of this process's ring.
fn space(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let rings: Vec<_> = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "ring")).collect();
    assert_eq!(rings.len(), 1);
    rings[0].metadata().unwrap().blocks() * 512
}

/// Whether these bytes are a header and so many records; a file system may need a few for itself.
fn is_near(bytes: u64, records: u64) -> bool {
    (0..=12 << 10).contains(&(bytes - 4096 - records * 64))
}

#[test]
fn little_is_left_by_a_process_that_records_little() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        let header = trace(&dir.join("trace")).header;
        assert!((10..100).contains(&header.head), "{header:?}");
        assert!(is_near(space(&dir.join("trace")), 256), "the header and the first piece");
    };
    alone(body, quiet);
}

#[test]
fn space_grows_with_what_is_recorded_up_to_the_limit() {
    let body = |dir: &Path| {
        record_with(&dir.join("trace"), 1 << 20, SqlPolicy::Text);
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        let mut sizes = vec![space(&dir.join("trace"))];
        // Twice around the ring of 16384.
        for _ in 0..18_000 {
            selects(&connection, 1);
            let size = space(&dir.join("trace"));
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
        }
        let pieces = [256, 1024, 4096, 8192, 12_288, 16_384];
        assert!(
            sizes.len() == pieces.len() && sizes.iter().zip(pieces).all(|(size, records)| is_near(*size, records)),
            "{sizes:?}"
        );
        let trace = trace(&dir.join("trace"));
        assert_eq!((trace.records.len(), trace.unreadable, trace.header.lost_space), (16_384, 0, 0));
    };
    alone(body, quiet);
}
