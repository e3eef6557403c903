//! Traces without room: a full disk, a file size limit, a file system that cannot reserve space. The application must not notice (no SIGBUS,
//! no SIGXFSZ). The recorder counts every loss and writes one note.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{alone, one_note, quiet, record_into, record_with, selects, trace, works_untouched};
use locktrace::event::Kind;
use locktrace::recorder::config::SqlPolicy;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

#[test]
fn a_file_size_limit_below_the_ring_costs_one_line() {
    let body = |dir: &Path| {
        limit_file_size(200 << 10);
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        assert_eq!(std::fs::read_dir(dir.join("trace")).unwrap().count(), 0);
    };
    alone(body, |dir, output| {
        assert!(one_note(dir, output).contains("RLIMIT_FSIZE"));
    });
}

#[test]
fn a_file_size_limit_below_the_names_costs_nothing() {
    let body = |dir: &Path| {
        // Small enough for the first line of the names; the database is in memory-sized pages of its own.
        let connection = {
            works_untouched(&dir.join("a.db"));
            record_into(&dir.join("trace"));
            limit_file_size(64);
            Connection::open(dir.join("a.db")).unwrap()
        };
        selects(&connection, 10);
        assert_eq!(std::fs::read_dir(dir.join("trace")).unwrap().count(), 0, "nothing half-made is left behind");
    };
    // Not even a note fits.
    alone(body, quiet);
}

#[test]
fn a_file_size_limit_that_comes_later_costs_nothing() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        limit_file_size(1000);
        for n in 0..50 {
            connection.prepare(&format!("SELECT v, {n} FROM t")).unwrap().query([]).unwrap().next().unwrap();
        }
        let trace = trace(&dir.join("trace"));
        // Stores into what is mapped are no writes, which a limit could forbid.
        assert_eq!((trace.header.lost_names, trace.header.lost_space), (0, 0));
        assert!(trace.names.last().unwrap().contains("SELECT v, 49 FROM t"), "{:?}", trace.names.last());
    };
    alone(body, quiet);
}

/// A file system of this type at `dir/small`, for this thread alone. `None` where that is not allowed.
fn mounted(dir: &Path, kind: &str, options: &str) -> Option<PathBuf> {
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    let c = |text: &str| std::ffi::CString::new(text).unwrap();
    let (target, kind, options) = (c(small.to_str().unwrap()), c(kind), c(options));
    let none = std::ptr::null();
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            && libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
    };
    mounted.then_some(small)
}

/// A file system of this many bytes.
fn small_disk(dir: &Path, bytes: u64) -> Option<PathBuf> {
    mounted(dir, "tmpfs", &format!("size={bytes}"))
}

/// Makes room on a small disk.
fn enlarge(small: &Path) {
    let target = std::ffi::CString::new(small.to_str().unwrap()).unwrap();
    let options = c"size=8m".as_ptr().cast();
    let done = unsafe { libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), libc::MS_REMOUNT, options) };
    assert_eq!(done, 0);
}

const SKIPPED: &str = "SKIPPED: mounting a small tmpfs needs privileges this process does not have";

#[test]
fn a_full_disk_loses_records_and_counts_them() {
    let body = |dir: &Path| {
        let Some(small) = small_disk(dir, 700 << 10) else {
            println!("{SKIPPED}");
            return;
        };
        // Four chunks; room for two of them.
        record_with(&small.join("trace"), 1 << 20, SqlPolicy::Text);
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        selects(&connection, 7000);
        let read = trace(&small.join("trace"));
        let header = read.header;
        assert!(header.head > 14_000 && header.head < header.capacity, "{header:?}");
        assert!(header.lost_space > 1000, "{header:?}");
        assert!(read.records.len() > 8000, "{header:?}");
        assert_eq!(header.head, read.records.len() as u64 + header.lost_space);
        assert_eq!(read.unreadable, header.lost_space);
        // Several laps of the ring on the full disk.
        selects(&connection, 30_000);
        let later = trace(&small.join("trace"));
        assert!(later.header.head > 3 * header.capacity);
        assert!(later.header.lost_space > header.lost_space);
        assert!(later.header.lost_space < later.header.head, "a chunk that has its space is used again on every lap");
        // There is room again, and so there is a whole ring of records.
        enlarge(&small);
        selects(&connection, 30_000);
        let last = trace(&small.join("trace"));
        assert_eq!((last.records.len() as u64, last.unreadable), (last.header.capacity, 0));
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("records are being lost: No space left on device"));
    });
}

