//! A synthetic trace of any length: WAL writers that take turns, readers beside them, and now and then a writer that is refused.
//!
//! It writes the two files of each process record by record, so that a long trace needs no more memory.

use crate::common::{Process, TICKS_PER_US, anchor_at};
use shim::format::header::Header;
use shim::format::record::{Record, SIZE};
use shim::format::sql_hash;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// The size and the mix of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub records: u64,
    pub processes: u32,
    /// Databases, each with its share of the processes.
    pub databases: u32,
    /// One record in this many is a refused attempt; 0 = none is.
    pub refused: u64,
    /// Statements that differ in their text.
    pub statements: u64,
    /// Readers that are opened, read once and close, before the others that stay.
    pub passing: u64,
}

/// The usual turn: one write transaction and two reads. `c1` writes, `c2` reads.
const TURN: &str = "
    1+1  c1 S READ1
    3+1  c1 X WRITE
    5+1  c2 S READ1
    7+1  c2 U READ1
    9+1  c1 wrote wal 4120
    21+1 c1 U WRITE
    23+1 c1 U READ1
    25+1 c2 S READ2
    27+1 c2 U READ2";

/// A writer of another process adds refused attempts with a sleep after each,
const REFUSED: &str = "
    6+1 c3 S READ1
    7+1 c3 X WRITE=BUSY
    8+1 c3 U READ1
    9+1 c3 sleep 1000";

/// and then it gets the lock,
const GRANTED: &str = "
    30+1 c3 S READ1
    32+1 c3 X WRITE
    33+1 c3 wrote wal 4120
    34+1 c3 U WRITE
    35+1 c3 U READ1";

/// or it is refused once, without a busy timeout.
const FAILED: &str = "
    12+1 c3 S READ1
    14+1 c3 X WRITE=BUSY
    16+1 c3 U READ1";

/// A connection that is opened, reads once and closes.
const PASSING: &str = "
    1+1 c4 open
    2+1 c4 SHARED
    3+1 c4 U(NONE)
    4+1 c4 close";

/// Microseconds of a turn.
const TURN_US: u64 = 40;

/// The calls take half as long as they say, so that each is over before the next one of its connection begins.
fn calls(text: &str) -> Vec<Record> {
    let mut process = Process::new(1);
    process.run(text);
    process.records.iter().map(|record| Record { duration: record.duration / 2, ..*record }).collect()
}

struct Ring {
    process: Process,
    out: BufWriter<File>,
    /// Not written yet: a preempted thread claims its record a little later than it should.
    late: Vec<Record>,
    count: u64,
    database: u32,
}

impl Ring {
    fn new(dir: &Path, pid: u32, database: u32, statements: u64) -> Ring {
        let mut process = Process::new(pid);
        process.names.pop();
        process.database(1, &format!("/data/app{database}.db"), u64::from(database) + 1);
        for text in (0..statements).flat_map(texts) {
            let hash = sql_hash(text.as_bytes());
            process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{text}","len":{}}}"#, text.len()));
        }
        std::fs::write(dir.join(format!("{}.names", process.id)), process.names()).unwrap();
        let file = File::create(dir.join(format!("{}.ring", process.id))).unwrap();
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; 4096]).unwrap();
        Ring { process, out, late: Vec::with_capacity(8), count: 0, database }
    }

    fn push(&mut self, record: Record) {
        self.late.push(record);
        if self.late.len() == 8 {
            if self.count % 97 < 8 {
                self.late.swap(0, 5);
            }
            self.flush();
        }
    }

    fn flush(&mut self) {
        for record in self.late.drain(..) {
            self.out.write_all(&record.encode(self.count)).unwrap();
            self.count += 1;
        }
    }

    fn finish(mut self, us: u64) {
        self.flush();
        let capacity = self.count.next_power_of_two();
        let header = Header { capacity, head: self.count, last: Some(anchor_at(us)), ..self.process.header };
        let mut file = self.out.into_inner().unwrap();
        assert_eq!(file.stream_position().unwrap(), 4096 + self.count * SIZE as u64);
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&header.encode()[..]).unwrap();
    }
}

fn texts(number: u64) -> [String; 3] {
    ["INSERT INTO t{} VALUES (?1)", "SELECT v FROM t{} WHERE id = ?1", "UPDATE t{} SET v = ?1"]
        .map(|text| text.replace("{}", &number.to_string()))
}

/// Writes the files.
pub fn write(dir: &Path, shape: Shape) {
    let databases = shape.databases.clamp(1, shape.processes);
    let mut rings: Vec<Ring> = (0..shape.processes).map(|i| Ring::new(dir, 1000 + i, i % databases, shape.statements)).collect();
    let of_database: Vec<Vec<usize>> =
        (0..databases).map(|db| (0..rings.len()).filter(|&i| rings[i].database == db).collect()).collect();
    let [turn, refused, granted, failed, passing] = [TURN, REFUSED, GRANTED, FAILED, PASSING].map(calls);
    let statements: Vec<[u64; 3]> =
        (0..shape.statements).map(|number| texts(number).map(|text| sql_hash(text.as_bytes()))).collect();
    let (mut records, mut refusals, mut slot) = (0, 0, 0);
    let mut passed = 0;
    while records < shape.records {
        for members in &of_database {
            let sql = statements[slot as usize % statements.len()];
            let at = slot * TURN_US * TICKS_PER_US;
            let mut put = |ring: usize, conn: Option<u32>, calls: &[Record]| {
                for record in calls {
                    let sql = match record.conn {
                        _ if record.kind == shim::event::Kind::SLEEP => 0,
                        number @ 1..=3 => sql[number as usize - 1],
                        _ => 0,
                    };
                    rings[ring].push(Record { start: record.start + at, sql, conn: conn.unwrap_or(record.conn), ..*record });
                }
                calls.len() as u64
            };
            let own = members[slot as usize % members.len()];
            if passed < shape.passing {
                records += put(own, Some(10 + passed as u32), &passing);
                passed += 1;
            }
            records += put(own, None, &turn);
            if shape.refused > 0 && refusals * shape.refused < records && members.len() > 1 {
                let other = members[(slot as usize + 1) % members.len()];
                if refusals % 8 == 7 {
                    records += put(other, None, &failed);
                    refusals += 1;
                } else {
                    let attempts = if shape.refused < 20 { 3 } else { 1 };
                    for attempt in 0..attempts {
                        let later = attempt * 4 * TICKS_PER_US;
                        let again: Vec<Record> =
                            refused.iter().map(|&record| Record { start: record.start + later, ..record }).collect();
                        records += put(other, None, &again);
                    }
                    refusals += attempts;
                    records += put(other, None, &granted);
                }
            }
        }
        slot += 1;
    }
    for ring in rings {
        ring.finish(slot * TURN_US);
    }
}
