//! The child of `locktrace run`: its start, the signals passed on to it, and its end.
#![forbid(unsafe_code)]

use crate::cli::io::say;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};

/// Prints why a program was not started, and returns the exit code that a shell would give.
pub(super) fn not_started(name: &OsStr, file: Option<&Path>, error: &io::Error) -> ExitCode {
    let name = name.display();
    match file {
        None => {
            say(&format!("{name}: there is no such program"));
            ExitCode::from(127)
        }
        Some(file) if error.kind() == io::ErrorKind::NotFound => {
            say(&format!("{name}: {} exists, but the interpreter or loader that it names does not", file.display()));
            ExitCode::from(126)
        }
        Some(file) => {
            say(&format!("{name}: {} cannot be executed: {error}", file.display()));
            ExitCode::from(126)
        }
    }
}

/// Why the child could not be run to its end.
pub(super) enum Stopped {
    Start(io::Error),
    Wait(io::Error),
}

/// Runs a command to its end, and passes signals on to it.
///
/// A key pressed on the terminal sends its signal to every process of the group, also to the program: passing it on would send it twice. The
/// kernel reports who sent a signal, and only signals of other processes are passed on. This process survives either way, to print the summary.
pub(super) fn supervise(mut command: Command) -> Result<ExitStatus, Stopped> {
    // Registered before the program starts, so that no signal is missed. Signals wait in a pipe.
    let mut signals = SignalsInfo::<WithOrigin>::new(forwarded().chain([SIGCHLD])).map_err(Stopped::Wait)?;
    let mut child = command.spawn().map_err(Stopped::Start)?;
    loop {
        if let Some(status) = child.try_wait().map_err(Stopped::Wait)? {
            return Ok(status);
        }
        for origin in signals.wait() {
            if origin.signal != SIGCHLD && !matches!(origin.cause, Cause::Kernel) {
                pass_on(&child, origin.signal);
            }
        }
    }
}

/// The signals that are passed on. A signal that was ignored at the start (nohup) stays ignored, here and in the program.
pub(super) fn forwarded() -> impl Iterator<Item = i32> {
    let ignored = ignored_signals();
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(move |signal| ignored & (1 << (signal - 1)) == 0)
}

/// Sends a signal to the program, which was not waited for yet, so its number is still its own.
pub(super) fn pass_on(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, rustix::process::Signal::from_named_raw(signal)) {
        // Fails if the program has just ended.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The signals this process ignores, one bit each (signal n is bit n - 1); 0 if that cannot be read.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
