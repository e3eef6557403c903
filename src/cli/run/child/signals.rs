//! The signals that `locktrace run` passes on to its child.
#![forbid(unsafe_code)]

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::process::Child;

/// The signals that are passed on. A signal that was ignored at the start (nohup) stays ignored, here and in the program.
pub(in crate::cli::run) fn forwarded() -> impl Iterator<Item = i32> {
    let ignored = ignored_signals();
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(move |signal| ignored & (1 << (signal - 1)) == 0)
}

/// Sends a signal to the program, which was not waited for yet, so its number is still its own.
pub(in crate::cli::run) fn pass_on(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, rustix::process::Signal::from_named_raw(signal)) {
        // Fails if the program has just ended.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends a signal to the program's process group.
pub(in crate::cli::run) fn pass_on_to_group(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, rustix::process::Signal::from_named_raw(signal)) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// The signals this process ignores, one bit each (signal n is bit n - 1); 0 if that cannot be read.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
