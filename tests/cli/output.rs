//! The command line: what it prints, where, and with which exit code.
#![allow(clippy::unwrap_used)]

use crate::common::{Process, contended, expect};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn locktrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(arguments).env_remove("LOCKTRACE_DIR").env_remove("CLICOLOR_FORCE");
    command
}

fn run(arguments: &[&str]) -> Output {
    locktrace(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn golden() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").to_str().unwrap().to_owned()
}

#[test]
fn cat_and_report_print_what_they_should() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let path = dir.path().to_str().unwrap();
    for (name, arguments) in [
        ("cat.txt", &["cat", path][..]),
        ("cat.jsonl", &["cat", path, "--json"]),
        ("report.txt", &["report", path]),
        ("report.json", &["report", path, "--json"]),
        ("explain.txt", &["explain", path, "--incident", "1"]),
        ("report-longest.txt", &["report", path, "--all", "--longest", "1"]),
    ] {
        let output = run(arguments);
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{name}");
        let text = stdout(&output).replace(path, "TRACE");
        expect(name, &text);
        if name.ends_with(".txt") {
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{name} is one screen wide");
            assert!(!text.contains('\x1b'), "{name} has no colours in a pipe");
        }
    }
}

#[test]
fn explain_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let path = dir.path().to_str().unwrap();
    // Without a number: an error before any wait.
    assert!(stdout(&run(&["explain", path])).starts_with("Incident 2 of 3: unexplained; the application saw an error"));
    let export = dir.path().join("export.jsonl");
    std::fs::write(&export, run(&["cat", path, "--json"]).stdout).unwrap();
    assert_eq!(stdout(&run(&["explain", path])), stdout(&run(&["explain", export.to_str().unwrap()])));
    for how in [&[][..], &["--all"], &["--list"], &["--incident", "3"]] {
        let piped = locktrace(&[&["explain", "-"], how].concat()).stdin(std::fs::File::open(&export).unwrap()).output().unwrap();
        assert_eq!(stdout(&piped), stdout(&run(&[&["explain", path], how].concat())), "{how:?}");
        assert_eq!(piped.status.code(), Some(0));
    }
    // All of them, each as it is shown alone; a list with one line for each; and what there is beside the worst is said.
    let alone: Vec<String> = ["1", "2", "3"].map(|number| stdout(&run(&["explain", path, "--incident", number]))).into();
    assert_eq!(stdout(&run(&["explain", path, "--all"])), alone.join("\n"));
    let list = stdout(&run(&["explain", path, "--list"]));
    let numbers: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["1", "2", "3"], "{list}");
    assert!(list.contains("got it  hold-exceeds-timeout  INSERT INTO orders") && list.contains(" <- BEGIN IMMEDIATE"), "{list}");
    assert!(
        stdout(&run(&["explain", path]))
            .ends_with("This is the worst of 3; 2 more incidents: --list lists them, --all explains them all.\n")
    );
    for (arguments, says) in [
        (&["explain", path, "--incident", "4"][..], "the trace has 3; --list lists them"),
        (&["explain", path, "--incident", "0"], "0 is not in"),
        (&["explain", path, "--incident", "1", "--all"], "cannot be used with"),
        (&["explain", path, "--all", "--list"], "cannot be used with"),
    ] {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(says)), (Some(2), true), "{arguments:?}: {error}");
    }
    std::fs::remove_file(dir.path().join(format!("{}.ring", Process::new(200).id))).unwrap();
    assert!(stdout(&run(&["explain", path])).starts_with("There is no incident in this trace"));
}

#[test]
fn check_holds_a_trace_against_limits() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let path = dir.path().to_str().unwrap();
    let check = |limits: &[&str]| {
        let output = run(&[&["check", path], limits].concat());
        (output.status.code().unwrap(), stdout(&output))
    };
    for (limits, code, says) in [
        (&[][..], 1, "no-gave-up: incident 2: unexplained"),
        (&["--allow", "unexplained"], 0, "within all limits"),
        (&["--max-wait", "5ms"], 1, "max-wait: incident 1: hold-exceeds-timeout: pid 200"),
        (&["--max-wait", "5ms"], 1, "BEGIN IMMEDIATE"),
        (&["--max-wait", "1s"], 0, "within"),
        (
            &["--max-hold", "1ms"],
            1,
            "max-hold: /data/app.db: pid 100 thread 101 web-1 c1 held X WRITE for 8.80 ms: BEGIN IMMEDIATE",
        ),
        (&["--max-hold", "10ms"], 0, "within"),
        (&["--no-refusals", "--allow", "unexplained"], 1, "no-refusals: incident 1"),
        (&["--no-refusals", "--allow", "unexplained", "--allow", "hold-exceeds-timeout"], 0, "within"),
        (&["--no-hazards"], 0, "within"),
        (&["--max-hold", "soon"], 2, ""),
        (&["--allow", "bad-luck"], 2, ""),
    ] {
        let (found, text) = check(limits);
        assert_eq!(found, code, "{limits:?}: {text}");
        assert!(text.contains(says), "{limits:?}: {text}");
    }
    // Records are lost: what is seen is beyond a limit, or it is not known.
    let ring = dir.path().join(format!("{}.ring", Process::new(200).id));
    let mut bytes = std::fs::read(&ring).unwrap();
    bytes[4096 + 64 * 5 + 9] ^= 1;
    std::fs::write(&ring, bytes).unwrap();
    let (code, text) = check(&["--max-hold", "10ms"]);
    assert_eq!((code, text.contains("cannot decide: log 200-")), (2, true), "{text}");
    assert_eq!(check(&["--max-hold", "1ms"]).0, 1);
    assert_eq!(run(&["check", "/nowhere/at/all"]).status.code(), Some(2));
}

