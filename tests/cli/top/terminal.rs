//! `top` on a real terminal: programs that contend beside it, and keys that are typed.

use crate::place::lines::{DEADLINE, Lines, Program};
use crate::place::{Place, text};
use crate::sample;
use crate::top::tmux::Tmux;
use std::process::{Command, Stdio};
use std::time::Instant;

const TOP: &str = env!("CARGO_BIN_EXE_locktrace");

/// `locktrace top trace` on a terminal, what is left there when it ends, and its exit code.
fn top(place: &Place, size: (u16, u16), environment: &str) -> Option<Tmux> {
    Tmux::start(
        place,
        size,
        &format!("echo before; {environment} timeout --foreground 120 {TOP} top trace; echo ended $?; exec cat"),
    )
}

/// A writer in a transaction, and another that waits for it; the first process's number.
fn contended(place: &Place) -> (Program, Program) {
    let mut holder = Program::start(place, "a.db");
    holder.execute("CREATE TABLE orders(x)");
    let mut waiter = Program::start(place, "a.db");
    waiter.execute("SELECT * FROM orders");
    holder.execute("BEGIN IMMEDIATE");
    waiter.begin("INSERT INTO orders VALUES(1)");
    (holder, waiter)
}

/// The line of the screen with this text.
fn line<'a>(screen: &'a str, with: &str) -> &'a str {
    screen.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("{with}:\n{screen}"))
}

fn shows_both(screen: &str) -> bool {
    screen.contains("BEGIN IMM") && screen.contains("└ wants RESERVED") && screen.contains("INSERT")
}

#[test]
fn a_contended_program_and_the_keys() {
    let place = Place::new();
    let (mut holder, waiter) = contended(&place);
    // The lock was taken before top began, and nothing is recorded about it any more.
    let Some(tmux) = top(&place, (110, 24), "") else { return };
    let screen = tmux.until("both", shows_both);
    let holds = line(&screen, "BEGIN IMM");
    assert!(holds.contains("RESERVED") && holds.contains("blocks 1"), "{screen}");
    let words: Vec<&str> = holds.split_whitespace().collect();
    let pid = words[words.iter().position(|&word| word == "python3").unwrap() - 1].to_owned();
    assert!(line(&screen, "INSERT").contains(&format!("for {pid} c1")), "{screen}");
    assert!(screen.contains("2 processes, 2 open connections") && screen.contains("1 waiting"), "{screen}");
    let age = |screen: &str| line(screen, "BEGIN IMM").split(" RESERVED").next().unwrap().trim().to_owned();
    let first = age(&screen);
    tmux.until("a greater age", |screen| shows_both(screen) && age(screen) != first);

    tmux.keys(&["s"]);
    tmux.until("another order", |screen| screen.contains("s: age"));
    tmux.keys(&["/", "v", "a", "l", "u", "e", "s", "Enter"]);
    tmux.until("the filter", |screen| screen.contains("INSERT") && !screen.contains("BEGIN IMM"));
    tmux.keys(&["Escape"]);
    tmux.until("no filter", |screen| screen.contains("INSERT") && screen.contains("BEGIN IMM"));
    tmux.keys(&["s", "s", "s", "s", "Home", "Enter"]);
    let detail = tmux.until("the detail", |screen| screen.contains("holds       RESERVED for"));
    assert!(detail.contains("BEGIN IMMEDIATE") && detail.contains("blocks      1 connection"), "{detail}");
    assert!(line(&detail, "database").contains("/a.db"), "{detail}");
    tmux.keys(&["Escape"]);
    tmux.until("the list", shows_both);
    tmux.keys(&["?"]);
    tmux.until("the help", |screen| screen.contains("freeze, or go on"));
    tmux.keys(&["x"]);
    tmux.until("the list again", shows_both);
    tmux.resize(60, 20);
    tmux.until("the narrow one", |screen| {
        shows_both(screen) && screen.lines().count() == 20 && screen.lines().last().unwrap().starts_with("?: help")
    });

    tmux.keys(&["Space"]);
    tmux.until("frozen", |screen| screen.contains("FROZEN"));
    holder.execute("COMMIT");
    waiter.done();
    holder.execute("BEGIN EXCLUSIVE /* later */");
    assert!(shows_both(&tmux.screen(&[])), "it is frozen");
    tmux.keys(&["Space"]);
    let screen = tmux.until("the present", |screen| screen.contains("BEGIN EXCL"));
    assert!(line(&screen, "BEGIN EXCL").contains("EXCLUSIVE  ") && !screen.contains("INSERT"), "{screen}");

    // A process that is killed holds nothing any more.
    assert!(Command::new("/bin/kill").args(["-KILL", &pid]).status().unwrap().success());
    tmux.until("nothing held", |screen| screen.contains("nobody holds a lock"));
    tmux.keys(&["3"]);
    tmux.until("its end", |screen| screen.contains("ended hold") && screen.contains(&pid));
    tmux.keys(&["q"]);
    let screen = tmux.until("the end", |screen| screen.contains("ended 0"));
    assert!(screen.contains("before") && !screen.contains("locktrace top"), "the terminal is as it was:\n{screen}");
    waiter.end();
}

/// Makes the test below panic.
const PANICS: &str = "LOCKTRACE_TEST_PANICS";

