//! A pen that writes a buffer from top to bottom.
#![forbid(unsafe_code)]

use crate::report::human::cut;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Writes line below line while there is room.
pub(super) struct Pen<'b> {
    pub(super) buffer: &'b mut Buffer,
    pub(super) area: Rect,
    pub(super) y: u16,
}

impl Pen<'_> {
    pub(super) fn line(&mut self, text: &str, style: Style) {
        if self.y < self.area.height {
            let text = cut(text, usize::from(self.area.width));
            self.buffer.set_stringn(self.area.x, self.area.y + self.y, text, usize::from(self.area.width), style);
            self.y += 1;
        }
    }

    /// A line whose style fills the whole width.
    pub(super) fn whole(&mut self, text: &str, style: Style) {
        if self.y < self.area.height {
            let row = Rect { y: self.area.y + self.y, height: 1, ..self.area };
            self.buffer.set_style(row, style);
        }
        self.line(text, style);
    }
}