#[test]
fn the_report_on_an_export_is_the_report_on_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    // With losses and problems, which the export must carry too.
    let ring = dir.path().join(format!("{}.ring", Process::new(200).id));
    let bytes = std::fs::read(&ring).unwrap();
    std::fs::write(&ring, &bytes[..4096 + 64 * 12 + 7]).unwrap();
    std::fs::write(dir.path().join("9-9.names"), "").unwrap();
    let path = dir.path().to_str().unwrap();
    let export = dir.path().join("export.jsonl");
    std::fs::write(&export, run(&["cat", path, "--json"]).stdout).unwrap();
    for more in [&["--json"][..], &[]] {
        let direct = run(&[&["report", path], more].concat());
        let exported = run(&[&["report", export.to_str().unwrap()], more].concat());
        let piped = locktrace(&[&["report", "-"], more].concat()).stdin(std::fs::File::open(&export).unwrap()).output().unwrap();
        assert_eq!(direct.status.code(), Some(0));
        assert!(stdout(&direct).contains("torn tail"), "{}", stdout(&direct));
        // But for the commands that they print: each names its trace.
        let unnamed =
            |output: &Output, name: &str| stdout(output).replace(&format!("locktrace explain {name} "), "locktrace explain ");
        let direct = unnamed(&direct, path);
        assert_eq!(direct, unnamed(&exported, export.to_str().unwrap()));
        assert_eq!(direct, unnamed(&piped, "-"));
    }
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    let hostile = "\x1b[2J<script>alert(\"x\")</script>\n\x1b]0;pwned\x07'--\u{202e}\u{9b}31m";
    process.thread(101, hostile).database(1, "/data/first-wins.db", 42);
    process.names.retain(|line| !line.contains("app.db") && !line.contains("first-wins"));
    let path = serde_json::Value::from(format!("/data/{hostile}\u{fffd}.db"));
    process.name(format!(r#"{{"t":"file","file":1,"lib":0,"path":{path},"path_bytes":"2f64ff","dev":1,"ino":1,"fs":null}}"#));
    process.run("10 c1 X WRITE\n100 c2 X WRITE=BUSY\n200 c1 U WRITE");
    for record in &mut process.records {
        record.sql = 7;
    }
    process.name(format!(r#"{{"t":"sql","sql":"0000000000000007","text":{},"len":9}}"#, serde_json::Value::from(hostile)));
    process.write(dir.path());
    let dir = dir.path().to_str().unwrap();
    for verb in ["cat", "report"] {
        let output = run(&[verb, dir]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0));
        assert!(text.contains("\\u{1b}[2J"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text:?}");
        let json = run(&[verb, dir, "--json"]);
        let objects: Vec<serde_json::Value> = match verb {
            "cat" => stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            _ => vec![serde_json::from_slice(&json.stdout).unwrap()],
        };
        assert!(objects.iter().any(|object| object["text"] == hostile || object["refusals"][0]["text"] == hostile));
    }
}

#[test]
fn exit_codes_and_messages() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    for (arguments, says) in [
        (&["cat", "/nowhere/at/all"][..], "LOCKTRACE_DIR"),
        (&["report", empty], "extension"),
        (&["report", "--no-such-option"], "--no-such-option"),
        (&["no-such-verb"], "no-such-verb"),
    ] {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    for arguments in [&["--help"][..], &["cat", "--help"], &["report", "--help"], &["--version"]] {
        assert_eq!(run(arguments).status.code(), Some(0));
    }
    let all = stdout(&run(&["--help"]));
    assert!(all.contains("Exit codes"));
    let verbs = all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).collect();
    for verb in verbs.iter().filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help") {
        let help = stdout(&run(&[verb, "--help"]));
        assert!(help.contains("\nExamples:\n") && help.contains("\nExit codes:\n"), "{verb}: {help}");
    }
    assert!(verbs.len() > 10, "{all}");
}

#[test]
fn the_trace_is_found_where_the_environment_says() {
    let output = locktrace(&["cat"]).env("LOCKTRACE_DIR", golden()).output().unwrap();
    assert_eq!(stdout(&output).lines().count(), 10);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("locktrace-trace")).unwrap();
    contended(&dir.path().join("locktrace-trace"));
    let output = locktrace(&["cat"]).current_dir(dir.path()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 22));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(1);
    process.run("10 c1 SHARED");
    let record = process.records[0];
    // Far more than a pipe holds.
    process.records = vec![record; 50_000];
    process.write(dir.path());
    for arguments in [&["cat"][..], &["cat", "--json"]] {
        let mut child = locktrace(arguments).arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_exact(&mut first).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    }
}

