//! Drawings in a buffer. `UPDATE_EXPECTED=1 cargo test --test cli top::` writes the drawings of tests/expected again.

use crate::common::Process;
use crate::top::{after, trace_of};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use sqlite_locktrace::cli::top::screen::{Screen, Wish};
use sqlite_locktrace::cli::top::view::plain;
use sqlite_locktrace::trace::Trace;
use std::path::Path;

/// The screen of this size after these keys, how things stand being as after `trace` at `us`.
fn drawn(trace: &Trace, us: u64, (width, height): (u16, u16), keys: &[KeyCode]) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut screen = Screen::new(Path::new("trace"), true);
    screen.take(after(trace, us).1, true, None);
    terminal.draw(|frame| screen.draw(frame, trace)).unwrap();
    for &key in keys {
        assert_eq!(screen.key(KeyEvent::from(key)), Wish::Stay, "{key:?}");
        terminal.draw(|frame| screen.draw(frame, trace)).unwrap();
    }
    text(&terminal)
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += (unicode_width::UnicodeWidthStr::width(symbol) as u16).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(
        found,
        std::fs::read_to_string(&path).unwrap(),
        "{name}: UPDATE_EXPECTED=1 cargo test --test cli top:: writes it again"
    );
}

/// A writer that three wait for, one of them through another.
fn contended() -> [Process; 2] {
    let mut a = Process::new(100);
    a.thread(101, "web-1").run(
        "100 c1 open\n 110 c1 map\n 120 c1 SHARED
         1000 c1 S READ1  -- BEGIN IMMEDIATE
         1010 c1 X WRITE  -- UPDATE orders SET state = 'paid' WHERE id = ?1
         1020 c1 wrote wal 4120",
    );
    let mut b = Process::new(200);
    b.thread(101, "worker").thread(102, "checkpointer").run(
        "200 c1 open\n 210 c1 map\n 220 c1 SHARED
         2000 c1 S READ2       -- SELECT * FROM orders
         2010 c1 X WRITE=BUSY  -- INSERT INTO orders VALUES(?1, ?2)
         2020+10000 c1 sleep 10000
         12100 c1 X WRITE=BUSY -- INSERT INTO orders VALUES(?1, ?2)
         230 c2 open\n 240 c2 map\n 250 c2 SHARED
         3000 c2 X CKPT        -- PRAGMA wal_checkpoint(RESTART)
         3010 c2 X READ2=BUSY  -- PRAGMA wal_checkpoint(RESTART)
         3020+8000 c2 sleep 8000
         11100 c2 X READ2=BUSY -- PRAGMA wal_checkpoint(RESTART)",
    );
    b.database(2, "/data/other.db", 43).run("300 c3 open\n 4000 c3 SHARED -- SELECT 2");
    [a, b]
}

#[test]
fn an_empty_directory() {
    let mut a = Process::new(100);
    a.header.capacity = 16;
    let (_dir, trace) = trace_of(&[&a]);
    expect("top-empty.txt", &drawn(&trace, 1_000_000, (100, 10), &[]));
}

#[test]
fn one_holder() {
    let mut a = Process::new(100);
    a.run("100 c1 open\n 1000 c1 SHARED -- BEGIN IMMEDIATE\n 1010 c1 RESERVED -- BEGIN IMMEDIATE");
    let (_dir, trace) = trace_of(&[&a]);
    expect("top-holder.txt", &drawn(&trace, 3_001_012, (100, 12), &[]));
}

#[test]
fn a_chain_in_every_size() {
    let [a, b] = contended();
    let (_dir, trace) = trace_of(&[&a, &b]);
    let at = 100_000;
    expect("top-chain.txt", &drawn(&trace, at, (120, 16), &[]));
    expect("top-chain-60x20.txt", &drawn(&trace, at, (60, 20), &[]));
    for size in [(1, 1), (3, 2), (20, 3), (59, 5), (10, 50), (400, 7)] {
        let drawn = drawn(&trace, at, size, &[KeyCode::Down, KeyCode::Enter, KeyCode::Esc, KeyCode::Char('?')]);
        assert_eq!(drawn.lines().count(), usize::from(size.1));
    }
    let (mut out, snapshot) = (Vec::new(), after(&trace, at).1);
    plain::write(&snapshot, &trace, "trace", 100, &mut out).unwrap();
    expect("top-plain.txt", &String::from_utf8(out).unwrap());
}

