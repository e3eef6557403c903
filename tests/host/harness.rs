//! Programs run bare, under `locktrace run` and with the extension: what each printed, how it ended, what it left behind.
//!
//! A test compiles a file of `programs/` once, and gets [`Outcome`]s to compare, and the trace.

use crate::bundled;
use crate::packages::skipped;
use sqlite_locktrace::trace::Trace;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take that takes a second or two; beyond it, it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// With what a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum With {
    Nothing,
    /// `locktrace run`.
    Run,
    /// The loadable extension; the programs load it themselves (`start` in host.h).
    Extension,
}

/// What can be seen of a program from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The exit code; 128 + n where signal n ended it, -1 where it hung.
    pub code: i32,
    pub out: String,
    pub err: String,
    /// The names of the files left in its directory.
    pub files: Vec<String>,
}

/// An outcome, and where it came about.
pub struct Ran {
    pub seen: Outcome,
    pub dir: PathBuf,
    pub trace: PathBuf,
    /// What `locktrace run` itself said.
    pub said: String,
}

impl Ran {
    /// How many records the trace has, and what was lost or torn.
    pub fn records(&self) -> (u64, Vec<String>) {
        let Ok(trace) = Trace::open(&self.trace) else { return (0, vec!["no trace".to_owned()]) };
        let mut events = trace.events().unwrap();
        let read = (&mut events).count() as u64;
        (read, events.finish().problems.iter().map(|problem| format!("{problem:?}")).collect())
    }
}

/// Programs of one test, and a directory for each run of one.
pub struct Host {
    /// What was compiled, and the traces.
    home: tempfile::TempDir,
    /// The directories that programs run in: in memory, where that is possible, so that nothing waits for a disk.
    work: tempfile::TempDir,
    runs: Cell<u32>,
    extension: OnceCell<PathBuf>,
    environment: BTreeMap<String, String>,
}