#[test]
fn incidents_that_are_not_kept_are_counted_and_their_numbers_explained() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (Process::new(100), Process::new(200));
    a.run("100 c1 S READ1 -- BEGIN IMMEDIATE\n110 c1 X WRITE -- BEGIN IMMEDIATE");
    for i in 0..200 {
        let at = 1_000 + i * 1_000;
        b.run(&format!("{at} c1 S READ1 -- INSERT\n{} c1 X WRITE=BUSY -- INSERT\n{} c1 U READ1", at + 10, at + 20));
        b.run(&format!("{} c1 S READ2 -- SELECT\n{} c1 U READ2 -- SELECT", at + 30, at + 40));
    }
    a.write(dir.path());
    b.write(dir.path());
    let path = dir.path().to_str().unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&stdout(&run(arguments))).unwrap() };
    let all = json(&["report", path, "--json"]);
    let few = json(&["report", path, "--json", "--incidents", "9"]);
    for key in ["causes", "statements", "refused", "harmless", "worst_holder"] {
        assert_eq!(all[key], few[key], "{key}");
    }
    assert_eq!((all["incidents_not_listed"].as_u64(), few["incidents_not_listed"].as_u64()), (None, Some(191)));
    assert_eq!((few["refusals"].as_array().unwrap().len(), few["refusals_not_listed"].as_u64()), (9, Some(191)));
    let text = stdout(&run(&["report", path, "--incidents", "9"]));
    assert!(text.contains("9 incidents are listed") && text.contains("191 more"), "{text}");
    let proof = text.lines().find_map(|line| line.trim().strip_prefix("proof      locktrace ")).unwrap();
    assert!(proof.ends_with("--incidents 9"), "{proof}");
    // As the report says it; and a number that is not there says what to do.
    let told = run(&proof.split(' ').collect::<Vec<_>>());
    assert!(stdout(&told).contains("of the 9 that are kept, of 200 in all"), "{told:?}");
    let missing = run(&["explain", path, "--incident", "10", "--incidents", "9"]);
    let error = String::from_utf8(missing.stderr).unwrap();
    assert!(!missing.status.success() && error.contains("9 are kept") && error.contains("--incidents 200"), "{error}");
    assert!(run(&["explain", path, "--incident", "200", "--incidents", "200"]).status.success());
}

/// What is said of a whole trace is said of what is left of it, where records were overwritten.
#[test]
fn what_was_overwritten_is_said_first() {
    let dir = tempfile::tempdir().unwrap();
    let refused = "100 c1 X WRITE -- INSERT a\n200 c2 X WRITE=BUSY -- INSERT b\n210 c2 U READ1\n900 c1 U WRITE\n";
    let reads: String =
        (0..20).map(|n| format!("{} c1 S READ1 -- SELECT\n{} c1 U READ1\n", 2_000_000 + n * 20, 2_000_010 + n * 20)).collect();
    let mut process = Process::new(100);
    process.run(&format!("{refused}{reads}"));
    process.write(dir.path());
    let path = dir.path().to_str().unwrap();
    let first = |arguments: &[&str]| stdout(&run(arguments)).lines().next().unwrap().to_owned();
    assert_eq!(first(&["report", path]), "The application saw `database is locked` 1 time");
    assert_eq!(first(&["audit", path]), "No violation found. 21 holds judged; 0 databases used by more than one process.");
    // The error is gone.
    process.header.capacity = 16;
    process.write(dir.path());
    let gone = "since 2023-11-14T22:13:23Z; 28 earlier records were overwritten";
    assert_eq!(first(&["report", path]), format!("No error is known {gone}"));
    assert_eq!(
        first(&["explain", path]),
        format!("There is no incident in this trace: no refusal that an application could see {gone}.")
    );
    let audit = run(&["audit", path]);
    assert!(stdout(&audit).starts_with("No violation found in the records that are left; 28 are missing."), "{audit:?}");
    assert_eq!(audit.status.code(), Some(2));
    assert_eq!(run(&["audit", path, "--kept"]).status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_str(&stdout(&run(&["audit", path, "--json"]))).unwrap();
    assert_eq!((json["lost"].as_u64(), json["overwritten"].as_u64()), (Some(28), Some(28)));
    // An error is left, and there may have been more.
    let mut process = Process::new(100);
    process.run(&format!("{reads}{}", refused.lines().map(|line| format!("3000{line}\n")).collect::<String>()));
    process.header.capacity = 16;
    process.write(dir.path());
    let found = first(&["report", path]);
    assert_eq!(found, "The application saw `database is locked` at least 1 time; 28 earlier records were overwritten");
}
