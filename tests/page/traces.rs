//! Traces that pages are made of: each is written into a directory that is there.

use crate::common::{Process, TICKS_PER_US, anchor_at};
use serde_json::Value;
use std::path::Path;

/// Names that are everything but names.
pub fn hostile(dir: &Path) {
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

/// Two connections that write in turns, so many records in all, with a fight in the middle and another at the end.
pub fn big(dir: &Path, records: usize) {
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
    process.header.last = Some(anchor_at(at(2 * half + 60) as u64));
    process.write(dir);
}
