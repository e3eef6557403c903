//! The speed of the reader: records a second that are decoded, merged and analysed, and the cost of a whole `locktrace report`.
//!
//! `cargo build --release && cargo run --release --example read_speed -- [million records] [processes] [settings]` writes a synthetic trace
//! into a temporary directory (or into `dir=PATH`, which is kept, and used again as it is) and reads it back: decoded, merged, analysed, and as
//! `locktrace report` in a process of its own, as text and as JSON. It prints each median of CPU time with its spread, and the peak memory.
//! Settings: `refused=200` (one record in 200), `databases=2`, `statements=20`, `passing=0` (connections that are opened and closed), `runs=5`,
//! and `command=PATH`, once or more: the `locktrace` to measure, in turns.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod generate;

use generate::Shape;
use shim::format::record::{self, Record};
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn decode_only(dir: &Path) -> u64 {
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

fn measure(name: &str, runs: usize, count: u64, mut run: impl FnMut() -> (f64, String)) {
    print(name, count, (0..runs).map(|_| run()).collect());
}

fn print(name: &str, count: u64, mut times: Vec<(f64, String)>) {
    let runs = times.len();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rate = |seconds: f64| count as f64 / seconds / 1e6;
    let (median, note) = &times[runs / 2];
    println!(
        "{name:<24} {:>7.2} million records/s of CPU time ({:.2} to {:.2}) {note}",
        rate(*median),
        rate(times[runs - 1].0),
        rate(times[0].0)
    );
}

/// CPU seconds that this thread takes for it.
fn here(count: u64, run: impl FnOnce() -> u64) -> (f64, String) {
    let (start, wall) = (on_cpu(), Instant::now());
    assert_eq!(run(), count);
    (on_cpu().zip(start).map_or_else(|| wall.elapsed().as_secs_f64(), |(end, start)| end - start), String::new())
}

/// Seconds this thread has run on a core, so that other load of the machine counts less; `None` where the kernel does not show it.
fn on_cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<u64>().ok()? as f64 / 1e9)
}

/// CPU seconds that this command takes in a process of its own, all threads together, and the most memory it had.
fn there(command: &Path, arguments: &[&str]) -> (f64, String) {
    let wall = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 waits for it, and tells what it used")]
    let child = std::process::Command::new(command)
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; cargo build --release makes it", command.display()));
    let mut status = 0;
    // SAFETY: two valid pointers; the child is ours, and no other thread waits for it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut usage), child.id() as i32);
        usage
    };
    assert_eq!(status, 0, "{} {arguments:?}", command.display());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let note = format!("{:.1} s by the clock, {} MiB at most", wall.elapsed().as_secs_f64(), usage.ru_maxrss / 1024);
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), note)
}

fn main() {
    let (mut shape, mut runs, mut kept) =
        (Shape { records: 8_000_000, processes: 4, databases: 2, refused: 200, statements: 20, passing: 0 }, 5, None::<PathBuf>);
    let mut commands: Vec<PathBuf> = Vec::new();
    for (place, argument) in std::env::args().skip(1).enumerate() {
        let (name, value) = argument.split_once('=').unwrap_or((["millions", "processes"][place.min(1)], &argument));
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{argument}: expected a number"));
        match name {
            "millions" => shape.records = number() * 1_000_000,
            "processes" => shape.processes = number().max(1) as u32,
            "databases" => shape.databases = number() as u32,
            "refused" => shape.refused = number(),
            "statements" => shape.statements = number().max(1),
            "passing" => shape.passing = number(),
            "runs" => runs = number().max(1) as usize,
            "command" => commands.push(value.into()),
            "dir" => kept = Some(value.into()),
            _ => panic!("{name}: there is no such setting"),
        }
    }
    if commands.is_empty() {
        commands.push(std::env::current_exe().unwrap().parent().unwrap().join("../locktrace"));
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = kept.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).unwrap();
    if std::fs::read_dir(&dir).unwrap().next().is_none() {
        generate::write(&dir, shape);
    }
    let dir = dir.as_path();
    let count = Trace::open(dir).unwrap().logs().iter().map(|log| log.head).sum();
    println!("{count} records of {} processes", Trace::open(dir).unwrap().logs().len());
    measure("decode", runs, count, || here(count, || decode_only(dir)));
    measure("decode and merge", runs, count, || here(count, || Trace::open(dir).unwrap().events().unwrap().count() as u64));
    measure("decode, merge, analyse", runs, count, || {
        here(count, || {
            let trace = Trace::open(dir).unwrap();
            Analysis::of(&trace, Options::default()).unwrap().records
        })
    });
    let path = dir.to_str().unwrap();
    for arguments in [&["report", path][..], &["report", path, "--json"]] {
        let mut times = vec![Vec::new(); commands.len()];
        for run in 0..runs * commands.len() {
            times[run % commands.len()].push(there(&commands[run % commands.len()], arguments));
        }
        for (command, times) in commands.iter().zip(times) {
            let which = if commands.len() > 1 { command.display().to_string() } else { String::new() };
            print(&format!("{}{} {which}", arguments[0], arguments.get(2).map_or("", |_| " --json")), count, times);
        }
    }
}
