//! Builds trace directories from readable scenarios, through the format alone: no recorder, no SQLite.
//!
//! A scenario is one call a line, in the notation of SQLite's lock sequences:
//!
//! ```text
//! 100      c1      open
//! 110      c1      SHARED            -- SELECT 1
//! 120+30   c1@7    RESERVED=BUSY     -- UPDATE t SET v = 1
//! 160      c1      U(NONE)
//! 170      c2      X WRITE
//! ```
//!
//! that is: start in microseconds (and duration, by default 2), connection (and thread, by default 100 + connection), call, SQL.
//! The builder keeps each connection's lock state, as the recorder does, and writes it into each record.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use shim::event::{FileKind, Flags, Kind, Level, ResultCode, Slot, slot_mask};
use shim::format::header::{Anchor, ClockKind, Header};
use shim::format::record::Record;
use shim::format::sql_hash;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// Ticks of the scenario's clock in a microsecond: 2.5 GHz.
pub const TICKS_PER_US: u64 = 2_500;
/// What the anchors say at scenario time 0.
pub const EPOCH: Anchor = Anchor { ticks: 1_000_000_000, monotonic_ns: 50_000_000_000, real_ns: 1_700_000_000_000_000_000 };

/// The instant of a scenario time.
pub fn anchor_at(us: u64) -> Anchor {
    Anchor {
        ticks: EPOCH.ticks + us * TICKS_PER_US,
        monotonic_ns: EPOCH.monotonic_ns + us * 1_000,
        real_ns: EPOCH.real_ns + us * 1_000,
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    level: Level0,
    shared: u8,
    exclusive: u8,
}

#[derive(Clone, Copy)]
struct Level0(Level);

impl Default for Level0 {
    fn default() -> Level0 {
        Level0(Level::NONE)
    }
}

/// One process of a scenario; [`Process::write`] makes its two files.
#[derive(Clone)]
pub struct Process {
    pub id: String,
    pub header: Header,
    pub names: Vec<String>,
    pub records: Vec<Record>,
    states: HashMap<u32, State>,
    known: Vec<u64>,
    file: u32,
}

impl Process {
    /// A process whose connections all open `/data/app.db`.
    pub fn new(pid: u32) -> Process {
        let header = Header::new(ClockKind::Tsc, 0, pid, *b"0123456789abcdef", EPOCH);
        let header = Header { last: Some(anchor_at(10_000_000)), ..header };
        let mut process = Process {
            id: format!("{pid}-17979cfe362a0000"),
            header,
            names: Vec::new(),
            records: Vec::new(),
            states: HashMap::new(),
            known: Vec::new(),
            file: 1,
        };
        process.name(format!(
            r#"{{"t":"process","v":1,"pid":{pid},"ppid":1,"exe":"/usr/bin/app","argv":["app","--serve"],"cwd":"/","host":"h","uid":0,"started":"17979cfe362a0000","forked":false,"policy":"text"}}"#
        ));
        process.name(r#"{"t":"library","lib":0,"sqlite":"3.40.1","source_id":"x","options":null,"vfs":"locktrace","base":"unix"}"#);
        process.database(1, "/data/app.db", 42);
        process
    }

    /// Adds a line to the names.
    pub fn name(&mut self, line: impl Into<String>) -> &mut Process {
        self.names.push(line.into());
        self
    }

    /// Names a database, and makes the calls that follow belong to it.
    pub fn database(&mut self, file: u32, path: &str, inode: u64) -> &mut Process {
        let path = serde_json::Value::from(path);
        self.name(format!(r#"{{"t":"file","file":{file},"lib":0,"path":{path},"dev":8,"ino":{inode},"fs":"ext4"}}"#));
        self.file = file;
        self
    }

    /// Names a thread.
    pub fn thread(&mut self, tid: u32, name: &str) -> &mut Process {
        self.name(format!(r#"{{"t":"thread","tid":{tid},"name":{}}}"#, serde_json::Value::from(name)))
    }

    /// Adds the calls of a scenario; see the module.
    pub fn run(&mut self, scenario: &str) -> &mut Process {
        for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (call, sql) = line.split_once("--").map_or((line, None), |(call, sql)| (call, Some(sql.trim())));
            let words: Vec<&str> = call.split_whitespace().collect();
            let (start, duration) = words[0].split_once('+').unwrap_or((words[0], "2"));
            let (conn, tid) = words[1][1..].split_once('@').unwrap_or((&words[1][1..], ""));
            let conn: u32 = conn.parse().unwrap();
            let tid = if tid.is_empty() { 100 + conn } else { tid.parse().unwrap() };
            let mut record = self.call(conn, &words[2..].join(" "));
            record.start = anchor_at(start.parse().unwrap()).ticks;
            record.duration = duration.parse::<u64>().unwrap() * TICKS_PER_US;
            record.conn = conn;
            record.tid = tid;
            record.file = self.file;
            if let Some(sql) = sql {
                record.sql = sql_hash(sql.as_bytes());
                if !self.known.contains(&record.sql) {
                    self.known.push(record.sql);
                    let (text, len) = (serde_json::Value::from(sql), sql.len());
                    self.name(format!(r#"{{"t":"sql","sql":"{:016x}","text":{text},"len":{len}}}"#, record.sql));
                }
            }
            self.records.push(record);
        }
        self
    }

    fn call(&mut self, conn: u32, call: &str) -> Record {
        let (call, result) = call.split_once('=').unwrap_or((call, "OK"));
        let rc = match result {
            "OK" => 0,
            "BUSY" => 5,
            "PENDING" => 5,
            "PROTOCOL" => 15,
            number => number.parse().unwrap(),
        };
        let state = self.states.entry(conn).or_default();
        let before = *state;
        let mut record = Record::new(Kind(0));
        let words: Vec<&str> = call.split(' ').collect();
        let level = |name: &str| (0..=4).map(Level).find(|level| level.name() == Some(name));
        record.file_kind = FileKind::DATABASE;
        match words[..] {
            ["open"] => record.kind = Kind::OPEN,
            ["open", "wal"] => (record.kind, record.file_kind) = (Kind::OPEN, FileKind::WAL),
            ["close"] => {
                record.kind = Kind::CLOSE;
                *state = State::default();
            }
            ["map"] => (record.kind, record.file_kind) = (Kind::SHM_MAP, FileKind::SHM),
            ["unmap", how @ ("0" | "1")] => {
                (record.kind, record.file_kind, record.arg) = (Kind::SHM_UNMAP, FileKind::SHM, how.parse().unwrap());
                (state.shared, state.exclusive) = (0, 0);
            }
            ["close", "wal"] => (record.kind, record.file_kind) = (Kind::CLOSE, FileKind::WAL),
            ["ckpt", "start"] => record.kind = Kind::CKPT_START,
            ["ckpt", "done"] => record.kind = Kind::CKPT_DONE,
            ["unmap"] => {
                (record.kind, record.file_kind) = (Kind::SHM_UNMAP, FileKind::SHM);
                (state.shared, state.exclusive) = (0, 0);
            }
            ["sleep", us] => (record.kind, record.file_kind, record.arg) = (Kind::SLEEP, FileKind::NONE, us.parse().unwrap()),
            ["wrote", file, bytes] => {
                (record.kind, record.file_kind, record.arg) = (Kind::WROTE, file_kind(file), bytes.parse().unwrap());
            }
            ["sync", file] => (record.kind, record.file_kind) = (Kind::SYNC, file_kind(file)),
            ["delete", file] => (record.kind, record.file_kind) = (Kind::DELETE, file_kind(file)),
            ["check"] => record.kind = Kind::CHECK_RESERVED,
            [op @ ("S" | "X" | "U"), slots] => {
                (record.kind, record.file_kind) = (Kind::SHM_LOCK, FileKind::SHM);
                let (first, last) = slots.split_once("..").unwrap_or((slots, slots));
                let slot = |name: &str| (0..8).find(|&slot| Slot(slot).name() == Some(name)).unwrap();
                (record.shm_offset, record.shm_n) = (slot(first), slot(last) - slot(first) + 1);
                let mask = slot_mask(record.shm_offset, record.shm_n);
                let held = (state.shared | state.exclusive) & mask;
                match op {
                    "U" if state.exclusive & mask != 0 => record.flags = Flags::SHM_UNLOCK.with(Flags::SHM_EXCLUSIVE),
                    "U" => record.flags = Flags::SHM_UNLOCK,
                    "X" => record.flags = Flags::SHM_EXCLUSIVE,
                    _ => {}
                }
                if op == "U" {
                    (state.shared, state.exclusive) = (state.shared & !mask, state.exclusive & !mask);
                    if held == 0 {
                        record.flags = record.flags.with(Flags::REDUNDANT);
                    }
                } else if rc == 0 {
                    *(if op == "X" { &mut state.exclusive } else { &mut state.shared }) |= mask;
                }
            }
            [name] => {
                if let Some(to) = name.strip_prefix("U(").and_then(|name| level(name.strip_suffix(')')?)) {
                    record.kind = Kind::UNLOCK;
                    record.requested = to;
                    if to >= state.level.0 {
                        record.flags = Flags::REDUNDANT;
                    } else {
                        state.level.0 = to;
                    }
                } else {
                    record.kind = Kind::LOCK;
                    record.requested = level(name).unwrap_or_else(|| panic!("no such call: {call}"));
                    if rc == 0 {
                        state.level.0 = record.requested;
                    } else if result == "PENDING" {
                        state.level.0 = Level::PENDING;
                    }
                }
            }
            _ => panic!("no such call: {call}"),
        }
        record.rc = ResultCode(rc);
        (record.before, record.after) = (before.level.0, state.level.0);
        (record.shm_shared, record.shm_exclusive) = (state.shared, state.exclusive);
        record
    }

    /// The bytes of its ring file.
    pub fn ring(&self) -> Vec<u8> {
        let capacity = match self.header.capacity {
            0 => (self.records.len() as u64).next_power_of_two(),
            capacity => capacity,
        };
        let head = self.header.head.max(self.records.len() as u64);
        let mut bytes = Header { capacity, head, ..self.header }.encode().to_vec();
        bytes.resize(4096 + 64 * capacity.min(head) as usize, 0);
        for (number, record) in (0..).zip(&self.records) {
            let at = 4096 + 64 * (number % capacity) as usize;
            bytes[at..at + 64].copy_from_slice(&record.encode(number));
        }
        bytes
    }

    /// The bytes of a ring file that holds its first records and promises what the header says.
    pub fn ring_of(&self, count: usize) -> Vec<u8> {
        let mut bytes = self.header.encode().to_vec();
        for (number, record) in (0..).zip(&self.records[..count]) {
            bytes.extend_from_slice(&record.encode(number));
        }
        bytes
    }

    /// The bytes of its names file.
    pub fn names(&self) -> Vec<u8> {
        self.names.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
    }

    /// Writes both files.
    pub fn write(&self, dir: &Path) {
        std::fs::File::create(dir.join(format!("{}.ring", self.id))).unwrap().write_all(&self.ring()).unwrap();
        std::fs::File::create(dir.join(format!("{}.names", self.id))).unwrap().write_all(&self.names()).unwrap();
    }
}

fn file_kind(name: &str) -> FileKind {
    (0..=4).map(FileKind).find(|kind| kind.name() == Some(name)).unwrap()
}

/// Compares with a file of tests/expected; `UPDATE_EXPECTED=1` writes it instead.
pub fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}: UPDATE_EXPECTED=1 cargo test writes it again");
}

/// Two processes in each other's way, in WAL mode and with a rollback journal.
pub fn contended(dir: &Path) {
    let mut a = Process::new(100);
    a.thread(101, "web-1").run(
        "100 c1 open\n110 c1 map\n120 c1 SHARED
         200 c1 S READ1   -- BEGIN IMMEDIATE
         210 c1 X WRITE   -- BEGIN IMMEDIATE
         9000 c1 wrote wal 4120
         9010 c1 U WRITE  -- COMMIT
         9020 c1 U READ1  -- COMMIT",
    );
    let mut b = Process::new(200);
    b.run(
        "150 c1 open\n160 c1 map\n170 c1 SHARED
         300 c1 S READ1       -- INSERT INTO orders(id, customer, total) VALUES (?1, ?2, ?3)
         310 c1 X WRITE=BUSY  -- INSERT INTO orders(id, customer, total) VALUES (?1, ?2, ?3)
         320 c1 U READ1
         330+9000 c1 sleep 9000
         9500 c1 S READ2      -- INSERT INTO orders(id, customer, total) VALUES (?1, ?2, ?3)
         9510 c1 X WRITE      -- INSERT INTO orders(id, customer, total) VALUES (?1, ?2, ?3)
         9600 c1 U WRITE
         9610 c1 U READ2
         9700 c1 X CKPT..RECOVER=BUSY",
    );
    b.database(2, "/data/other.db", 7).run("9800 c2 RESERVED=BUSY\n9900 c2 U(NONE)");
    a.write(dir);
    b.write(dir);
}

/// Asks again and again, for at most so many seconds; the last answer.
pub fn within(seconds: u64, mut is: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        let answer = is();
        if answer || std::time::Instant::now() >= end {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