#[test]
fn keys_order_filter_and_show_more() {
    use KeyCode::{Char, Down, Enter, Esc, Tab};
    let [a, b] = contended();
    let (_dir, trace) = trace_of(&[&a, &b]);
    let shown = |keys: &[KeyCode]| drawn(&trace, 100_000, (120, 16), keys);
    let statements = |screen: &str| -> Vec<String> {
        let rows =
            screen.lines().skip_while(|line| !line.contains("statement")).skip(1).take_while(|line| !line.contains("?: help"));
        rows.filter(|line| !line.is_empty()).map(|line| line[line.rfind(": ").unwrap() + 2..].chars().take(6).collect()).collect()
    };
    assert_eq!(statements(&shown(&[])), ["UPDATE", "INSERT", "PRAGMA", "SELECT"]);
    assert_eq!(statements(&shown(&[Char('s')])), ["UPDATE", "INSERT", "PRAGMA", "SELECT"], "by age");
    assert_eq!(statements(&shown(&[Char('s'), Char('r')])), ["SELECT", "PRAGMA", "INSERT", "UPDATE"], "reversed");
    assert_eq!(statements(&shown(&[Char('s'); 4])), ["INSERT", "PRAGMA", "SELECT", "UPDATE"], "by statement");
    let filter = |text: &str| [vec![Char('/')], text.chars().map(Char).collect(), vec![Enter]].concat();
    for (text, found) in [
        ("insert", vec!["INSERT"]),
        ("INSERT", vec!["INSERT"]),
        ("--serve", vec!["UPDATE", "INSERT", "PRAGMA", "SELECT"]),
        ("other.db", vec!["SELECT"]),
        ("200 ", vec!["INSERT", "PRAGMA", "SELECT"]),
        ("web-1", vec!["UPDATE"]),
    ] {
        assert_eq!(statements(&shown(&filter(text))), found, "{text}");
    }
    assert!(shown(&filter("nothing like it")).contains("nothing matches the filter"));
    assert_eq!(statements(&shown(&[filter("insert"), vec![Esc]].concat())).len(), 4);
    expect("top-detail.txt", &drawn(&trace, 100_000, (80, 30), &[Down, Down, Enter]));
    expect("top-databases.txt", &drawn(&trace, 100_000, (100, 8), &[Tab]));
    expect("top-processes.txt", &drawn(&trace, 100_000, (100, 8), &[Char('3')]));
    expect("top-help.txt", &drawn(&trace, 100_000, (100, 24), &[Char('?')]));
}

#[test]
fn frozen_is_what_it_was() {
    let [a, b] = contended();
    let (_dir, trace) = trace_of(&[&a, &b]);
    let dir = tempfile::tempdir().unwrap();
    let live = sqlite_locktrace::cli::top::view::live::LiveTrace::new(dir.path());
    let mut terminal = Terminal::new(TestBackend::new(100, 12)).unwrap();
    let mut screen = Screen::new(Path::new("trace"), false);
    screen.take(after(&trace, 100_000).1, true, None);
    screen.key(KeyEvent::from(KeyCode::Char(' ')));
    screen.update(&live);
    terminal.draw(|frame| screen.draw(frame, &trace)).unwrap();
    assert!(text(&terminal).contains("FROZEN") && text(&terminal).contains("X WRITE"), "{}", text(&terminal));
    screen.key(KeyEvent::from(KeyCode::Char(' ')));
    screen.update(&live);
    terminal.draw(|frame| screen.draw(frame, &trace)).unwrap();
    assert!(!text(&terminal).contains("FROZEN") && !text(&terminal).contains("X WRITE"), "{}", text(&terminal));
}

