//! Standard output and standard error: widths, buffers, notices, and waits that end when the reader is gone.
#![forbid(unsafe_code)]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The width of lines: that of the terminal, or 100 columns without one.
pub(in crate::cli) fn width() -> usize {
    if !io::stdout().is_terminal() {
        return 100;
    }
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0).max(60))
}

/// Standard output, buffered, with colours if they are wanted.
pub(in crate::cli) fn output() -> impl Write {
    io::BufWriter::with_capacity(1 << 16, anstream::stdout())
}

/// Standard output, buffered, for text without colours, which need not be searched for them.
pub(in crate::cli) fn plain() -> impl Write {
    io::BufWriter::with_capacity(1 << 16, io::stdout())
}

/// Waits. Returns `false` as soon as the reader of standard output, a pipe, is gone. A signal ends the wait.
pub(in crate::cli) fn wait_while_read(time: Duration) -> bool {
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    match poll(&mut fds, Some(&time)) {
        Ok(0) | Err(_) => true,
        Ok(_) => !fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
    }
}

/// Writes one line of ours to standard error.
pub(in crate::cli) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "locktrace: {text}");
}