#[test]
fn many_threads_on_a_full_disk_count_every_loss() {
    let body = |dir: &Path| {
        let Some(small) = small_disk(dir, 700 << 10) else {
            println!("{SKIPPED}");
            return;
        };
        record_with(&small.join("trace"), 1 << 20, SqlPolicy::Text);
        std::thread::scope(|scope| {
            for i in 0..4 {
                scope.spawn(move || {
                    let db = dir.join(format!("{i}.db"));
                    works_untouched(&db);
                    selects(&Connection::open(&db).unwrap(), 1700);
                });
            }
        });
        let read = trace(&small.join("trace"));
        assert!(read.header.head > 13_600 && read.header.head < read.header.capacity, "{:?}", read.header);
        assert!(read.header.lost_space > 1000, "{:?}", read.header);
        assert_eq!(read.header.head, read.records.len() as u64 + read.header.lost_space);
        assert_eq!(read.unreadable, read.header.lost_space);
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("records are being lost: No space left on device"));
    });
}

/// The same with a ring of which only a part stays mapped: it unmaps chunks, and prepares each again on every lap.
#[test]
fn a_full_disk_under_a_large_ring_loses_records_and_counts_them() {
    let body = |dir: &Path| {
        let Some(small) = small_disk(dir, 3 << 20) else {
            println!("{SKIPPED}");
            return;
        };
        record_with(&small.join("trace"), 8 << 20, SqlPolicy::Off);
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        selects(&connection, 50_000);
        let read = trace(&small.join("trace"));
        assert!(read.header.head > 100_000 && read.header.head < read.header.capacity, "{:?}", read.header);
        assert_eq!(read.header.head, read.records.len() as u64 + read.header.lost_space);
        assert_eq!(read.unreadable, read.header.lost_space);
        selects(&connection, 100_000);
        let later = trace(&small.join("trace"));
        assert!(later.header.head > 2 * later.header.capacity && later.header.lost_space < later.header.head);
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("records are being lost: No space left on device"));
    });
}

/// One that cannot set space aside: threads that all prepare pieces must not wipe each other's records.
#[test]
fn a_file_system_without_fallocate_loses_nothing() {
    let body = |dir: &Path| {
        let Some(small) = mounted(dir, "ramfs", "") else {
            println!("{SKIPPED}");
            return;
        };
        record_with(&small.join("trace"), 1 << 20, SqlPolicy::Text);
        works_untouched(&dir.join("a.db"));
        std::thread::scope(|scope| {
            for i in 0..4 {
                scope.spawn(move || {
                    let db = dir.join(format!("{i}.db"));
                    works_untouched(&db);
                    selects(&Connection::open(&db).unwrap(), 1900);
                });
            }
        });
        limit_file_size(600 << 10);
        selects(&Connection::open(dir.join("a.db")).unwrap(), 300);
        let read = trace(&small.join("trace"));
        assert!(read.header.head > 15_000 && read.header.head < read.header.capacity, "{:?}", read.header);
        assert_eq!((read.unreadable, read.header.lost_space, read.records.len() as u64), (0, 0, read.header.head));
    };
    alone(body, quiet);
}

/// A file system of this type and so many MiB in a file at `dir/image`, mounted at `dir/small` for this thread alone, and filled but for
/// so many KiB.
fn image(dir: &Path, make: &str, mib: u64, room: usize) -> Option<PathBuf> {
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).current_dir(dir).output().is_ok_and(|output| output.status.success())
    };
    std::fs::create_dir(dir.join("small")).unwrap();
    std::fs::File::create(dir.join("image")).unwrap().set_len(mib << 20).unwrap();
    let private = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null())
                == 0
    };
    let small = dir.join("small");
    if !private || !run(make, &["-q", "image"]) || !run("mount", &["-o", "loop", "image", "small"]) {
        return None;
    }
    std::fs::write(small.join("room"), vec![1; room << 10]).unwrap();
    fill(&small, "rest");
    std::fs::remove_file(small.join("room")).unwrap();
    unsafe { libc::sync() };
    Some(small)
}

/// Writes until there is no room.
fn fill(small: &Path, name: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).create(true).open(small.join(name)).unwrap();
    for size in [1 << 16, 1 << 12, 1 << 9] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let _ = file.sync_all();
}

