//! A filter of system calls that kills: the recorder makes only calls that a program with SQLite makes itself.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, quiet, selects, trace, works_untouched};
use rusqlite::Connection;
use std::path::Path;

/// What SQLite's unix VFS and the C library's heap and exit make of a program.
const ALLOWED: [i64; 27] = [
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_newfstatat,
    libc::SYS_mprotect,
    libc::SYS_fchown,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_getpid,
    libc::SYS_getcwd,
    libc::SYS_geteuid,
    libc::SYS_fcntl,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_access,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_futex,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit_group,
];

/// From here on, any other call kills the process.
fn seal() {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in ALLOWED {
        filter.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32));
        filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) }, 0);
}

fn sealed(dir: &Path, mode: &str, record: bool) {
    std::fs::create_dir(dir.join("trace")).unwrap();
    if record {
        common::record_with(&dir.join("trace"), 1 << 20, locktrace::recorder::config::SqlPolicy::Text);
    }
    seal();
    works_untouched(&dir.join("a.db"));
    let connection = Connection::open(dir.join("a.db")).unwrap();
    connection.execute_batch(&format!("PRAGMA journal_mode={mode}")).unwrap();
    let other = Connection::open(dir.join("a.db")).unwrap();
    other.busy_timeout(std::time::Duration::from_millis(5)).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    connection.execute_batch("COMMIT").unwrap();
    // More than a lap.
    selects(&connection, 12_000);
    unsafe { libc::_exit(0) };
}

fn in_child(mode: &'static str, record: bool) {
    let body = |dir: &Path| {
        let child = unsafe { libc::fork() };
        if child == 0 {
            sealed(dir, mode, record);
        }
        let mut status = -1;
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "killed by signal 31: by a system call");
        if !record {
            return;
        }
        let read = trace(&dir.join("trace"));
        assert_eq!((read.header.pid, read.unreadable), (child as u32, 0));
        assert_eq!((read.header.lost_space, read.header.lost_names), (0, 0));
        assert!(read.header.head > 20_000, "{:?}", read.header);
        assert_eq!(read.records.len() as u64, read.header.capacity);
        assert!(read.records.iter().all(|record| record.tid == child as u32));
        // The kernel keeps 15 bytes of the name that the test harness gave the thread.
        let name = &std::thread::current().name().unwrap().to_owned()[..15];
        let thread = format!(r#"{{"t":"thread","tid":{child},"name":"{name}"#);
        assert!(read.names.iter().any(|line| line.starts_with(&thread)), "{:?}", read.names);
        for named in ["BEGIN IMMEDIATE", "/a.db", "sqlite"] {
            assert!(read.names.iter().any(|line| line.contains(named)), "{named}: {:?}", read.names);
        }
    };
    alone(body, quiet);
}

#[test]
fn sealed_bare() {
    in_child("DELETE", false);
}

#[test]
fn sealed_bare_wal() {
    in_child("WAL", false);
}

#[test]
fn sealed_recorded() {
    in_child("DELETE", true);
}

#[test]
fn sealed_recorded_wal() {
    in_child("WAL", true);
}
