//! Traces of which pages are made. Each function writes one into an existing directory.

use crate::common::{Process, TICKS_PER_US, anchor_at};
use serde_json::Value;
use shim::event::Kind;
use shim::format::record::Record;
use shim::format::sql_hash;
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

/// One process that read twice and blocked nobody.
pub fn idle(dir: &Path) {
    Process::new(100).run("100 c1 SHARED -- SELECT 1\n5000 c1 U(NONE)\n90000 c1 SHARED -- SELECT 1\n90400 c1 U(NONE)").write(dir);
}

/// A process that opened nothing.
pub fn empty(dir: &Path) {
    Process::new(100).write(dir);
}

/// A snapshot that a commit made stale, long before it was to become a writer's.
pub fn stale(dir: &Path) {
    Process::new(100)
        .run(
            "10 c1 open\n11 c1 map\n12 c1 SHARED\n20 c2 open\n21 c2 map\n22 c2 SHARED
             100 c2 S READ1 -- SELECT n FROM stock
             200 c1 S READ2 -- UPDATE stock SET n = 0\n210 c1 X WRITE -- UPDATE stock SET n = 0
             220 c1 wrote wal 4120\n900 c1 U WRITE\n910 c1 U READ2
             900000 c2 X WRITE -- UPDATE stock SET n = n - 1\n900010 c2 U WRITE -- UPDATE stock SET n = n - 1\n900100 c2 U READ1",
        )
        .write(dir);
}

/// A ring of which only the header is left.
pub fn lost(dir: &Path) {
    let mut process = Process::new(100);
    process.run("10 c1 SHARED\n20 c1 U(NONE)");
    process.write(dir);
    std::fs::write(dir.join(format!("{}.ring", process.id)), &process.ring()[..4096]).unwrap();
}

/// So many processes with two connections each, of which two fight.
pub fn processes(dir: &Path, count: u32) {
    for pid in 1..=count {
        let mut process = Process::new(pid);
        process.header.capacity = 64;
        let at = 400 + pid % 2 * 200;
        process.run(&format!("100 c1 S READ1 -- SELECT 1\n300 c1 U READ1\n{at} c2 S READ1\n{} c2 U READ1", at + 100));
        if pid == count / 2 {
            // It does less than any other connection.
            process.run("1990 c3 X WRITE -- BEGIN IMMEDIATE\n2050 c3 U WRITE");
        } else if pid == count - 1 {
            process.run("2000 c3 X WRITE=BUSY -- DELETE FROM t\n2010 c3 U(NONE)");
        }
        process.write(dir);
    }
}

/// These calls again, so many microseconds later.
fn later(calls: &[Record], us: u64) -> impl Iterator<Item = Record> + '_ {
    calls.iter().map(move |record| Record { start: record.start + us * TICKS_PER_US, ..*record })
}

/// So many fights among a hundred connections: of three one is lost without a busy timeout, one after it, and one is won.
pub fn incidents(dir: &Path, count: u64) {
    let mut process = Process::new(100);
    let wins = "360 c2 S READ1 -- INSERT INTO orders VALUES (?1, ?2)\n370 c2 X WRITE -- INSERT INTO orders VALUES (?1, ?2)\n400 c2 U WRITE\n410 c2 U READ1";
    process.run(&format!(
        "0 c1 S READ1 -- BEGIN IMMEDIATE\n3 c1 X WRITE -- UPDATE stock SET n = n - 1 WHERE id = ?1
         10 c2 S READ1 -- INSERT INTO orders VALUES (?1, ?2)\n20 c2 X WRITE=BUSY -- INSERT INTO orders VALUES (?1, ?2)\n30 c2 U READ1
         40+100 c2 sleep 100
         150 c2 S READ1 -- INSERT INTO orders VALUES (?1, ?2)\n160 c2 X WRITE=BUSY -- INSERT INTO orders VALUES (?1, ?2)\n170 c2 U READ1
         180+170 c2 sleep 170
         300 c1 U WRITE\n310 c1 U READ1\n{wins}"
    ));
    let turn = std::mem::take(&mut process.records);
    let sleeps = |record: &Record| record.kind == Kind::SLEEP;
    let again = |record: &Record| record.conn == 2 && record.start > turn[5].start;
    for number in 0..count {
        let own = |record: Record| Record { conn: 1 + (record.conn + number as u32) % 100, tid: 101 + record.tid % 7, ..record };
        let won = |record: &Record| record.conn == 2 && record.start > turn[8].start;
        let happens = |record: &Record| match number % 3 {
            0 => !sleeps(record) && !again(record),
            1 => !won(record),
            _ => true,
        };
        let calls: Vec<Record> = turn.iter().copied().filter(happens).collect();
        process.records.extend(later(&calls, number * 1_000).map(own));
    }
    process.header.last = Some(anchor_at(count * 1_000 + 10));
    process.write(dir);
}

/// So many statements, each run once; one in five blocks another.
pub fn statements(dir: &Path, count: u64) {
    let mut process = Process::new(100);
    process.run("0 c1 X WRITE -- UPDATE\n10 c2 X WRITE=BUSY -- INSERT\n20 c1 U WRITE");
    let turn = std::mem::take(&mut process.records);
    process.names.retain(|line| !line.contains("\"t\":\"sql\""));
    let name = |process: &mut Process, text: &str| {
        let hash = sql_hash(text.as_bytes());
        process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{text}","len":{}}}"#, text.len()));
        hash
    };
    let mut number = 0;
    for at in 0.. {
        if number >= count {
            break;
        }
        let update = name(&mut process, &format!("UPDATE t{} SET a = {number}, b = '{}'", number % 1_000, "y".repeat(300)));
        let refused = number % 5 == 3;
        let insert = if refused { name(&mut process, &format!("INSERT INTO t{} VALUES ({number})", number % 1_000)) } else { 0 };
        number += if refused { 2 } else { 1 };
        let calls = later(&turn, at * 50).filter(|record| refused || record.conn == 1);
        process.records.extend(calls.map(|record| Record { sql: if record.conn == 1 { update } else { insert }, ..record }));
        process.header.last = Some(anchor_at(at * 50 + 60));
    }
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
        (from..from + count).flat_map(move |turn| later(round, turn as u64 * 20))
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
