//! `locktrace run --top`: a panel below the output of a program that does not notice it.

use crate::place::{PYTHON, Place, text};
use crate::top::tmux::Tmux;

/// `locktrace run --top -o trace -- python3 -c CODE` on a terminal, with this after it (a redirection), and its exit code.
fn run(place: &Place, size: (u16, u16), code: &str, redirected: &str) -> Option<Tmux> {
    std::fs::write(place.path("program.py"), code).unwrap();
    let top = env!("CARGO_BIN_EXE_locktrace");
    Tmux::start(
        place,
        size,
        &format!(
            "stty -a > before; timeout --foreground 120 {top} run --top -o trace -- {PYTHON} program.py {redirected}; echo ended $?; \
             stty -a > after; echo settled; exec cat"
        ),
    )
}

const CONTENDED: &str = "
import os, sqlite3, sys, threading
print('terminals', [os.isatty(stream) for stream in range(3)], os.get_terminal_size(1).lines, os.tcgetpgrp(0) == os.getpgrp())
one = sqlite3.connect('a.db', isolation_level=None)
one.execute('CREATE TABLE t(x)')
one.execute('BEGIN IMMEDIATE')
def wait():
    two = sqlite3.connect('a.db', isolation_level=None, timeout=60)
    two.execute('INSERT INTO t VALUES(1)')
waiter = threading.Thread(target=wait)
waiter.start()
for n in range(100): print('line', n)
answer = input('go on? ')
one.execute('COMMIT')
waiter.join()
print('it was', answer, one.execute('SELECT * FROM t').fetchall())
sys.exit(7)
";

#[test]
fn the_program_goes_on_above_the_panel() {
    let place = Place::new();
    let Some(tmux) = run(&place, (100, 30), CONTENDED, "") else { return };
    // The panel has a third of 30 rows; the program's output scrolls in the other 20.
    let screen = tmux.until("the panel", |screen| screen.contains("└ wants RESERVED") && screen.contains("go on?"));
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[20].starts_with("locktrace  refused") && lines[20].contains("1 waiting"), "{screen}");
    assert!(lines[21].contains("/a.db") && lines[22].contains("BEGIN IMMEDIATE"), "{screen}");
    assert_eq!((lines[18], lines[19]), ("line 99", "go on?"), "{screen}");
    // Nothing of the output is lost: it is in the terminal's history.
    let all = tmux.screen(&["-S", "-"]);
    assert!(all.contains("terminals [True, True, True] 20 True"), "{all}");
    assert!((0..100).all(|n| all.lines().any(|line| line == format!("line {n}"))), "{all}");
    // More rows: more for both, and the program notices (its terminal's size, and SIGWINCH).
    tmux.resize(100, 36);
    tmux.until("the panel further down", |screen| {
        screen.lines().nth(24).is_some_and(|line| line.starts_with("locktrace  refused"))
    });
    tmux.resize(100, 30);
    tmux.until("and back", |screen| screen.lines().nth(20).is_some_and(|line| line.starts_with("locktrace  refused")));
    tmux.keys(&["y", "e", "s", "Enter"]);
    let screen = tmux.until("the end", |screen| screen.contains("settled"));
    assert!(screen.contains("it was yes [(1,)]") && screen.contains("ended 7"), "{screen}");
    assert!(
        !screen.contains("wants RESERVED") && screen.contains("locktrace: "),
        "the panel is gone, and the summary there:\n{screen}"
    );
    let settings = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(settings("before"), settings("after"));
    // And the region in which things scroll is the whole screen again.
    tmux.keys(&["l", "a", "s", "t"]);
    tmux.until("an echo", |screen| screen.contains("last"));
}

#[test]
fn keys_that_are_signals_and_output_that_goes_elsewhere() {
    let place = Place::new();
    let code = "
import os, sys
print('standard output', os.isatty(0), os.isatty(1), os.isatty(2), flush=True)
try:
    print('ready', file=sys.stderr, flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(9)
";
    let Some(tmux) = run(&place, (80, 24), code, "> out") else { return };
    tmux.until("the program and the panel", |screen| screen.contains("ready") && screen.contains("nobody has begun to record"));
    tmux.keys(&["C-c"]);
    let screen = tmux.until("the end", |screen| screen.contains("settled"));
    assert!(screen.contains("interrupted") && screen.contains("ended 9"), "{screen}");
    assert_eq!(std::fs::read_to_string(place.path("out")).unwrap(), "standard output True False True\n");
}

#[test]
fn a_program_that_cannot_be_started_and_a_terminal_that_is_none() {
    let place = Place::new();
    let output = place.locktrace(&["run", "--top", "--", PYTHON, "-c", "open('started', 'w')"]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("--top needs a terminal"), "{output:?}");
    assert!(!place.path("started").exists());
    std::fs::write(place.path("no-program"), "").unwrap();
    let top = env!("CARGO_BIN_EXE_locktrace");
    let command = format!("{top} run --top -- ./no-program; echo first $?; {top} run --top -- ./none; echo second $?; exec cat");
    let Some(tmux) = Tmux::start(&place, (80, 24), &command) else { return };
    let screen = tmux.until("both", |screen| screen.contains("second 127"));
    assert!(screen.contains("first 126") && screen.contains("no such program"), "{screen}");
}
