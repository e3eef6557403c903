//! File systems of the trace directory that are full, small, odd or gone: the program's output is that of the bare run, and no signal reaches it.
//!
//! The tests mount these file systems, which takes root.

use crate::harness::{Host, Ran, With, equal, politely};
use serde_json::Value;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that is there until this is dropped, and one below it.
struct Mounted(PathBuf, #[allow(dead_code)] Option<Box<Mounted>>);

impl Mounted {
    /// Of this type and size in KiB; nothing, which has been said, where that is not permitted.
    fn new(host: &Host, kind: &str, kib: u64) -> Option<Mounted> {
        let (place, image) = host.place();
        let make: &[&str] = match kind {
            "ext4" => &["mkfs.ext4", "-q", "-F", "-m", "0"],
            "btrfs" => &["mkfs.btrfs", "-q", "-M", "-m", "single", "-d", "single"],
            _ => &[],
        };
        let (mut mount, mut below) = (Command::new("mount"), None);
        if let [program, options @ ..] = make {
            fs::File::create(&image).and_then(|file| file.set_len(kib << 10)).unwrap();
            if !done(Command::new(program).args(options).arg(&image)) {
                return politely(&format!("{program} does not work here"));
            }
            mount.args(["-o", "loop"]).arg(&image);
        } else if kind == "overlay" {
            let under = Mounted::new(host, "tmpfs", kib)?;
            let [lower, upper, work] = ["lower", "upper", "work"].map(|name| under.0.join(name));
            for dir in [&lower, &upper, &work] {
                fs::create_dir(dir).unwrap();
            }
            let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
            mount.args(["-t", "overlay", "overlay", "-o", &options]);
            below = Some(Box::new(under));
        } else {
            mount.args(["-t", kind, "-o", &format!("size={kib}k"), kind]);
        }
        if !done(mount.arg(&place)) {
            return politely(&format!("a {kind} cannot be mounted here"));
        }
        Some(Mounted(place, below))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Leaves this many KiB free, and a file `filler` that has the rest.
    fn leave(&self, kib: u64) {
        done(Command::new("sync").arg("-f").arg(&self.0));
        // Where not even a name fits, nothing can be left.
        let Ok(file) = fs::File::create(self.0.join("filler")) else { return };
        let block = vec![b'x'; 4096];
        let mut at = 0;
        while free(&self.0) > kib << 10 && file.write_all_at(&block, at).is_ok() {
            at += 4096;
            if at % (1 << 20) == 0 && file.sync_all().is_err() {
                break;
            }
        }
        let _ = file.sync_all();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        done(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn free(path: &Path) -> u64 {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { libc::statfs(name.as_ptr(), &raw mut stat) }, 0);
    stat.f_bavail * u64::try_from(stat.f_bsize).unwrap()
}

fn host() -> Option<Host> {
    Host::of(&["disk"])
}

/// The program traced into this file system, and what it does bare. The file system is filled while it runs, or was before.
fn survives(host: &Host, what: &str, disk: &Mounted, words: &[&str], bare: &Ran) -> Ran {
    // What was removed is free once it has been written.
    done(Command::new("sync").arg("-f").arg(&disk.0));
    let (dir, _) = host.place();
    let traced = host.run_in(With::Run, dir, disk.0.join("trace"), words);
    equal(what, bare, &traced);
    done(Command::new("sync").arg("-f").arg(&disk.0));
    let (dir, _) = host.place();
    let extended = host.run_in(With::Extension, dir, disk.0.join("trace-of-extension"), words);
    equal(&format!("extension, {what}"), bare, &extended);
    traced
}

/// The disk is full in the middle of a run: before and after the ring has wrapped.
fn filled(kind: &str, kib: u64) {
    let Some(mut host) = host() else { return };
    for (limit, laps) in [("256K", "300"), ("256K", "5000"), ("4M", "300"), ("4M", "40000")] {
        let Some(disk) = Mounted::new(&host, kind, kib) else { return };
        host.set("LOCKTRACE_LIMIT", limit);
        let words = ["disk", "fill", disk.path(), laps];
        let (dir, trace) = host.place();
        let bare = host.run_in(With::Nothing, dir, trace, &words);
        assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""));
        survives(&host, &format!("{kind} with a limit of {limit} filled after {laps}"), &disk, &words, &bare);
    }
}

#[test]
fn a_tmpfs_becomes_full() {
    filled("tmpfs", 8 << 10);
}

#[test]
fn an_ext4_becomes_full() {
    filled("ext4", 16 << 10);
}

#[test]
fn a_btrfs_becomes_full() {
    filled("btrfs", 130 << 10);
}

#[test]
fn an_overlay_becomes_full() {
    let Some(host) = host() else { return };
    let Some(disk) = Mounted::new(&host, "overlay", 8 << 10) else { return };
    let words = ["disk", "fill", disk.path(), "3000"];
    let (dir, trace) = host.place();
    let bare = host.run_in(With::Nothing, dir, trace, &words);
    survives(&host, "overlay", &disk, &words, &bare);
}

/// So little is free that not everything fits that recording needs.
fn small(kind: &str, kib: u64) {
    let Some(host) = host() else { return };
    let Some(disk) = Mounted::new(&host, kind, kib) else { return };
    let words = ["disk", "threads", disk.path(), "300"];
    let bare = host.run(With::Nothing, &words);
    assert_eq!((bare.seen.code, &*bare.seen.out), (0, "0 went wrong\n"));
    for left in [0, 4, 16, 64, 300, 1000, 4300] {
        disk.leave(left);
        survives(&host, &format!("{kind} with {left} KiB left"), &disk, &words, &bare);
        for trace in ["trace", "trace-of-extension", "filler"] {
            let path = disk.0.join(trace);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

#[test]
fn little_is_left_of_a_tmpfs() {
    small("tmpfs", 6 << 10);
}

#[test]
fn little_is_left_of_an_ext4() {
    small("ext4", 16 << 10);
}

#[test]
fn little_is_left_of_a_btrfs() {
    small("btrfs", 130 << 10);
}

/// What the report says was lost.
fn losses(host: &Host, ran: &Ran) -> Value {
    let report = host.command(env!("CARGO_BIN_EXE_locktrace")).args(["report", "--json"]).arg(&ran.trace).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    report["losses"].clone()
}

/// Eight threads write at once where space cannot be set aside, and where it can: no record is lost or torn.
#[test]
fn no_record_is_lost_where_space_cannot_be_set_aside() {
    let Some(mut host) = host() else { return };
    host.set("LOCKTRACE_LIMIT", "64M");
    for kind in ["ramfs", "tmpfs", "overlay"] {
        let Some(disk) = Mounted::new(&host, kind, 200 << 10) else { return };
        let words = ["disk", "threads", disk.path(), "4000"];
        let bare = host.run(With::Nothing, &words);
        for round in 0..3 {
            let (dir, _) = host.place();
            let traced = host.run_in(With::Run, dir, disk.0.join(format!("trace-{round}")), &words);
            equal(kind, &bare, &traced);
            let (records, problems) = traced.records();
            assert!(records >= 2 * 8 * 4000, "{kind}: only {records} records of 32,000 reads: {problems:?}");
            let losses = losses(&host, &traced);
            assert_eq!(losses["lossless"], Value::Bool(true), "{kind}, round {round}, {records} records: {losses}");
            fs::remove_dir_all(&traced.trace).unwrap();
        }
    }
}

fn trace_directory_becomes(what: &str) {
    let Some(mut host) = host() else { return };
    for limit in ["256K", "4M"] {
        host.set("LOCKTRACE_LIMIT", limit);
        // Its trace is not to be removed by the bare run, so that each has a directory of its own.
        let place = |name: &str| {
            let place = host.home().join(format!("{name}-{limit}"));
            fs::create_dir(&place).unwrap();
            place
        };
        let nothing = place("b");
        let (dir, trace) = host.place();
        let bare = host.run_in(With::Nothing, dir, trace, &["disk", what, nothing.to_str().unwrap(), "3000"]);
        assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""));
        for with in [With::Run, With::Extension] {
            let place = place(if with == With::Run { "r" } else { "e" });
            let (dir, _) = host.place();
            let traced = host.run_in(with, dir, place.join("trace"), &["disk", what, place.to_str().unwrap(), "3000"]);
            equal(&format!("{with:?}, {what}, limit {limit}"), &bare, &traced);
        }
    }
}

#[test]
fn the_trace_directory_is_removed() {
    trace_directory_becomes("removed");
}

#[test]
fn the_trace_directory_is_renamed() {
    trace_directory_becomes("renamed");
}

#[test]
fn the_trace_directory_becomes_a_file() {
    trace_directory_becomes("replaced");
}

#[test]
fn the_trace_directory_can_no_longer_be_entered() {
    trace_directory_becomes("locked");
}
