//! Five hundred live processes, each with a log, and a hundred thousand statements: `top` shows all of them at the first look.
//!
//! `LOCKTRACE_FLEET_SECONDS=20 LOCKTRACE_FLEET_COMMAND=target/release/locktrace cargo test --test cli fleet -- --nocapture` prints what
//! looking at them costs for that long.

use crate::common::Process;
use crate::place::lines::Lines;
use crate::place::{PYTHON, Place, text};
use shim::format::sql_hash;
use std::process::{Command, Stdio};
use std::time::Instant;

const PROCESSES: usize = 500;

/// Statements of each process, none of them another's.
const STATEMENTS: usize = 200;

/// The processes, and what keeps them alive.
struct Fleet {
    lines: Lines,
    place: Place,
}

/// Each has one connection to one of fifty databases; one process in ten is in a write transaction.
fn fleet() -> Fleet {
    let place = Place::new();
    std::fs::create_dir(place.path("trace")).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/fleet.py");
    let mut command = Command::new(PYTHON);
    command.arg(program).arg(place.path("trace")).arg(PROCESSES.to_string());
    let mut lines = Lines::of(command.stdin(Stdio::piped()));
    let numbers = lines.until("the numbers of the processes", |line| line.split(' ').count() == PROCESSES);
    for (index, pid) in numbers.split(' ').enumerate() {
        let mut process = Process::new(pid.parse().unwrap());
        let database = index % 50;
        process.names.pop();
        process.database(1, &format!("/data/app{database}.db"), database as u64 + 1);
        match index {
            0..50 => process.run(&format!("100 c1 open\n200 c1 SHARED\n210 c1 RESERVED -- UPDATE t{index} SET x = 1")),
            _ => process.run(&format!("100 c1 open\n{} c1 SHARED -- SELECT {index}", 1_000 + index)),
        };
        for number in 0..STATEMENTS {
            let text =
                format!("SELECT a, b, c FROM t{number} WHERE id = {index} AND state = 'open' ORDER BY created DESC LIMIT 20");
            let (hash, len) = (sql_hash(text.as_bytes()), text.len());
            process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{text}","len":{len}}}"#));
        }
        process.write(&place.path("trace"));
    }
    let input = lines.child.stdin.as_mut().unwrap();
    std::io::Write::write_all(input, b"go\n").unwrap();
    lines.until("that they have mapped their logs", |line| line == "ready");
    Fleet { lines, place }
}

#[test]
fn five_hundred_idle_processes() {
    let mut fleet = fleet();
    let output = fleet.place.locktrace(&["top", "trace", "--once"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("500 processes, 500 open connections"), "{shown}");
    assert!(shown.contains("and 400 more connections"), "{shown}");
    for (what, count) in [("RESERVED", 50), ("/data/app", 50)] {
        assert_eq!(shown.lines().filter(|line| line.contains(what)).count(), count, "{what}: {shown}");
    }
    if let Some(seconds) = std::env::var("LOCKTRACE_FLEET_SECONDS").ok().and_then(|seconds| seconds.parse::<u32>().ok()) {
        let command = std::env::var("LOCKTRACE_FLEET_COMMAND").unwrap_or_else(|_| env!("CARGO_BIN_EXE_locktrace").to_owned());
        let run = |arguments: &[&str]| {
            let (before, start) = (children(), Instant::now());
            let mut command = fleet.place.command(&command);
            assert!(command.args(["top", "trace", "--plain"]).args(arguments).stdout(Stdio::null()).status().unwrap().success());
            (children() - before, start.elapsed())
        };
        let (first, took) = run(&["--once"]);
        let (cpu, time) = run(&["--interval", "200ms", "--for", &format!("{seconds}s")]);
        let share = (cpu - first) / (time.saturating_sub(took)).as_secs_f64() * 100.0;
        eprintln!("the first look takes {took:?}, {first:.2} s of CPU time; from then on {share:.1} % of a core");
    }
    drop(fleet.lines.child.stdin.take());
    assert_eq!(fleet.lines.rest().1, Some(0));
}

/// The CPU time of all children that have ended, in seconds: proc_pid_stat(5), in hundredths.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[13..15].iter().map(|field| field.parse::<f64>().unwrap() / 100.0).sum()
}
