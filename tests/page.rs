//! The page of `report --html`: what it says, that nothing a trace says is markup, how large it gets; and in a real browser, what it does.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

mod common;
#[path = "common/packages.rs"]
#[allow(dead_code, reason = "only what installs once is used here")]
mod packages;

use common::{Process, TICKS_PER_US, contended, expect};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn locktrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(arguments);
    for name in ["LOCKTRACE_DIR", "CLICOLOR_FORCE", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    command
}

fn good(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The page of a trace directory.
fn page(dir: &Path) -> String {
    good(locktrace(&["report", dir.to_str().unwrap(), "--html", "-"]).output().unwrap())
}

/// What stands between these two, the first time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    &text[start..start + text[start..].find(to).unwrap()]
}

/// The object that the script draws.
fn data(page: &str) -> Value {
    serde_json::from_str(between(page, r#"<script id="data" type="application/json">"#, "</script>")).unwrap()
}

/// Whether the page says this, tags aside.
fn says(page: &str, what: &str) -> bool {
    let mut text = String::new();
    let mut tag = false;
    for c in page[..page.find("<script").unwrap()].chars() {
        match c {
            '<' => tag = true,
            '>' => tag = false,
            c if !tag => text.push(c),
            _ => {}
        }
    }
    text.contains(what)
}

#[test]
fn a_page_says_what_the_report_says() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let found = page(dir.path());
    // Style, script and their hashes change with every change of theirs.
    let mut kept = found.clone();
    for (from, to) in [("<style>", "</style>"), ("<script>", "</script>"), ("Content-Security-Policy\" content=\"", "\"")] {
        kept = kept.replace(between(&found, from, to), "…");
    }
    let kept = kept.replace("><", ">\n<");
    expect("report.html", &kept);
    for address in ["http://", "https://", "//cdn", "@import", "url("] {
        assert!(!found.replace("http-equiv", "").contains(address), "{address}");
    }
}

#[test]
fn a_page_of_lines_is_the_page_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let lines = dir.path().join("export.jsonl");
    fs::write(&lines, good(locktrace(&["cat", dir.path().to_str().unwrap(), "--json"]).output().unwrap())).unwrap();
    assert_eq!(page(dir.path()), page(&lines));
    let piped = locktrace(&["report", "-", "--html", "-"]).stdin(fs::File::open(&lines).unwrap()).output().unwrap();
    assert_eq!(page(dir.path()), good(piped));
}

#[test]
fn what_is_written_where() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = dir.path().to_str().unwrap();
    let to = dir.path().join("out.html");
    let said = good(locktrace(&["report", trace, "--html", to.to_str().unwrap()]).output().unwrap());
    assert!(said.starts_with(&format!("The page is in {}, ", to.display())) && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_to_string(&to).unwrap(), page(dir.path()));
    let nowhere = locktrace(&["report", trace, "--html", "/nowhere/at/all.html"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/at/all.html.partial: cannot be written"), "{nowhere:?}");
    assert_eq!(locktrace(&["report", trace, "--html", "-", "--json"]).output().unwrap().status.code(), Some(2));
    // Whoever reads the page has had enough of it.
    let mut child = locktrace(&["report", trace, "--html", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn open_shows_the_page() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let trace = dir.path().to_str().unwrap();
    let open = || {
        let mut command = locktrace(&["open", trace]);
        command.env("TMPDIR", &temporary);
        command
    };
    // No display: only the place is said, and nobody else can read it.
    let said = good(open().output().unwrap());
    let path = PathBuf::from(between(&said, "The page is in ", ";"));
    assert!(said.contains("there is no display") && path.starts_with(&temporary), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), page(dir.path()));

    // The first browser that starts gets it; the one that is not there is passed over.
    let (browser, seen) = (dir.path().join("browser"), dir.path().join("seen"));
    let seen_part = dir.path().join("seen.part");
    let script = format!("#!/bin/sh\nprintf %s \"$*\" > '{0}' && mv '{0}' '{1}'\n", seen_part.display(), seen.display());
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let list = format!("/no/such/browser:{} --new %s", browser.display());
    let said = good(open().env("BROWSER", list).output().unwrap());
    assert!(said.contains(&format!("; {} opens it", browser.display())), "{said}");
    // It is not waited for: it is here soon.
    let found = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::read_to_string(&seen).ok()
    });
    assert_eq!(found.unwrap(), format!("--new {}", between(&said, "The page is in ", ";")));

    // None starts.
    let said = good(open().env("BROWSER", "/no/such/browser").env("PATH", "/nowhere").output().unwrap());
    assert!(said.contains("open it in a browser (/no/such/browser: "), "{said}");
}

