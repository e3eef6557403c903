//! `locktrace run --top`: a program on a terminal of its own, above a panel that tells who holds what and who waits for whom.
//!
//! In comes a command; out go its output as it writes it, the panel, and its exit status. Of the program's standard streams those that were the
//! terminal are a new pseudo-terminal instead, with the same settings and fewer rows, and whatever is typed goes there: so `isatty`, line
//! editing, Ctrl-C, job control and full-screen programs work as before. Those that were no terminal stay what they are.
//!
//! The new terminal needs a session of its own ([`Seat`] makes it, and becomes the program): that, its name and its size are what the program
//! could tell; and what it leaves behind in the background is hung up on when it ends.
#![forbid(unsafe_code)]

mod escapes;
mod panel;

use super::run::{Stopped, heard, not_started, pass_on};
use super::top::lines::{self, Sort};
use super::top::live::Live;
use super::top::plain::{Columns, summary};
use super::{Failure, program};
use escapes::Escapes;
use panel::Panel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGCHLD, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the panel is drawn.
const FRAME: Duration = Duration::from_millis(250);

/// A program that has put the cursor aside for longer than this does not seem to want it back.
const SAVED: Duration = Duration::from_secs(2);

/// How long the output is read on that was there when the program ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes typed ahead that are kept while the program does not read.
const MOST_TYPED: usize = 1 << 16;

/// Becomes the program on the terminal that it was given. Started by `locktrace run --top`, and by nobody else.
#[derive(clap::Args)]
pub(super) struct Seat {
    /// Which of its streams is the terminal
    stream: u8,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Seat {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
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
        let error = Command::new(name).args(arguments).exec();
        let file = program::find(name, std::env::var_os("PATH").as_deref());
        Ok(not_started(name, file.as_deref(), &error))
    }
}

/// Whether there is a terminal for it.
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

/// Runs a command that [`seated`] made to its end, with a panel about this trace directory.
pub(super) fn supervise(mut command: Command, dir: &Path) -> Result<ExitStatus, Stopped> {
    let mut terminal = Terminal::new().map_err(Stopped::Start)?;
    let (mut master, streams) = terminal.pseudo().map_err(Stopped::Start)?;
    let [stdin, stdout, stderr] = streams;
    let keys = stdin.is_some();
    stdin.map(|stream| command.stdin(stream));
    stdout.map(|stream| command.stdout(stream));
    stderr.map(|stream| command.stderr(stream));
    let mut signals = SignalsInfo::<WithOrigin>::new(heard().chain([SIGCHLD, SIGWINCH])).map_err(Stopped::Wait)?;
    let mut child = command.spawn().map_err(Stopped::Start)?;
    // Its ends of the terminal must not be held by us: the last one closed is the end of its output.
    drop(command);
    let told = Told::start(dir);
    terminal.enter(keys).map_err(Stopped::Wait)?;
    let done = (|| -> io::Result<ExitStatus> {
        let mut typed: Vec<u8> = Vec::new();
        let mut keys = keys;
        loop {
            for origin in signals.pending() {
                match origin.signal {
                    SIGCHLD => {}
                    SIGWINCH => terminal.resized(&master)?,
                    // It is in a session of its own: what our terminal sent has reached none of it.
                    signal if matches!(origin.cause, Cause::Kernel) => group(&child, signal),
                    signal => pass_on(&child, signal),
                }
            }
            if let Some(status) = child.try_wait()? {
                // What others write that it leaves behind is waited for no longer than that.
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
                    // Nobody has it open any more.
                    Err(_) => typed.clear(),
                }
            }
            if output {
                terminal.output(&mut master)?;
            }
            terminal.frame(&told)?;
        }
    })();
    terminal.leave();
    match done {
        Ok(status) => Ok(status),
        // The terminal is gone, or cannot be written to. Then the program's is gone, too, as it would be without us: it must not wait for
        // somebody to read what it writes.
        Err(_) => {
            drop(master);
            child.wait().map_err(Stopped::Wait)
        }
    }
}

