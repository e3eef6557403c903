//! The examples, run as they are, and what their traces show.

#[path = "../../examples/pool.rs"]
mod pool;
#[path = "../../examples/threads.rs"]
mod threads;
#[path = "../../examples/tracing_subscriber.rs"]
mod tracing_subscriber_;

use crate::common::alone;
use crate::sample;
use shim::event::Kind;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;
use std::path::Path;
use std::process::Output;

/// What it printed; it has to have ended well, and quietly.
fn printed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    assert_eq!(err, "");
    out.into_owned()
}

/// The statements of the refused attempts in this trace, and those that held the lock.
fn refused_and_holders(trace: &Path) -> Vec<(String, String)> {
    let trace = Trace::open(trace).unwrap();
    let names = &trace.logs()[0].names;
    let text = |hash: u64| names.sql(hash).map_or_else(String::new, |sql| sql.text.text.clone());
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let mut pairs: Vec<_> = analysis.refusals.iter().filter(|refusal| !refusal.candidates.is_empty()).collect();
    pairs.retain(|refusal| refusal.sql != 0);
    let mut pairs: Vec<_> = pairs.iter().map(|refusal| (text(refusal.sql), text(refusal.candidates[0].sql))).collect();
    pairs.dedup();
    pairs
}

#[test]
fn threads_say_which_thread_was_in_the_way() {
    alone(
        |_| threads::main().unwrap(),
        |dir, output| {
            assert!(printed(output).contains("SQLite says: database is locked"));
            let holders = refused_and_holders(&dir.join("threads-trace"));
            assert_eq!(holders, [("INSERT INTO t VALUES ('the one that fails')".to_owned(), "BEGIN IMMEDIATE".to_owned())]);
        },
    );
}

#[test]
fn a_pool_says_itself_which_connection_was_in_the_way() {
    alone(
        |_| pool::main().unwrap(),
        |dir, output| {
            let out = printed(output);
            assert!(out.contains("second request: database is locked"), "{out}");
            let line = out.lines().find(|line| line.starts_with("blocked by ")).unwrap_or_else(|| panic!("{out}"));
            assert!(line.contains(" holds SHARED, X WRITE, S READ") && line.ends_with(" since it ran BEGIN IMMEDIATE"), "{line}");
            assert!(
                out.contains(r#"too early: 3 databases are open through the VFS "locktrace"; close their connections first"#),
                "{out}"
            );
            let holders = refused_and_holders(&dir.join("pool-trace"));
            assert_eq!(holders, [("INSERT INTO orders VALUES ('a lamp')".to_owned(), "BEGIN IMMEDIATE".to_owned())]);
        },
    );
}

#[test]
fn a_program_that_logs_with_tracing_has_the_warning_in_its_request() {
    // Where the system interrupts the program while it looks for holders, the warning names nobody: run it again.
    for _ in 0..20 {
        let mut named = None;
        alone(|_| tracing_subscriber_::main().unwrap(), |dir, output| named = Some(logged_with_tracing(dir, output)));
        // In the process that ran the program, nothing was checked.
        if named != Some(false) {
            return;
        }
    }
    panic!("no run names the holder");
}

/// Whether the warning of the example with `tracing` names the holder; the rest of it has to be right.
fn logged_with_tracing(dir: &Path, output: &Output) -> bool {
    let out = printed(output);
    let line = out.lines().find(|line| line.contains("X WRITE refused")).unwrap_or_else(|| panic!("{out}"));
    if !line.contains("holder=") {
        return false;
    }
    for part in [" WARN request{id=2}: locktrace: X WRITE refused", "lock=X WRITE", "a lamp", ", BEGIN IMMEDIATE"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // Without the time in front, and with the thread's name that it has where it is run as an example. The kernel keeps 15 bytes of each.
    let thread = &std::thread::current().name().unwrap().to_owned()[..15];
    let shown = &line[line.find(" WARN ").unwrap()..];
    let directory = shown.split_once("database=").unwrap().1.split_once("shop.db").unwrap().0;
    sample::compare("tracing", &shown.replace(directory, "…/").replace(thread, "tracing_subscri"));
    assert!(out.contains("request{id=2}: ") && out.contains("not ordered: database is locked"), "{out}");
    let trace = Trace::open(&dir.join("tracing-trace")).unwrap();
    assert!(trace.events().unwrap().any(|event| event.record.kind == Kind::SHM_LOCK && event.record.rc.is_busy()));
    true
}
