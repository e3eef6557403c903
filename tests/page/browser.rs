//! Pages in a real browser, which the scripts beside this file examine.

use crate::common::contended;
use crate::{packages, page, traces};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn in_a_browser() {
    if !Path::new("/usr/bin/chromium").exists() {
        return packages::skipped("/usr/bin/chromium (Debian's chromium) is not there");
    }
    let list = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/package.json")).unwrap();
    let probe = ["node", "-e", "require('playwright-core'), require('axe-core')"];
    let modules = packages::once("browser", &list, &probe, |home| {
        fs::write(home.join("package.json"), &list).map_err(|error| error.to_string())?;
        packages::succeed(Command::new("timeout").args(["300", "npm", "install", "--no-audit", "--no-fund"]).current_dir(home))
    });
    let modules = match modules {
        Ok(modules) => modules,
        Err(why) => return packages::skipped(&format!("the packages of tests/page/package.json are not there: {why}")),
    };
    let dir = tempfile::tempdir().unwrap();
    type Make = fn(&Path);
    let made: [(&str, Make); 10] = [
        ("contended", contended),
        ("hostile", traces::hostile),
        ("idle", traces::idle),
        ("empty", traces::empty),
        ("lost", traces::lost),
        ("stale", traces::stale),
        ("processes", |dir| traces::processes(dir, 500)),
        ("statements", |dir| traces::statements(dir, 100_000)),
        ("incidents", |dir| traces::incidents(dir, 10_000)),
        ("big", |dir| traces::big(dir, 1_000_000)),
    ];
    // To look at them by hand: the pages stay in this directory.
    let kept = std::env::var_os("LOCKTRACE_TEST_PAGES").map(PathBuf::from);
    let mut command = Command::new("timeout");
    command.args(["240", "node"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.mjs")).arg(modules);
    for (name, make) in made {
        let pages = kept.as_deref().unwrap_or(dir.path());
        let (trace, to) = (dir.path().join(name), pages.join(format!("{name}.html")));
        fs::create_dir(&trace).unwrap();
        make(&trace);
        let page = page(&trace);
        assert!(page.len() < 10_000_000, "{name}: {} bytes", page.len());
        fs::write(&to, page).unwrap();
        command.arg(format!("{name}={}", to.display()));
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [&*output.stdout, &*output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    // Past the harness: how long they took is of interest when nothing is wrong.
    std::io::stderr().write_all(&output.stdout).unwrap();
}