/// Sends a signal to all of the program's group.
fn group(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, rustix::process::Signal::from_named_raw(signal)) {
        let _ = rustix::process::kill_process_group(pid, signal);
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
        // Nobody has the other end open just now: do not come back at once.
        std::thread::sleep(Duration::from_millis(10));
    }
    (input, output)
}

/// Takes in what was typed; `false` at its end.
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

/// The terminal that we were started on.
struct Terminal {
    tty: File,
    settings: Termios,
    panel: Panel,
    entered: bool,
    raw: bool,
    escapes: Escapes,
    /// Since when the program has the cursor put aside.
    saved: Option<Instant>,
    frame: Instant,
}

impl Terminal {
    fn new() -> io::Result<Terminal> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let fd: BorrowedFd<'_> = if stdout.is_terminal() { stdout.as_fd() } else { stderr.as_fd() };
        let tty = File::from(fd.try_clone_to_owned()?);
        let (settings, size) = (tcgetattr(&tty)?, tcgetwinsize(&tty)?);
        Ok(Terminal {
            tty,
            settings,
            panel: Panel::on(size.ws_row, size.ws_col),
            entered: false,
            raw: false,
            escapes: Escapes::default(),
            saved: None,
            frame: Instant::now(),
        })
    }

    /// A pseudo-terminal like this one, and those of the program's streams that are to be it.
    fn pseudo(&self) -> io::Result<(File, [Option<Stdio>; 3])> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let other = ioctl_tiocgptpeer(&master, flags)?;
        tcsetattr(&other, OptionalActions::Now, &self.settings)?;
        tcsetwinsize(&other, self.size(tcgetwinsize(&self.tty)?))?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let stream = |is: bool, other: &OwnedFd| is.then(|| other.try_clone().map(Stdio::from)).transpose();
        let streams = [
            stream(io::stdin().is_terminal(), &other)?,
            stream(io::stdout().is_terminal(), &other)?,
            stream(io::stderr().is_terminal(), &other)?,
        ];
        Ok((File::from(master), streams))
    }

    fn size(&self, whole: Winsize) -> Winsize {
        let pixels = u32::from(whole.ws_ypixel) * u32::from(self.panel.above()) / u32::from(whole.ws_row.max(1));
        Winsize { ws_row: self.panel.above(), ws_ypixel: pixels as u16, ..whole }
    }

    fn enter(&mut self, keys: bool) -> io::Result<()> {
        if keys {
            let mut raw = self.settings.clone();
            raw.make_raw();
            tcsetattr(&self.tty, OptionalActions::Now, &raw)?;
            self.raw = true;
        }
        self.entered = true;
        self.tty.write_all(self.panel.enter().as_bytes())
    }

    fn resized(&mut self, master: &File) -> io::Result<()> {
        let size = tcgetwinsize(&self.tty)?;
        let panel = Panel::on(size.ws_row, size.ws_col);
        if panel != self.panel {
            let bytes = self.panel.leave() + &panel.enter();
            self.panel = panel;
            self.tty.write_all(bytes.as_bytes())?;
            self.frame = Instant::now();
        }
        tcsetwinsize(master, self.size(size))?;
        Ok(())
    }

    /// Passes on what the program has written. Whether there was anything.
    fn output(&mut self, master: &mut File) -> io::Result<bool> {
        let mut bytes = [0; 1 << 14];
        match master.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let bytes = &bytes[..count];
                self.tty.write_all(bytes)?;
                self.escapes.follow(bytes);
                match (self.escapes.has_saved(), self.saved) {
                    (true, None) => self.saved = Some(Instant::now()),
                    (false, _) => self.saved = None,
                    _ => {}
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            // Nothing now; or nobody has it open (EIO).
            Err(_) => Ok(false),
        }
    }

    fn next_frame(&self) -> Duration {
        self.frame.saturating_duration_since(Instant::now())
    }

    /// Draws the panel when it is time, and nothing of the program's is torn by it.
    fn frame(&mut self, told: &Told) -> io::Result<()> {
        let now = Instant::now();
        let kept = self.saved.is_some_and(|saved| now.duration_since(saved) < SAVED);
        if now < self.frame {
            return Ok(());
        }
        if !self.escapes.is_between() || kept {
            self.frame = now + Duration::from_millis(20);
            return Ok(());
        }
        self.frame = now + FRAME;
        let mut out = String::new();
        if self.escapes.take_region() {
            out.push_str(&self.panel.region());
        }
        out.push_str(&self.panel.draw(&told.lines(self.panel)));
        self.tty.write_all(out.as_bytes())
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.entered) {
            // If it cannot be written to, there is nothing to give back.
            let _ = self.tty.write_all(self.panel.leave().as_bytes());
        }
        if std::mem::take(&mut self.raw) {
            let _ = tcsetattr(&self.tty, OptionalActions::Drain, &self.settings);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What the panel says, worked out on a thread of its own, so that the program's output waits for nothing.
struct Told {
    lines: Arc<Mutex<Vec<String>>>,
    /// Columns and lines, in its upper and lower half.
    room: Arc<AtomicU32>,
}

impl Told {
    fn start(dir: &Path) -> Told {
        let told = Told { lines: Arc::default(), room: Arc::default() };
        let (lines, room, dir) = (Arc::clone(&told.lines), Arc::clone(&told.room), dir.to_owned());
        std::thread::spawn(move || tell(&dir, &lines, &room));
        told
    }

    fn lines(&self, panel: Panel) -> Vec<String> {
        self.room.store(u32::from(panel.columns) << 16 | u32::from(panel.height), Ordering::Relaxed);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows the trace until this process ends.
fn tell(dir: &Path, lines: &Mutex<Vec<String>>, room: &AtomicU32) {
    let mut live = Live::new(dir);
    let mut drawn: Option<Instant> = None;
    loop {
        let polled = live.poll();
        if drawn.is_none_or(|drawn| drawn.elapsed() >= Duration::from_millis(100)) || polled.is_err() {
            let room = room.load(Ordering::Relaxed);
            let text = match &polled {
                Ok(()) => text(&live, (room >> 16) as usize, (room & 0xffff) as usize),
                Err(error) => vec!["locktrace".to_owned(), error.to_string()],
            };
            *lines.lock().unwrap_or_else(PoisonError::into_inner) = text;
            drawn = Some(Instant::now());
        }
        if polled.is_err() {
            return;
        }
        std::thread::sleep(live.interval());
    }
}

/// So many lines, the most important ones.
fn text(live: &Live, columns: usize, height: usize) -> Vec<String> {
    let width = columns.saturating_sub(1);
    let snapshot = live.snapshot();
    let (first, second) = summary(&snapshot);
    let mut text = vec![format!("locktrace  {second}; {first}")];
    let mut databases = lines::databases(&snapshot, "");
    let many = databases.len() > 1;
    databases.truncate(if height > 6 { 2 } else { 1 });
    for index in databases {
        let database = &snapshot.databases[index];
        let (one, ten) = database.occupied.unzip();
        let path = lines::path(database.path.as_deref());
        text.push(format!("writer {} (10 s: {})  {path}", lines::percent(one), lines::percent(ten)));
    }
    let rows = lines::lines(&snapshot, live.trace(), Sort::Chains, "");
    let room = height.saturating_sub(text.len());
    let shown = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    if rows.is_empty() && room > 0 {
        let none = if live.found() { "nobody holds a lock that another could wait for" } else { "nobody has begun to record" };
        text.push(none.to_owned());
    }
    let columns = Columns::of(&rows, width);
    text.extend(rows.iter().take(shown).map(|row| columns.row(row, many)));
    if rows.len() > shown {
        text.push(format!("and {} more: locktrace top", rows.len() - shown));
    }
    text
}