fn a_full_image(make: &str, mib: u64) {
    let body = |dir: &Path| {
        let Some(small) = image(dir, make, mib, 900) else {
            println!("{SKIPPED}");
            return;
        };
        // Four chunks; room for less than three of them.
        record_with(&small.join("trace"), 1 << 20, SqlPolicy::Text);
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        selects(&connection, 7000);
        let header = trace(&small.join("trace")).header;
        assert!(header.lost_space > 1000 && header.lost_space < header.head - 4096, "{header:?}");
        // Nothing is left now, and what was made ready takes every later store: written back, dropped from memory, and again.
        fill(&small, "rest");
        for _ in 0..3 {
            unsafe { libc::sync() };
            let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
            selects(&connection, 9000);
        }
        let read = trace(&small.join("trace"));
        assert!(read.header.head > 3 * read.header.capacity && read.records.len() > 4096, "{:?}", read.header);
        // Texts that find no room are named once there is some.
        for n in 0..200 {
            connection
                .prepare(&format!("SELECT v, {n}, '{}' FROM t", "x".repeat(1000)))
                .unwrap()
                .query([])
                .unwrap()
                .next()
                .unwrap();
        }
        assert!(trace(&small.join("trace")).header.lost_names > 100);
        std::fs::remove_file(small.join("rest")).unwrap();
        unsafe { libc::sync() };
        let again = std::time::Instant::now() + std::time::Duration::from_millis(150);
        while std::time::Instant::now() < again {
            selects(&connection, 100);
        }
        selects(&connection, 20_000);
        // They are made up for when something else is named, or a file is synced or closed.
        connection.execute_batch("SELECT count(*), 'another' FROM t").unwrap();
        let last = trace(&small.join("trace"));
        assert_eq!(last.header.lost_names, 0, "all were made up for");
        for n in 0..200 {
            assert_eq!(last.names.iter().filter(|line| line.contains(&format!("SELECT v, {n}, "))).count(), 1, "{n}");
        }
        assert_eq!((last.records.len() as u64, last.unreadable), (last.header.capacity, 0));
        drop(connection);
        assert!(std::process::Command::new("umount").args(["-l", "small"]).current_dir(dir).status().unwrap().success());
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("are being lost: No space left on device"));
    });
}

#[test]
fn a_full_ext4_never_faults_and_names_are_made_up_for() {
    a_full_image("mkfs.ext4", 24);
}

#[test]
fn a_full_xfs_never_faults_and_names_are_made_up_for() {
    a_full_image("mkfs.xfs", 320);
}

#[test]
fn a_disk_that_is_full_from_the_start_costs_one_line() {
    let body = |dir: &Path| {
        let Some(small) = small_disk(dir, 16 << 10) else {
            println!("{SKIPPED}");
            return;
        };
        record_into(&small.join("trace"));
        works_untouched(&dir.join("a.db"));
        assert_eq!(std::fs::read_dir(small.join("trace")).unwrap().count(), 0, "nothing half-made is left behind");
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("No space left on device"));
    });
}

#[test]
fn a_disk_that_was_full_at_the_start_is_recorded_to_when_there_is_room() {
    let body = |dir: &Path| {
        let Some(small) = small_disk(dir, 16 << 10) else {
            println!("{SKIPPED}");
            return;
        };
        record_into(&small.join("trace"));
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        // Several attempts; none leaves anything.
        selects(&connection, 3000);
        assert_eq!(std::fs::read_dir(small.join("trace")).unwrap().count(), 0, "nothing half-made is left behind");
        connection.execute_batch("CREATE TABLE u(v); INSERT INTO u VALUES (zeroblob(1000000))").unwrap();
        enlarge(&small);
        selects(&connection, 2000);
        connection.execute_batch("INSERT INTO u VALUES (1)").unwrap();
        let wrote = trace(&small.join("trace")).of(Kind::WROTE);
        assert!(!wrote.is_empty() && wrote.iter().all(|record| record.arg < 100_000), "only what was written since: {wrote:?}");
        selects(&connection, 1000);
        let trace = trace(&small.join("trace"));
        // All that was lost is counted: what came before there was room, and up to 1024 after that.
        assert!((6000..7100).contains(&trace.header.lost_space), "{:?}", trace.header);
        assert!(trace.header.head > 12_000, "{:?}", trace.header);
        assert_eq!(trace.header.head, trace.records.len() as u64 + trace.header.lost_space.max(trace.header.head - 4096));
        let last = trace.records.last().unwrap();
        assert_eq!((last.kind, last.file), (Kind::UNLOCK, trace.file("/a.db")));
    };
    alone(body, |dir, output| {
        if String::from_utf8_lossy(&output.stdout).contains(SKIPPED) {
            println!("{SKIPPED}");
            return quiet(dir, output);
        }
        assert!(one_note(dir, output).contains("No space left on device"));
    });
}
