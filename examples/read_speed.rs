//! How many records a second the reader decodes, merges and analyses.
//!
//! `cargo run --release --example read_speed -- [million records] [processes]` writes a synthetic trace (WAL writers and readers, now and then a
//! refused one) into a temporary directory, reads it back three ways, and prints each median of five with its spread and the peak memory.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{EPOCH, Process, TICKS_PER_US};
use locktrace::format::record::{self, Record};
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;
use std::time::Instant;

/// One write transaction in WAL mode, one read beside it, and a refused writer.
const ROUND: &str = "
    1+1  c1 S READ1        -- INSERT INTO t VALUES (?1)
    3+1  c1 X WRITE        -- INSERT INTO t VALUES (?1)
    5+1  c2 S READ1        -- SELECT v FROM t WHERE id = ?1
    7+1  c2 U READ1        -- SELECT v FROM t WHERE id = ?1
    9+1  c1 wrote wal 4120
    11+1 c1 U WRITE        -- INSERT INTO t VALUES (?1)
    13+1 c1 U READ1        -- INSERT INTO t VALUES (?1)
    15+1 c2 S READ2        -- SELECT v FROM t WHERE id = ?1
    17+1 c2 U READ2";

fn write(dir: &std::path::Path, pid: u32, count: usize, apart: u64) {
    let mut process = Process::new(pid);
    process.run(ROUND);
    let round = std::mem::take(&mut process.records);
    process.records = (0..count)
        .map(|i| {
            let record = round[i % round.len()];
            // The processes take turns: no two hold WRITE at once.
            let start = record.start + ((i / round.len()) as u64 * apart + u64::from(pid)) * 20 * TICKS_PER_US;
            Record { start, ..record }
        })
        .collect();
    // Neighbours change places now and then, as when a thread is preempted before its claim.
    for i in (0..count.saturating_sub(8)).step_by(97) {
        process.records.swap(i, i + 5);
    }
    let last = process.records.last().unwrap().start;
    let us = (last - EPOCH.ticks) / TICKS_PER_US;
    process.header.last = Some(common::anchor_at(us));
    process.write(dir);
}

fn decode_only(dir: &std::path::Path) -> u64 {
    let mut good = 0;
    let mut buffer = vec![0; 1 << 20];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ring") {
            continue;
        }
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::open(path).unwrap();
        let (mut offset, mut number) = (4096, 0);
        loop {
            let have = file.read_at(&mut buffer, offset).unwrap();
            if have == 0 {
                break;
            }
            for bytes in buffer[..have].as_chunks::<{ record::SIZE }>().0 {
                good += u64::from(std::hint::black_box(Record::decode(bytes, number)).is_ok());
                number += 1;
            }
            offset += have as u64;
        }
    }
    good
}

fn measure(name: &str, count: u64, mut run: impl FnMut() -> u64) {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let (start, wall) = (on_cpu(), Instant::now());
            assert_eq!(run(), count);
            on_cpu().zip(start).map_or_else(|| wall.elapsed().as_secs_f64(), |(end, start)| end - start)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let rate = |seconds: f64| count as f64 / seconds / 1e6;
    println!("{name:<24} {:>7.1} million records/s of CPU time ({:.1} to {:.1})", rate(times[2]), rate(times[4]), rate(times[0]));
}

/// Seconds this thread has run on a core, so that what else the machine does counts less; `None` where the kernel does not tell.
fn on_cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<u64>().ok()? as f64 / 1e9)
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown").to_owned()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let count = arguments.next().unwrap_or(8) * 1_000_000;
    let processes = arguments.next().unwrap_or(4);
    // READ_SPEED_DIR keeps the trace for a second run, whose memory is the reader's alone.
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("READ_SPEED_DIR").map(std::path::PathBuf::from);
    let dir = kept.unwrap_or_else(|| temporary.path().to_owned());
    if std::fs::read_dir(&dir).unwrap().next().is_none() {
        for pid in 1..=processes {
            write(&dir, pid as u32, count / processes, processes as u64);
        }
    }
    let dir = dir.as_path();
    let count = Trace::open(dir).unwrap().logs().iter().map(|log| log.head).sum();
    println!(
        "{count} records of {} processes in {}; before reading, {}",
        Trace::open(dir).unwrap().logs().len(),
        dir.display(),
        peak_memory()
    );
    measure("decode", count, || decode_only(dir));
    measure("decode and merge", count, || Trace::open(dir).unwrap().events().unwrap().count() as u64);
    measure("decode, merge, analyse", count, || {
        let trace = Trace::open(dir).unwrap();
        Analysis::of(&trace, Options::default()).unwrap().records
    });
    println!("after reading, {}", peak_memory());
}
