//! Python and Node packages for these tests, installed once under cargo's target directory and used from then on.
//!
//! The lists are `requirements.txt` and `package.json` of tests/ecosystem, with pinned versions. A file lock keeps two test binaries from installing at
//! once. A stamp beside the packages records from which list they were made.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Set to 1 (as CI does), whatever is missing is a failure, and Node's module is compiled where it is not there yet.
const REQUIRE: &str = "LOCKTRACE_REQUIRE_ECOSYSTEM";

fn required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}

/// Says what is missing, past the test harness, which shows no output of tests that pass.
pub fn skipped(why: &str) {
    assert!(!required(), "{REQUIRE}=1, but {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::stderr().write_all(format!("\nSKIPPED {test}: {why} ({REQUIRE}=1 makes this a failure)\n").as_bytes());
}

/// The Python that has the packages of `requirements.txt`, or the reason why there is none, which has been said.
pub fn python() -> Option<String> {
    static MADE: OnceLock<Option<String>> = OnceLock::new();
    MADE.get_or_init(|| venv("python", "requirements.txt", "import django, fastapi, perfetto")).clone()
}

/// The Python of this name that has the packages of a list, for which `probe` works; nothing where there is none, and that has been said.
pub fn venv(name: &str, requirements: &str, probe: &str) -> Option<String> {
    let made = list(requirements).and_then(|list| {
        let python = once(name, &list, &["venv/bin/python", "-c", probe], |home| {
            let venv = home.join("venv");
            if venv.exists() {
                fs::remove_dir_all(&venv).map_err(|error| format!("cannot remove {}: {error}", venv.display()))?;
            }
            succeed(Command::new("timeout").args(["120", "python3", "-m", "venv", "venv"]).current_dir(home))?;
            write(&home.join("requirements.txt"), &list)?;
            let pip = ["400", "venv/bin/python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"];
            // Spark comes as sources only; they are Python and Java's classes.
            let pip = pip.iter().chain(&["--no-binary", "pyspark", "-r", "requirements.txt"]);
            succeed(Command::new("timeout").args(pip).current_dir(home))
        })?;
        Ok(python.join("venv/bin/python").to_str().unwrap().to_owned())
    });
    made.map_err(|why| skipped(&format!("the packages of tests/ecosystem/{requirements} are not there: {why}"))).ok()
}

/// The directory that has the `node_modules` of `package.json`, or the reason why there is none, which has been said.
pub fn node() -> Option<PathBuf> {
    npm("node", "package.json", &["node", "-e", "require('better-sqlite3')(':memory:')"], true)
}

/// The directory that has the `node_modules` of a list, for which `probe` works; nothing where there is none, and that has been said.
/// `compiles`: they have sources for the system's Node, which take a minute or two.
pub fn npm(name: &str, packages: &str, probe: &[&str], compiles: bool) -> Option<PathBuf> {
    let made = list(packages).and_then(|list| {
        once(name, &list, probe, |home| {
            if compiles && !required() {
                return Err(format!("it is compiled, for a minute or two, only with {REQUIRE}=1"));
            }
            write(&home.join("package.json"), &list)?;
            let mut npm = Command::new("timeout");
            npm.args(["500", "npm", "install", "--no-audit", "--no-fund"]).current_dir(home);
            if !compiles {
                npm.arg("--ignore-scripts");
            }
            // Node's headers are here already (Debian's libnode-dev, NodeSource's nodejs): nothing is to be downloaded for them.
            if Path::new("/usr/include/node/node.h").exists() {
                npm.env("npm_config_nodedir", "/usr");
            }
            succeed(&mut npm)
        })
    });
    made.map_err(|why| skipped(&format!("the packages of tests/ecosystem/{packages} are not there: {why}"))).ok()
}

/// `make` in a directory of this name, unless it was made from the same `list` and `probe` runs there.
pub fn once(name: &str, list: &[u8], probe: &[&str], make: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ecosystem").join(name);
    let stamp = home.join("made-from");
    let failed = |error: std::io::Error| format!("{}: {error}", home.display());
    fs::create_dir_all(&home).map_err(failed)?;
    let lock = File::create(home.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let probe = || succeed(Command::new("timeout").arg("60").args(probe).current_dir(&home));
    if fs::read(&stamp).is_ok_and(|made| made == list) && probe().is_ok() {
        return Ok(home);
    }
    let _ = fs::remove_file(&stamp);
    make(&home)?;
    probe()?;
    write(&stamp, list)?;
    Ok(home)
}

/// A file of tests/ecosystem.
fn list(name: &str) -> Result<Vec<u8>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ecosystem").join(name);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a command to its end; what it said last, if that is not a success.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let said = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{said}: {error}"))?;
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    if output.status.success() { Ok(()) } else { Err(format!("{said} ended with {}: {}", output.status, last.join(" / "))) }
}