/// A lock that is taken and given up all the time: what is known of it is a moment old, and says nothing about how long it is held.
#[test]
fn what_began_a_moment_ago_has_no_age() {
    use sqlite_locktrace::cli::top::view::lines::lasting;
    let mut a = Process::new(100);
    a.run("100 c1 open\n 1000 c1 SHARED -- hot\n 1010 c1 RESERVED -- hot");
    let (_dir, trace) = trace_of(&[&a]);
    let shown = |us| drawn(&trace, us, (100, 10), &[]);
    assert!(shown(390_000).contains("< 0.4 s  RESERVED"), "{}", shown(390_000));
    assert!(shown(401_012).contains(" 400 ms  RESERVED"), "{}", shown(401_012));
    for (ns, seen, says) in
        [(Some(0), true, "< 0.4 s"), (Some(0), false, "?"), (None, true, "?"), (Some(5_000_000_000), false, "≥ 5.0 s")]
    {
        assert_eq!(lasting(ns, seen), says);
    }
    let detail = drawn(&trace, 390_000, (100, 20), &[KeyCode::Enter]);
    assert!(detail.contains("RESERVED for < 0.4 s"), "{detail}");
}

#[test]
fn five_hundred_processes() {
    let mut processes = vec![Process::new(1_000)];
    processes[0].run("100 c1 open\n 1000 c1 SHARED -- BEGIN IMMEDIATE\n 1010 c1 RESERVED -- BEGIN IMMEDIATE");
    for number in 1..500 {
        let mut process = Process::new(1_000 + number);
        let at = 2_000 + u64::from(number);
        process.run(&format!(
            "200 c1 open\n {at} c1 SHARED -- UPDATE t{number} SET x = 1\n {} c1 RESERVED=BUSY -- UPDATE t{number} SET x = 1\n {}+1000 c1 sleep 1000",
            at + 5,
            at + 10
        ));
        processes.push(process);
    }
    let (_dir, trace) = trace_of(&processes.iter().collect::<Vec<_>>());
    expect("top-500.txt", &drawn(&trace, 50_000, (100, 16), &[]));
    // The last one comes into sight, and one can go on from there.
    let end = drawn(&trace, 50_000, (100, 16), &[KeyCode::End]);
    assert!(end.contains("UPDATE t499 ") && end.contains("of 500"), "{end}");
    let up = drawn(&trace, 50_000, (100, 16), &[KeyCode::Char('G'), KeyCode::PageUp]);
    assert!(!up.contains("UPDATE t499 "), "{up}");
}

#[test]
fn hostile_names_stay_text() {
    let mut a = Process::new(100);
    a.thread(101, "\x1b[31mred\u{202e}").database(2, "/tmp/\x1b]0;title\x07/\u{202e}bd.表\n.db", 43);
    a.run("100 c1 open\n 1000 c1 SHARED -- S\n 1010 c1 RESERVED -- S");
    let hash = a.records.last().unwrap().sql;
    let text = serde_json::Value::from(format!("SELECT '\x1b[2J\x07\u{9b}31m 表表\u{202e}' {}", "x".repeat(100_000)));
    a.names.retain(|line| !line.contains("\"t\":\"sql\""));
    a.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":{text},"len":100100}}"#));
    let (_dir, trace) = trace_of(&[&a]);
    for keys in [&[][..], &[KeyCode::Enter], &[KeyCode::Char('2')], &[KeyCode::Char('3')]] {
        for width in [60, 100, 200] {
            let drawn = drawn(&trace, 2_000, (width, 24), keys);
            assert!(!drawn.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{drawn:?}");
        }
    }
    expect("top-hostile.txt", &drawn(&trace, 2_000, (100, 10), &[]));
}

#[test]
fn without_colours_there_are_none() {
    let [a, b] = contended();
    let (_dir, trace) = trace_of(&[&a, &b]);
    for colours in [false, true] {
        let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
        let mut screen = Screen::new(Path::new("trace"), colours);
        screen.take(after(&trace, 100_000).1, true, Some("a problem"));
        terminal.draw(|frame| screen.draw(frame, &trace)).unwrap();
        let coloured = terminal.backend().buffer().content.iter().any(|cell| cell.fg != ratatui::style::Color::Reset);
        assert_eq!(coloured, colours);
    }
}