/// What the next test runs in a terminal of its own.
#[test]
#[ignore = "the next test starts it as a child process"]
fn panics_on_a_terminal() {
    // Somebody ran all ignored tests.
    let Some(_) = std::env::var_os(PANICS) else { return };
    let _ = sqlite_locktrace::cli::top::terminal::within(|terminal| -> std::io::Result<()> {
        terminal.draw(|frame| frame.buffer_mut().set_string(0, 0, "drawn over all of it", ratatui::style::Style::new()))?;
        // The test has seen it.
        std::io::Read::read_exact(&mut std::io::stdin(), &mut [0])?;
        panic!("it went wrong");
    });
}

#[test]
fn a_panic_restores_the_terminal_and_is_read() {
    let place = Place::new();
    let own = std::env::current_exe().unwrap();
    let command = format!(
        "echo before; {PANICS}=1 RUST_BACKTRACE=0 timeout --foreground 120 {} --ignored --exact --nocapture top::terminal::panics_on_a_terminal; echo ended $?; exec cat",
        own.display()
    );
    let Some(tmux) = Tmux::start(&place, (90, 24), &command) else { return };
    let screen = tmux.until("what is drawn", |screen| screen.contains("drawn over all of it"));
    assert!(!screen.contains("before"), "{screen}");
    tmux.keys(&["Enter"]);
    let screen = tmux.until("the end", |screen| screen.contains("ended 101"));
    assert!(screen.contains("before") && screen.contains("it went wrong") && !screen.contains("drawn over"), "{screen}");
    // Line by line, and what is typed is echoed again.
    assert!(screen.lines().any(|line| line.starts_with("ended 101")), "{screen}");
    tmux.keys(&["e", "c", "h", "o", "e", "d"]);
    tmux.until("an echo", |screen| screen.contains("echoed"));
}

#[test]
fn signals_restore_the_terminal_and_no_color_is_heeded() {
    let place = Place::new();
    let (mut holder, waiter) = contended(&place);
    for (environment, end) in [("", "TERM"), ("NO_COLOR=1", "C-c")] {
        let Some(tmux) = top(&place, (90, 24), environment) else { return };
        tmux.until("both", shows_both);
        let colours = tmux.screen(&["-e"]);
        let coloured = colours.contains("\x1b[38;5;") || (31..37).any(|colour| colours.contains(&format!("\x1b[{colour}m")));
        assert_eq!(coloured, environment.is_empty(), "{colours:?}");
        if end == "TERM" {
            let found = Command::new("pgrep").args(["-f", &format!("^{TOP} top trace$")]).output().unwrap();
            let found = text(&found.stdout);
            let ours = found.lines().find(|pid| {
                std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place.path("").canonicalize().unwrap())
            });
            let pid = ours.map(str::to_owned).unwrap();
            assert!(Command::new("/bin/kill").args(["-TERM", &pid]).status().unwrap().success());
        } else {
            tmux.keys(&[end]);
        }
        tmux.until("the end", |screen| screen.contains("ended 0") && screen.contains("before"));
        // What is typed is echoed again.
        tmux.keys(&["e", "c", "h", "o", "e", "d"]);
        tmux.until("an echo", |screen| screen.contains("echoed"));
    }
    holder.execute("COMMIT");
    waiter.done();
    holder.end();
    waiter.end();
}

#[test]
fn text_where_there_is_no_terminal() {
    let place = Place::new();
    let (mut holder, waiter) = contended(&place);
    let until = Instant::now() + DEADLINE;
    loop {
        let output = place.locktrace(&["top", "trace", "--once"]);
        let shown = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        // While it tries it holds SHARED, for a moment at a time. And both have been at it for a while.
        if shows_both(&shown) && !shown.contains(", has") && !shown.contains("< 0.4 s") {
            let dir = place.path("").canonicalize().unwrap();
            sample::compare(
                "top",
                &shown.replace(dir.to_str().unwrap().trim_end_matches('/'), "/srv/shop").replace("a.db", "app.db"),
            );
            assert!(shown.contains("blocks 1") && shown.contains("/a.db") && !shown.contains('\x1b'), "{shown}");
            break;
        }
        assert!(Instant::now() < until, "{shown}");
    }
    // Block after block, until nobody reads.
    let mut command = place.command("sh");
    command.args(["-c", &format!("timeout 120 {TOP} top trace --interval 100ms | head -n 40")]).stdin(Stdio::null());
    let (shown, code) = Lines::of(&mut command).rest();
    assert_eq!((shown.len(), code), (40, Some(0)));
    assert!(shown.iter().filter(|line| line.contains("open connections")).count() > 1, "{shown:#?}");
    holder.execute("COMMIT");
    waiter.done();
    holder.end();
    waiter.end();
    let shown = text(&place.locktrace(&["top", "trace", "--once"]).stdout);
    assert!(shown.contains("0 processes") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn what_cannot_be_shown() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let output = place.locktrace(&["top", "file"]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("not a directory"), "{output:?}");
    let output = place.locktrace(&["top", "none", "--once"]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("there is nothing here"), "{output:?}");
    let output = place.locktrace(&["top", "none", "--for", "50ms", "--interval", "10ms"]);
    assert!(output.status.success() && text(&output.stdout).contains("none (not there yet): 0 processes"), "{output:?}");
    assert_eq!(place.locktrace(&["top", "--interval", "1ns"]).status.code(), Some(2));
    std::fs::create_dir(place.path("trace")).unwrap();
    std::fs::write(place.path("trace/1-1.ring"), "no ring").unwrap();
    let output = place.locktrace(&["top", "trace", "--for", "3s"]);
    assert!(output.status.success() && text(&output.stdout).contains("problem: "), "{output:?}");
}