impl Host {
    /// The programs of these names, compiled; nothing, which has been said, where there is no compiler or no SQLite to link.
    pub fn of(names: &[&str]) -> Option<Host> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        let work = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let host = Host { home, work, runs: Cell::new(0), extension: OnceCell::new(), environment: BTreeMap::new() };
        names.iter().all(|name| host.compile(name, name, &["-l:libsqlite3.so.0", "-lm"])).then_some(host)
    }

    /// With this variable in the environment of everything that runs.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Compiles `programs/SOURCE.c` into `bin/NAME`.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/programs").join(source).with_extension("c");
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Werror", "-O1", "-g0", "-pthread", "-I"]).arg(bundled::source());
        cc.arg("-o").arg(self.program(name)).arg(source).args(flags);
        match cc.output() {
            Ok(output) if output.status.success() => true,
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("error:") => {
                panic!("{name}: {}", String::from_utf8_lossy(&output.stderr))
            }
            Ok(output) => {
                skipped(&format!("cc cannot build {name}: {}", String::from_utf8_lossy(&output.stderr)));
                false
            }
            Err(error) => {
                skipped(&format!("there is no cc: {error}"));
                false
            }
        }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn work(&self) -> &Path {
        self.work.path()
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.home.path().join("bin").join(name)
    }

    /// The path of the loadable extension.
    pub fn extension(&self) -> &Path {
        self.extension.get_or_init(|| {
            let output = self.command(env!("CARGO_BIN_EXE_locktrace")).arg("extension").output().unwrap();
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
        })
    }

    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for variable in ["LD_PRELOAD", "LOCKTRACE_DIR", "LOCKTRACE_SQL", "LOCKTRACE_LIMIT", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", self.home.path().join("cache")).envs(&self.environment);
        command
    }

    /// A directory and a trace directory for the next run. Paths are equally long, so that SQLite needs as much memory for each.
    pub fn place(&self) -> (PathBuf, PathBuf) {
        let n = self.runs.replace(self.runs.get() + 1);
        let dir = self.work.path().join(format!("run-{n:04}"));
        fs::create_dir(&dir).unwrap();
        (dir, self.home.path().join(format!("trace-{n:04}")))
    }

    /// Runs a program of `bin/` in a directory of its own.
    pub fn run(&self, with: With, words: &[&str]) -> Ran {
        let (dir, trace) = self.place();
        self.run_in(with, dir, trace, words)
    }

    /// Runs a program of `bin/` here, traced into this directory.
    pub fn run_in(&self, with: With, dir: PathBuf, trace: PathBuf, words: &[&str]) -> Ran {
        let mut command = match with {
            With::Run => {
                let mut command = self.command(env!("CARGO_BIN_EXE_locktrace"));
                command.args(["run", "--add", "-o"]).arg(&trace).args(["--", "sh"]);
                command
            }
            With::Nothing => self.command("sh"),
            With::Extension => {
                let mut command = self.command("sh");
                command.env("HOST_EXTENSION", self.extension()).env("LOCKTRACE_DIR", &trace);
                command
            }
        };
        // A descriptor that a program gets next is the same in each: nothing but 0, 1 and 2 is open.
        let shell = "ulimit -c 0; exec \"$@\" </dev/null >out 2>err";
        command.args(["-c", shell, "sh"]).arg(self.program(words[0])).args(&words[1..]).current_dir(&dir);
        let (status, said) = self.finish(&mut command);
        let read = |name: &str| String::from_utf8_lossy(&fs::read(dir.join(name)).unwrap_or_default()).into_owned();
        let mut files: Vec<String> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        let code = status.map_or(-1, |status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap());
        let seen = Outcome { code, out: read("out"), err: read("err"), files };
        Ran { seen, dir, trace, said }
    }

    /// Waits for the end, which may not be long in coming; what was said on standard error and output. `None` where it hung.
    pub fn finish(&self, command: &mut Command) -> (Option<ExitStatus>, String) {
        let said = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap()).process_group(0);
        let mut child = command.spawn().unwrap();
        let group = i32::try_from(child.id()).unwrap();
        let (give, take) = mpsc::channel();
        std::thread::spawn(move || give.send(child.wait()));
        let status = take.recv_timeout(PATIENCE).ok().map(Result::unwrap);
        // Whatever it left behind, too.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        if status.is_none() {
            let _ = take.recv();
        }
        let said = fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&said))).unwrap();
        (status, String::from_utf8_lossy(&said).into_owned())
    }

    /// The same outcome bare and with each of these, and something recorded.
    pub fn same(&self, with: &[With], words: &[&str]) -> Vec<Ran> {
        let bare = self.run(With::Nothing, words);
        assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""), "bare {words:?}: {}", bare.seen.out);
        let traced = with.iter().map(|&with| {
            let traced = self.run(with, words);
            equal(&format!("{with:?} {words:?}"), &bare, &traced);
            let (records, problems) = traced.records();
            assert!(records > 0, "{with:?} {words:?}: nothing was recorded, so nothing was tested: {problems:?} {}", traced.said);
            traced
        });
        traced.collect()
    }
}

/// Asserts that the two are the same; shows the first lines that differ.
pub fn equal(what: &str, bare: &Ran, traced: &Ran) {
    let (b, t) = (&bare.seen, &traced.seen);
    let differ = || {
        let lines =
            b.out.lines().map(Some).chain(std::iter::repeat(None)).zip(t.out.lines().map(Some).chain(std::iter::repeat(None)));
        let mut lines = lines.enumerate().take_while(|(_, (b, t))| b.is_some() || t.is_some()).filter(|(_, (b, t))| b != t);
        let first: Vec<_> = (&mut lines).take(4).map(|(n, (b, t))| format!("  {n}: bare {b:?}\n     traced {t:?}\n")).collect();
        format!("{}  and {} more\n", first.concat(), lines.count())
    };
    assert!(
        b == t,
        "{what}: exit code bare {}, traced {}; lines of the output that differ:\n{}stderr bare {:?}\nstderr traced {:?}\nfiles bare {:?}\nfiles traced {:?}\n`locktrace run` said: {}",
        b.code,
        t.code,
        differ(),
        b.err,
        t.err,
        b.files,
        t.files,
        traced.said
    );
}

/// Says that something is not permitted here, which is no failure anywhere; past the test harness, which shows no output of tests that pass.
pub fn politely<T>(why: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::stderr().write_all(format!("\nSKIPPED {test}: {why}\n").as_bytes());
    None
}
