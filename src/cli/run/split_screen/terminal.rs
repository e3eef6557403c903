//! The real terminal: it gets the program's output with the panel drawn in between, and is restored at the end.
#![forbid(unsafe_code)]

use super::escapes::Escapes;
use super::feed::Feed;
use super::panel::Panel;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How often the panel is drawn.
const FRAME: Duration = Duration::from_millis(250);

/// A saved cursor that is older than this is taken to be abandoned by the program.
const SAVED: Duration = Duration::from_secs(2);

/// The terminal on which this command was started.
pub(super) struct Terminal {
    tty: File,
    settings: Termios,
    panel: Panel,
    entered: bool,
    raw: bool,
    escapes: Escapes,
    /// Since when the program has a cursor saved.
    saved: Option<Instant>,
    frame: Instant,
}

impl Terminal {
    pub(super) fn new() -> io::Result<Terminal> {
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

    /// Creates a pseudo-terminal like this one, and the streams of the program that become it.
    pub(super) fn pseudo(&self) -> io::Result<(File, [Option<Stdio>; 3])> {
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

    pub(super) fn enter(&mut self, keys: bool) -> io::Result<()> {
        if keys {
            let mut raw = self.settings.clone();
            raw.make_raw();
            tcsetattr(&self.tty, OptionalActions::Now, &raw)?;
            self.raw = true;
        }
        self.entered = true;
        self.tty.write_all(self.panel.enter().as_bytes())
    }

    pub(super) fn resized(&mut self, master: &File) -> io::Result<()> {
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

    /// Passes the program's output on; `false` if there was none.
    pub(super) fn output(&mut self, master: &mut File) -> io::Result<bool> {
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
            // No output at the moment, or no process has the terminal open (EIO).
            Err(_) => Ok(false),
        }
    }

    pub(super) fn next_frame(&self) -> Duration {
        self.frame.saturating_duration_since(Instant::now())
    }

    /// Draws the panel if it is due, and only between two sequences of the program's output.
    pub(super) fn frame(&mut self, feed: &Feed) -> io::Result<()> {
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
        out.push_str(&self.panel.draw(&feed.lines(self.panel)));
        self.tty.write_all(out.as_bytes())
    }

    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.entered) {
            // If the terminal cannot be written, it cannot be restored either.
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
