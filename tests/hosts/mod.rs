//! Traces as several hosts would have written them: fights over one database, on both sides of a midnight.
#![allow(dead_code)] // Each test binary uses its own part.

use crate::common::Process;
use std::path::Path;

/// A host to be.
pub struct Host {
    pub name: &'static str,
    /// Its fights, 400 seconds apart; the 16th lasts past midnight.
    pub fights: u64,
    pub sqlite: &'static str,
    /// Which fights come in which order.
    pub seed: u64,
}

/// Three of them.
pub const HOSTS: [Host; 3] = [
    Host { name: "web-1", fights: 30, sqlite: "3.40.1", seed: 1 },
    Host { name: "web 2/eu=\u{e9}%", fights: 22, sqlite: "3.54.1", seed: 5 },
    Host { name: "17", fights: 9, sqlite: "3.44.5", seed: 7 },
];

const OPEN: &str = "10 c1 open\n11 c1 open wal\n12 c1 map\n13 c1 SHARED";
/// Microseconds between fights.
const APART: u64 = 400_000_000;

/// Its two processes.
pub fn processes(host: &Host) -> [Process; 2] {
    let [mut importer, mut web] = [100, 200].map(|pid| {
        let mut process = Process::new(pid);
        let (name, version) = (serde_json::Value::from(host.name), host.sqlite);
        process.names[0] = process.names[0].replace(r#""host":"h""#, &format!(r#""host":{name}"#));
        process.names[1] = process.names[1].replace("3.40.1", version);
        process.header.boot_id[0] = b'a' + host.seed as u8;
        process.header.last = Some(crate::common::anchor_at(host.fights * APART + 1_000_000_000));
        process.run(OPEN);
        process
    });
    web.thread(101, "web-0");
    for fight in 0..host.fights {
        let t = 300_000_000 + fight * APART;
        // Some holds last longer than a minute, and one goes past midnight.
        let length = if fight % 5 == 0 { 150_000_000 } else { 30_000 + fight * 7_919 % 20_011 };
        let (begin, end) =
            if fight % 2 == 0 { ("BEGIN IMMEDIATE", "COMMIT") } else { ("INSERT INTO a VALUES (?1)", "INSERT INTO a VALUES (?1)") };
        importer.run(&format!(
            "{t} c1 S READ1 -- {begin}\n{} c1 X WRITE -- {begin}\n{} c1 wrote wal 4120\n{} c1 U WRITE -- {end}\n{} c1 U READ1 -- {end}",
            t + 10,
            t + length,
            t + length + 10,
            t + length + 20
        ));
        let sql = ["UPDATE b SET v = 1", "INSERT INTO b VALUES (?1, ?2)"][(fight / 3 % 2) as usize];
        let busy = |at: u64| format!("{at} c1 S READ1 -- {sql}\n{} c1 X WRITE=BUSY -- {sql}\n{} c1 U READ1\n", at + 10, at + 20);
        web.run(&match (fight * host.seed) % 3 {
            0 => busy(t + 100),
            1 => format!(
                "{}{} c1 X WRITE=BUSY -- {sql}\n{} c1 U READ1 -- ROLLBACK",
                format_args!("{} c1 S READ1 -- SELECT v FROM b\n", t + 100),
                t + 200,
                t + 300
            ),
            // As SQLite's own busy handler waits.
            _ => {
                let sleeps = [1_000, 2_000, 5_000, 10_000].iter().scan(t + 100, |at, us| {
                    let call = format!("{}{}+{us} c1 sleep {us}\n", busy(*at), *at + 30);
                    *at += us + 100;
                    Some(call)
                });
                sleeps.collect::<String>() + &busy(t + 18_500)
            }
        });
        // And one that goes well.
        let t = t + 200_000_000;
        web.run(&format!(
            "{t} c1 S READ2 -- {sql}\n{} c1 X WRITE -- {sql}\n{} c1 wrote wal 4120\n{} c1 U WRITE\n{} c1 U READ2",
            t + 10,
            t + 50,
            t + 60,
            t + 70
        ));
    }
    [importer, web]
}

/// Its trace.
pub fn write(host: &Host, dir: &Path) {
    for process in processes(host) {
        process.write(dir);
    }
}

/// One that is refused by two readers and a writer one after the other, and one by whom nobody knows.
pub fn waiters(dir: &Path) {
    let mut process = Process::new(100);
    process.thread(104, "worker").run(
        "1 c1 open\n2 c2 open\n3 c3 open\n4 c4 open
         10 c1 SHARED -- SELECT one
         20 c2 SHARED -- SELECT two
         30 c4 SHARED -- UPDATE t
         40 c4 RESERVED -- UPDATE t
         100 c4 EXCLUSIVE=BUSY -- UPDATE t
         110+1000 c4 sleep 1000
         1200 c4 EXCLUSIVE=BUSY -- UPDATE t
         1300 c2 U(NONE) -- SELECT two
         1310+2000 c4 sleep 2000
         3400 c4 EXCLUSIVE=BUSY -- UPDATE t
         3500 c1 U(NONE) -- SELECT one
         3510+5000 c4 sleep 5000
         8600 c4 EXCLUSIVE -- UPDATE t
         8700 c4 U(NONE) -- UPDATE t",
    );
    process
        .database(2, "/data/other.db", 7)
        .run("9000 c5 open\n9010 c5 SHARED -- SELECT nobody\n9020 c5 RESERVED=BUSY -- SELECT nobody\n9030 c5 U(NONE)");
    process.write(dir);
}
