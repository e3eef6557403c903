//! The split screen of `locktrace run --top`: the program on a pseudo-terminal, above a panel that shows who holds what and who waits for whom.
//!
//! The program's standard streams that were the terminal become a new pseudo-terminal with the same settings and fewer rows. Typed keys go there, so
//! `isatty`, line editing, Ctrl-C, job control and full-screen programs work as before. Streams that were no terminal stay unchanged.
//!
//! The new terminal needs a session of its own: [`Seat`] creates it and becomes the program. So the program can notice the session, and the name and
//! size of the terminal. Its background processes receive SIGHUP when it ends.
#![forbid(unsafe_code)]

mod escapes;
mod feed;
mod panel;
mod terminal;

use super::child::{ChildError, forwarded, not_started, pass_on, pass_on_to_group};
use crate::cli::io::Failure;
use crate::cli::program;
use feed::Feed;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use terminal::Terminal;

/// How long the remaining output is read after the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Typed bytes that are kept while the program does not read them.
const MOST_TYPED: usize = 1 << 16;

/// The `LD_PRELOAD` of the program. Its [`Seat`] runs without it.
pub(super) const PRELOAD: &str = "LOCKTRACE_SEATED_PRELOAD";

/// Becomes the program on the given terminal. Only `locktrace run --top` starts it.
#[derive(clap::Args)]
pub(in crate::cli) struct Seat {
    /// The number of the stream that is the terminal
    stream: u8,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Seat {
    pub(in crate::cli) fn run(self) -> Result<ExitCode, Failure> {
        let fail = |error: rustix::io::Errno| Failure::Other(format!("cannot give the program a terminal: {error}"));
        rustix::process::setsid().map_err(fail)?;
        match self.stream {
            0 => rustix::process::ioctl_tiocsctty(io::stdin()),
            1 => rustix::process::ioctl_tiocsctty(io::stdout()),
            _ => rustix::process::ioctl_tiocsctty(io::stderr()),
        }
        .map_err(fail)?;
        let Some((name, arguments)) = self.command.split_first() else {
            return Err(Failure::Other("there is no command to run".to_owned()));
        };
        let mut command = Command::new(name);
        if let Some(list) = std::env::var_os(PRELOAD) {
            command.env_remove(PRELOAD).env("LD_PRELOAD", list);
        }
        let error = command.args(arguments).exec();
        let file = program::find(name, std::env::var_os("PATH").as_deref());
        Ok(not_started(name, file.as_deref(), &error))
    }
}

/// Checks that there is a terminal for the panel.
pub(super) fn terminal() -> Result<(), Failure> {
    if io::stdout().is_terminal() || io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::Other(
        "--top needs a terminal, and neither standard output nor standard error is one. Nothing was started. Run it without --top, \
         and `locktrace top` in another window"
            .to_owned(),
    ))
}

/// The command that starts another one through a [`Seat`].
pub(super) fn seated(name: &std::ffi::OsStr) -> io::Result<Command> {
    let stream = if io::stdout().is_terminal() { "1" } else { "2" };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run-seated", stream, "--"]).arg(name);
    Ok(command)
}

/// Runs a command of [`seated`] to its end, with a panel about this trace directory.
pub(super) fn supervise(mut command: Command, dir: &Path) -> Result<ExitStatus, ChildError> {
    let mut terminal = Terminal::new().map_err(ChildError::Start)?;
    let (mut master, streams) = terminal.pseudo().map_err(ChildError::Start)?;
    let [stdin, stdout, stderr] = streams;
    let keys = stdin.is_some();
    stdin.map(|stream| command.stdin(stream));
    stdout.map(|stream| command.stdout(stream));
    stderr.map(|stream| command.stderr(stream));
    let mut signals = SignalsInfo::<WithOrigin>::new(forwarded().chain([SIGCHLD, SIGWINCH])).map_err(ChildError::Wait)?;
    let mut child = command.spawn().map_err(ChildError::Start)?;
    // Closes our copies of the program's end of the terminal, so that its output ends when the program closes its own.
    drop(command);
    let feed = Feed::start(dir);
    terminal.enter(keys).map_err(ChildError::Wait)?;
    let done = (|| -> io::Result<ExitStatus> {
        let mut typed: Vec<u8> = Vec::new();
        let mut keys = keys;
        loop {
            for origin in signals.pending() {
                match origin.signal {
                    SIGCHLD => {}
                    SIGWINCH => terminal.resized(&master)?,
                    // The program is in a session of its own: signals of our terminal do not reach it.
                    signal if matches!(origin.cause, Cause::Kernel) => pass_on_to_group(&child, signal),
                    signal => pass_on(&child, signal),
                }
            }
            if let Some(status) = child.try_wait()? {
                // Limits the wait for processes that it leaves running.
                let until = Instant::now() + LAST_WORDS;
                while terminal.output(&mut master)? && Instant::now() < until {}
                return Ok(status);
            }
            let (input, output) = wait(&master, keys && typed.len() < MOST_TYPED, !typed.is_empty(), terminal.next_frame());
            if input {
                keys = read_keys(&mut typed)?;
            }
            if !typed.is_empty() {
                match master.write(&typed) {
                    Ok(written) => drop(typed.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // No process has the terminal open any more.
                    Err(_) => typed.clear(),
                }
            }
            if output {
                terminal.output(&mut master)?;
            }
            terminal.frame(&feed)?;
        }
    })();
    terminal.leave();
    match done {
        Ok(status) => Ok(status),
        // The terminal is gone, or cannot be written. Closing the program's terminal does the same to the program as without us: it must not
        // wait for a reader of its output.
        Err(_) => {
            drop(master);
            child.wait().map_err(ChildError::Wait)
        }
    }
}

/// Waits for keys, the program's output or the next frame; a signal ends the wait.
fn wait(master: &File, keys: bool, writes: bool, time: Duration) -> (bool, bool) {
    let stdin = io::stdin();
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    let wanted = if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut fds = [PollFd::new(master, wanted), PollFd::new(&stdin, PollFlags::IN)];
    let fds = if keys { &mut fds[..] } else { &mut fds[..1] };
    if poll(fds, Some(&time)).is_err() {
        return (false, false);
    }
    let ready = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    let (input, output) = (fds.get(1).is_some_and(ready), ready(&fds[0]));
    if output && fds[0].revents() == PollFlags::HUP {
        // No process has the other end open at the moment: poll would return at once again and again.
        std::thread::sleep(Duration::from_millis(10));
    }
    (input, output)
}

/// Reads typed bytes; `false` at the end of input.
fn read_keys(typed: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    match rustix::io::read(io::stdin(), &mut bytes) {
        Ok(0) => Ok(false),
        Ok(count) => {
            typed.extend_from_slice(&bytes[..count]);
            Ok(true)
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
