//! Pages of traces that have nothing in them, and of traces that have far too much.

use crate::common::{Process, TICKS_PER_US};
use crate::{between, data, page, says, traces};
use serde_json::Value;

#[test]
fn every_trace_gives_a_true_page() {
    // No records.
    let dir = tempfile::tempdir().unwrap();
    traces::empty(dir.path());
    let found = page(dir.path());
    assert!(says(&found, "There are no records in this trace"), "{found}");
    assert_eq!(data(&found)["rows"], Value::Array(Vec::new()));

    // Only losses.
    let dir = tempfile::tempdir().unwrap();
    traces::lost(dir.path());
    let found = page(dir.path());
    assert!(says(&found, "Every record of this trace is lost") && says(&found, "2 missing from the file"), "{found}");
    assert!(says(&found, "No record is left that could show it."), "{found}");
    assert!(!says(&found, "was held") && !says(&found, "blocked another"), "nobody knows: {found}");

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
    traces::processes(dir.path(), 500);
    let found = page(dir.path());
    assert!(found.len() < 1_000_000, "{}", found.len());
    let data = data(&found);
    let rows = data["rows"].as_array().unwrap();
    assert!((300..=403).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows.iter().map(|row| row["connections"].as_u64().unwrap()).sum::<u64>(), 1002, "every connection is in some row");
    assert_eq!(rows.iter().map(|row| row["holds"].as_u64().unwrap()).sum::<u64>(), 1001);
    // In the row that stands for most of them first connections read, of one half of the processes second ones then, and of the other half last.
    let most = rows.iter().max_by_key(|row| row["connections"].as_u64().unwrap()).unwrap();
    let reading = most["density"][0][1].as_str().unwrap();
    let stretches = reading.split('A').filter(|held| !held.is_empty()).count();
    assert_eq!((&most["density"][0][0], stretches), (&Value::from(0), 3), "{reading}");
    let incident = &data["incidents"][0];
    let process = |row: &Value| {
        let row = &rows[row.as_u64().unwrap() as usize];
        data["processes"][row["process"].as_u64().unwrap() as usize].as_str().unwrap().to_owned()
    };
    assert_eq!(process(&incident["row"]), "pid 499 app --serve");
    let blocker = &incident["blockers"][0]["row"];
    assert_eq!(process(blocker), "pid 250 app --serve");
    assert_eq!(rows[blocker.as_u64().unwrap() as usize]["name"], "c3", "it has a row of its own, however little it did");
    assert!(says(&found, "are drawn together") && says(&found, "702 connections"), "{found}");
}

#[test]
fn a_long_trace_makes_a_short_page() {
    let dir = tempfile::tempdir().unwrap();
    traces::big(dir.path(), 300_000);
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
fn of_ten_thousand_incidents_the_worst_are_listed_and_some_of_each_cause() {
    let dir = tempfile::tempdir().unwrap();
    traces::incidents(dir.path(), 10_000);
    let found = page(dir.path());
    let data = data(&found);
    assert_eq!(data["incidents"].as_array().unwrap().len(), 1_000);
    assert!(says(&found, "Of 10,000 incidents the 1,000 worst are drawn.") && says(&found, "9,000 more are in the sums above"));
    let of = |cause: &str| data["incidents"].as_array().unwrap().iter().filter(|incident| incident["cause"] == cause).count();
    let causes = ["hold-exceeds-timeout", "no-busy-timeout", "unexplained"];
    assert!(causes.iter().all(|cause| of(cause) >= 25), "{:?}", causes.map(of));
    assert_eq!(causes.iter().map(|cause| of(cause)).sum::<usize>(), 1_000);
    // All of them show where they were: there is no bin without one, to the end.
    let (bins, refused) = (&data["bins"], data["refused"].as_str().unwrap());
    let last = (data["length"].as_u64().unwrap() - bins[0].as_u64().unwrap()) / bins[1].as_u64().unwrap();
    assert!(refused.len() as u64 >= last && !refused.contains('A'), "{} bins of {last}: {refused}", refused.len());
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
