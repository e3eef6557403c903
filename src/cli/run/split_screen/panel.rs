//! The panel at the bottom of a terminal, as the bytes that draw it.
//!
//! The program's output scrolls in the region above. Drawing the panel saves and restores the program's cursor, colours and other settings.
#![forbid(unsafe_code)]

use crate::report::human::pad;
use std::fmt::Write as _;

/// The rows and columns of a terminal, and the rows of the panel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Panel {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) height: u16,
}

impl Panel {
    /// A panel of a third of the terminal, at most twelve lines. A low terminal gets none, because the program needs all of it.
    pub(super) fn on(rows: u16, columns: u16) -> Panel {
        let height = if rows < 12 || columns < 20 { 0 } else { (rows / 3).min(12) };
        Panel { rows, columns, height }
    }

    /// The rows of the program.
    pub(super) fn above(&self) -> u16 {
        self.rows - self.height
    }

    /// Makes room: moves the screen up as far as the cursor requires, and sets the region above the panel to scroll.
    pub(super) fn enter(&self) -> String {
        if self.height == 0 {
            return String::new();
        }
        let room = "\n".repeat(usize::from(self.height));
        format!("{room}\x1b[{}A{}", self.height, self.region())
    }

    /// Sets the region in which the program's output scrolls.
    pub(super) fn region(&self) -> String {
        if self.height == 0 { String::new() } else { format!("\x1b7\x1b[1;{}r\x1b8", self.above()) }
    }

    /// Draws these lines, the first one as a heading.
    pub(super) fn draw(&self, lines: &[String]) -> String {
        if self.height == 0 {
            return String::new();
        }
        // One column less: some terminals wrap to the next line as soon as the last column is written.
        let width = usize::from(self.columns) - 1;
        let mut out = "\x1b7".to_owned();
        for number in 0..self.height {
            let line = lines.get(usize::from(number)).map_or("", String::as_str);
            let style = if number == 0 { "\x1b[0;7m" } else { "\x1b[0m" };
            let _ = write!(out, "\x1b[{};1H{style}{}\x1b[0m\x1b[K", self.above() + number + 1, pad(line, width));
        }
        out + "\x1b8"
    }

    /// Removes the panel and gives the whole terminal back.
    pub(super) fn leave(&self) -> String {
        if self.height == 0 { String::new() } else { format!("\x1b7\x1b[r\x1b[{};1H\x1b[0m\x1b[J\x1b8", self.above() + 1) }
    }
}
