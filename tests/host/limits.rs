//! Limits of a process, and storms of signals and children: a traced SQLite withstands what a bare one does.

use crate::harness::{Host, With, equal};
use std::fs;

const BOTH: [With; 2] = [With::Run, With::Extension];

/// With less and less address space something fails sooner or later, but never by a signal, and nothing is said.
#[test]
fn little_address_space_is_left() {
    let Some(host) = Host::of(&["limits"]) else { return };
    for kib in [0, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768] {
        let words = ["limits", "memory", &kib.to_string()];
        let bare = host.run(With::Nothing, &words);
        assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""), "{kib} KiB: {}", bare.seen.out);
        for with in BOTH {
            let mut traced = host.run(with, &words);
            // Recording may use some of it: what the program is left with is to be said in the documentation, and is less than this.
            if kib < 16384 && bare.seen.out != traced.seen.out {
                assert!(
                    ["all well\nchild: exited\n", "some failed\nchild: exited\n", "some failed\nchild: none\n"]
                        .contains(&&*traced.seen.out),
                    "{kib} KiB, {with:?}: {:?}",
                    traced.seen
                );
                traced.seen.out.clone_from(&bare.seen.out);
            }
            traced.seen.files.clone_from(&bare.seen.files);
            equal(&format!("{kib} KiB left, {with:?}"), &bare, &traced);
        }
    }
}

/// The limit is there before the program starts: the loader and the recorder's start have to do with it.
#[test]
fn a_program_starts_with_little_address_space() {
    let Some(host) = Host::of(&["limits"]) else { return };
    for mib in [6, 8, 10, 12, 16, 20, 24, 32, 64, 128] {
        let limited = format!("ulimit -c 0 -v {}; exec \"$@\" </dev/null >out 2>err", mib << 10);
        let run = |with: With| {
            let (dir, trace) = host.place();
            let mut command = host.command("sh");
            // The library is preloaded by hand: `locktrace run` itself needs more than the smallest of these.
            command.args(["-c", &limited, "sh", "env"]);
            if with == With::Run {
                command.arg(format!("LD_PRELOAD={}", host.extension().display()));
            }
            command.arg(format!("LOCKTRACE_DIR={}", trace.display())).arg(host.program("limits")).arg("cpu").current_dir(&dir);
            let (status, said) = host.finish(&mut command);
            let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
            (status.map(|status| status.to_string()), read("out"), read("err"), said)
        };
        let (bare, traced) = (run(With::Nothing), run(With::Run));
        if bare.1 == "0 went wrong\n" && mib >= 16 {
            assert_eq!(bare, traced, "{mib} MiB");
        } else {
            // The loader itself may say that it cannot load a library. A signal is no way to end.
            assert!(
                bare.0 == traced.0 || !traced.0.as_ref().unwrap().contains("signal"),
                "{mib} MiB: bare {bare:?}, traced {traced:?}"
            );
            assert!(
                !traced.2.contains("panic") && !traced.2.contains("memory allocation"),
                "{mib} MiB: bare {bare:?}, traced {traced:?}"
            );
        }
    }
}

#[test]
fn files_may_not_become_large() {
    let Some(host) = Host::of(&["limits"]) else { return };
    for kib in ["40", "100", "300", "1000", "4095", "4096", "5000"] {
        let bare = host.run(With::Nothing, &["limits", "files", kib]);
        assert_eq!((bare.seen.code, &*bare.seen.err), if kib == "40" { (bare.seen.code, "") } else { (0, "") });
        for with in BOTH {
            equal(&format!("{kib} KiB, {with:?}"), &bare, &host.run(with, &["limits", "files", kib]));
        }
    }
}

#[test]
fn other_limits() {
    let Some(host) = Host::of(&["limits"]) else { return };
    for how in ["no-processes", "cpu", "core"] {
        host.same(&BOTH, &["limits", how]);
    }
}

#[test]
fn threads_with_the_smallest_stacks_that_sqlite_can_do_with() {
    let Some(host) = Host::of(&["limits"]) else { return };
    let least = |with: With| {
        let ran = host.run(with, &["limits", "stacks"]);
        assert_eq!((ran.seen.code, &*ran.seen.err), (0, ""), "{with:?}");
        let kib = fs::read_to_string(ran.dir.join("least")).unwrap();
        kib.trim().parse::<u64>().unwrap()
    };
    let bare = least(With::Nothing);
    for with in BOTH {
        let traced = least(with);
        assert!(traced <= bare + 4, "{with:?}: SQLite needs {bare} KiB of stack, and {traced} KiB when recorded");
    }
}

fn storm(how: &str) {
    let Some(host) = Host::of(&["storms"]) else { return };
    host.same(&BOTH, &["storms", how]);
}

#[test]
fn signals_for_every_thread_on_stacks_of_their_own() {
    storm("signals");
}

#[test]
fn a_timer_interrupts_calls() {
    storm("timer");
}

#[test]
fn the_process_is_stopped_and_continued() {
    storm("stops");
}

#[test]
fn children_fork_while_threads_work() {
    storm("forks");
}

#[test]
fn threads_come_and_go() {
    storm("exits");
}