/// Names that are everything but names.
fn hostile(dir: &Path) {
    let name = "</script><script>window.pwned=1;alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;\u{202e}\u{2028}\u{2029}\x1b[2J\n<!--";
    let mut process = Process::new(100);
    process.thread(101, name).thread(102, name);
    process.names.retain(|line| !line.contains("app.db") && !line.contains("\"process\""));
    let text = Value::from(name);
    process.name(format!(r#"{{"t":"process","v":1,"pid":100,"ppid":1,"exe":{text},"argv":[{text},{text}],"cwd":"/","host":{text},"uid":0,"started":"17979cfe362a0000","forked":false,"policy":"text"}}"#));
    process.name(format!(
        r#"{{"t":"file","file":1,"lib":0,"path":{},"path_bytes":"2f64ff3c7363726970743e","dev":1,"ino":1,"fs":{text}}}"#,
        Value::from(format!("/d\u{fffd}{name}"))
    ));
    process
        .run("10 c1 X WRITE\n100 c2 X WRITE=BUSY\n110+1000 c2 sleep 1000\n1200 c2 X WRITE=BUSY\n2000 c1 U WRITE\n2300 c2 SHARED");
    for (record, sql) in process.records.iter_mut().zip([7, 8].into_iter().cycle()) {
        record.sql = sql;
    }
    let long = format!("{name} {}", "x".repeat(1_000_000));
    process.name(format!(r#"{{"t":"sql","sql":"0000000000000007","text":{text},"len":9}}"#));
    process.name(format!(r#"{{"t":"sql","sql":"0000000000000008","text":{},"len":{}}}"#, Value::from(long.as_str()), long.len()));
    process.write(dir);
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    hostile(dir.path());
    let found = page(dir.path());
    assert_eq!(found.matches("<script").count(), 2, "the data's and ours");
    assert_eq!(found.matches("</script").count(), 2);
    assert!(!found.contains("<img") && !found.contains("<!--"));
    let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2028}' | '\u{2029}');
    assert!(!found.contains(bad), "{:?}", found.chars().find(|&c| bad(c)));
    assert!(found.len() < 200_000, "a statement of a megabyte is cut: {}", found.len());
    let data = data(&found);
    assert!(data["sql"].as_array().unwrap().iter().any(|sql| sql[1].as_u64() > Some(1_000_000)), "and its length is said");
    assert!(data["threads"]["0:101"].as_str().unwrap().contains("</script>"));
}

#[test]
fn every_trace_gives_a_true_page() {
    // No records.
    let dir = tempfile::tempdir().unwrap();
    Process::new(100).write(dir.path());
    let found = page(dir.path());
    assert!(says(&found, "There are no records in this trace"), "{found}");
    assert_eq!(data(&found)["rows"], Value::Array(Vec::new()));

    // Only losses.
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    process.run("10 c1 SHARED\n20 c1 U(NONE)");
    process.write(dir.path());
    let ring = dir.path().join(format!("{}.ring", process.id));
    let bytes = fs::read(&ring).unwrap();
    fs::write(&ring, &bytes[..4096]).unwrap();
    let found = page(dir.path());
    assert!(says(&found, "Records were lost") && says(&found, "2 missing from the file"), "{found}");

    // A clock that nobody can read, and no names at all.
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    process.header.last = None;
    process.names.clear();
    process.run("10 c1 X WRITE\n100 c2 X WRITE=BUSY\n200 c1 U WRITE");
    process.write(dir.path());
    let found = page(dir.path());
    assert!(says(&found, "the timeline counts ticks") && says(&found, "a database whose name was not recorded"), "{found}");
    let data_ = data(&found);
    assert_eq!((&data_["ticks"], &data_["origin_ms"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(data_["rows"][0]["pieces"][2].as_u64(), Some(190 * TICKS_PER_US));
}

#[test]
fn five_hundred_processes_make_a_page_that_shows_the_two_that_fight() {
    let dir = tempfile::tempdir().unwrap();
    for pid in 1..=500 {
        let mut process = Process::new(pid);
        process.header.capacity = 64;
        process.run("100 c1 S READ1 -- SELECT 1\n300 c1 U READ1\n400 c2 S READ1\n500 c2 U READ1");
        match pid {
            250 => drop(process.run("1000 c1 X WRITE -- BEGIN IMMEDIATE\n90000 c1 U WRITE")),
            499 => drop(process.run("2000 c1 X WRITE=BUSY -- DELETE FROM t\n2010 c1 U(NONE)")),
            _ => {}
        }
        process.write(dir.path());
    }
    let found = page(dir.path());
    assert!(found.len() < 1_000_000, "{}", found.len());
    let data = data(&found);
    let rows = data["rows"].as_array().unwrap();
    assert!((300..=403).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows.iter().map(|row| row["connections"].as_u64().unwrap()).sum::<u64>(), 1000, "every connection is in some row");
    assert_eq!(rows.iter().map(|row| row["holds"].as_u64().unwrap()).sum::<u64>(), 1001);
    let incident = &data["incidents"][0];
    let process = |row: &Value| {
        let row = &rows[row.as_u64().unwrap() as usize];
        data["processes"][row["process"].as_u64().unwrap() as usize].as_str().unwrap().to_owned()
    };
    assert_eq!(process(&incident["row"]), "pid 499 app --serve");
    assert_eq!(process(&incident["blockers"][0]["row"]), "pid 250 app --serve");
    assert!(says(&found, "are drawn together") && says(&found, "700 connections"), "{found}");
}

/// Two connections that write in turns, so many records in all, with a fight in the middle and another at the end.
fn big(dir: &Path, records: usize) {
    let mut process = Process::new(100);
    process.run(
        "1+1 c1 S READ1 -- INSERT INTO t VALUES (?1)\n3+1 c1 X WRITE -- INSERT INTO t VALUES (?1)\n9+1 c1 wrote wal 4120
         11 c1 U WRITE\n13 c1 U READ1\n15+1 c2 S READ2 -- SELECT v FROM t\n17 c2 U READ2\n18+1 c3 S READ2\n19 c3 U READ2",
    );
    let round = std::mem::take(&mut process.records);
    let shifted = |from: usize, count: usize| {
        let round = &round;
        (from..from + count).flat_map(move |turn| {
            round.iter().map(move |record| locktrace::format::record::Record {
                start: record.start + turn as u64 * 20 * TICKS_PER_US,
                ..*record
            })
        })
    };
    let half = records / round.len() / 2;
    let mut all: Vec<_> = shifted(0, half).collect();
    let at = |turn: usize| turn * 20;
    process.run(&format!(
        "{} c1 X WRITE -- UPDATE big SET a = 1\n{} c2 X WRITE=BUSY -- DELETE FROM big\n{} c1 U WRITE",
        at(half) + 5,
        at(half) + 9,
        at(half + 50)
    ));
    all.append(&mut process.records);
    all.extend(shifted(half + 51, half));
    process.records = all;
    process.header.last = Some(common::anchor_at(at(2 * half + 60) as u64));
    process.write(dir);
}

#[test]
fn a_long_trace_makes_a_short_page() {
    let dir = tempfile::tempdir().unwrap();
    big(dir.path(), 300_000);
    let found = page(dir.path());
    assert!(found.len() < 2_000_000, "{} bytes", found.len());
    let data = data(&found);
    assert_eq!(data["complete"], Value::Bool(false));
    assert!(says(&found, "holds are drawn as density"), "what is aggregated is said");
    // What is drawn and what is not are all that there are.
    let shown: u64 = data["rows"].as_array().unwrap().iter().map(|row| row["pieces"].as_array().unwrap().len() as u64 / 8).sum();
    let number = |text: &str| text.replace(',', "").trim().parse::<u64>().unwrap();
    let about = between(&found, "<p id=\"aggregated\">", "</p>");
    let (dense, one_by_one) = (number(about.split(' ').next().unwrap()), number(between(about, "density; ", " are shown")));
    assert_eq!(one_by_one, shown);
    assert_eq!(dense + one_by_one, 4 * (300_000 / 9 / 2) * 2 + 1);
    // The fight in the middle is there whole: its holds, and those round it.
    let incident = &data["incidents"][0];
    assert_eq!(incident["blockers"][0]["until"].as_u64().unwrap() - incident["blockers"][0]["from"].as_u64().unwrap(), 995_000);
    let window = &data["windows"][0];
    let (from, until) = (window[0].as_u64().unwrap(), window[0].as_u64().unwrap() + window[1].as_u64().unwrap());
    let row = &data["rows"].as_array().unwrap().iter().find(|row| row["name"] == "c3").unwrap();
    let mut at = 0;
    let pieces = row["pieces"].as_array().unwrap().chunks(8);
    let inside = pieces.filter(|piece| {
        at += piece[1].as_u64().unwrap();
        (from..until).contains(&at)
    });
    let turns = (until - from) / 20_000;
    let inside = inside.count() as u64;
    assert!(
        (turns.saturating_sub(52)..=turns).contains(&inside) && inside > 10,
        "{inside} of {turns} turns, 50 of which are the fight"
    );
}

#[test]
fn many_statements_are_cut_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    let mut scenario = String::new();
    for i in 0..20_000 {
        scenario.push_str(&format!(
            "{} c1 X WRITE -- UPDATE t SET a = {i}, b = '{}'\n{} c1 U WRITE\n",
            10 + i * 10,
            "y".repeat(300),
            15 + i * 10
        ));
    }
    process.run(&scenario);
    process.write(dir.path());
    let found = page(dir.path());
    assert!(found.len() < 6_000_000, "{} bytes", found.len());
    assert!(says(&found, "are cut short, because there are so many"));
    assert_eq!(data(&found)["sql"].as_array().unwrap().len(), 20_001);
}

#[test]
fn in_a_browser() {
    if !Path::new("/usr/bin/chromium").exists() {
        return packages::skipped("/usr/bin/chromium (Debian's chromium) is not there");
    }
    let list = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/package.json")).unwrap();
    let probe = ["node", "-e", "require('playwright-core'), require('axe-core')"];
    let modules = packages::once("browser", &list, &probe, |home| {
        fs::write(home.join("package.json"), &list).map_err(|error| error.to_string())?;
        packages::succeed(Command::new("timeout").args(["300", "npm", "install", "--no-audit", "--no-fund"]).current_dir(home))
    });
    let modules = match modules {
        Ok(modules) => modules,
        Err(why) => return packages::skipped(&format!("the packages of tests/page/package.json are not there: {why}")),
    };
    let dir = tempfile::tempdir().unwrap();
    type Make = fn(&Path);
    let made: [(&str, Make); 5] = [
        ("contended", contended),
        ("hostile", hostile),
        ("idle", |dir| Process::new(100).run("100 c1 SHARED -- SELECT 1\n5000 c1 U(NONE)").write(dir)),
        ("empty", |dir| Process::new(100).write(dir)),
        ("big", |dir| big(dir, 300_000)),
    ];
    // To look at them by hand: the pages stay in this directory.
    let kept = std::env::var_os("LOCKTRACE_TEST_PAGES").map(PathBuf::from);
    let mut command = Command::new("timeout");
    command.args(["240", "node"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.mjs")).arg(modules);
    for (name, make) in made {
        let pages = kept.as_deref().unwrap_or(dir.path());
        let (trace, to) = (dir.path().join(name), pages.join(format!("{name}.html")));
        fs::create_dir(&trace).unwrap();
        make(&trace);
        fs::write(&to, page(&trace)).unwrap();
        command.arg(format!("{name}={}", to.display()));
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [&*output.stdout, &*output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
