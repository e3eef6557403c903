//! The process of a log, and whether it still lives.
//!
//! The process id in a header can meanwhile belong to another process, or to one of another host or container. So a process counts only if it has this
//! very ring mapped.
#![forbid(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process that has a log mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogProcess {
    pid: u32,
    /// When it started, in clock ticks since the boot. A reused process id has another start.
    started: u64,
}

impl LogProcess {
    /// The process with this id, if it has this ring mapped.
    pub(crate) fn of(pid: u32, ring: &Path) -> Option<LogProcess> {
        let started = started(pid)?;
        let inode = ring.metadata().ok()?.ino().to_string();
        let maps = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
        let maps = String::from_utf8_lossy(&maps);
        let name = ring.file_name()?.to_str()?;
        // address, permissions, offset, device, inode, path
        let mapped = maps.lines().any(|line| line.split_ascii_whitespace().nth(4) == Some(&inode) && line.contains(name));
        mapped.then_some(LogProcess { pid, started })
    }

    /// Whether it lives. A process that has ended and was not waited for yet does not.
    pub(crate) fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)); `None` for a process that does not exist or has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name is in parentheses and may contain any characters.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_has_it_mapped() {
        let own = std::env::current_exe().unwrap();
        let process = LogProcess::of(std::process::id(), &own).unwrap();
        assert!(process.lives());
        assert!(!LogProcess { started: process.started + 1, ..process }.lives(), "the number of another process");
        assert_eq!(LogProcess::of(std::process::id(), Path::new("/etc/passwd")), None, "not mapped");
        assert_eq!(LogProcess::of(u32::MAX, &own), None);
    }
}
