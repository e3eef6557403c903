//! The child of `locktrace run`: its start, the signals that are passed on to it, and its end.
#![forbid(unsafe_code)]

mod signals;

pub(super) use signals::{forwarded, pass_on, pass_on_to_group};

use crate::cli::io::say;
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

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
pub(super) enum ChildError {
    Start(io::Error),
    Wait(io::Error),
}

/// Runs a command to its end, and passes signals on to it.
///
/// A key pressed on the terminal sends its signal to every process of the group, also to the program: passing it on would send it twice. The
/// kernel reports who sent a signal, and only signals of other processes are passed on. This process survives either way, to print the summary.
pub(super) fn supervise(mut command: Command) -> Result<ExitStatus, ChildError> {
    // Registered before the program starts, so that no signal is missed. Signals wait in a pipe.
    let mut signals = SignalsInfo::<WithOrigin>::new(forwarded().chain([SIGCHLD])).map_err(ChildError::Wait)?;
    let mut child = command.spawn().map_err(ChildError::Start)?;
    loop {
        if let Some(status) = child.try_wait().map_err(ChildError::Wait)? {
            return Ok(status);
        }
        for origin in signals.wait() {
            if origin.signal != SIGCHLD && !matches!(origin.cause, Cause::Kernel) {
                pass_on(&child, origin.signal);
            }
        }
    }
}
