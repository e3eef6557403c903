//! The screen of `top`: the state that it shows, and how keys change it.
//!
//! It draws into a buffer (`draw`) and touches no terminal, so tests can read the drawing.
#![forbid(unsafe_code)]

mod detail;
mod draw;
mod pen;

use super::view::lines::Sort;
use super::view::live::LiveTrace;
use crate::analysis::ConnId;
use crate::analysis::current::Snapshot;
use crate::report::human::cut;
use crate::trace::LogId;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::path::Path;

/// Which list is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum View {
    #[default]
    Connections,
    Databases,
    Processes,
}

/// What lies over the list.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Over {
    Help,
    /// Everything about one connection, scrolled down by so many lines.
    Detail(ConnId, usize),
}

/// Whether a key ends the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Go on.
    Stay,
    /// End.
    Quit,
}

/// What is selected, so that it stays selected when the order changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Selected {
    Connection(ConnId),
    Database(usize),
    Process(LogId),
}

/// See the module.
pub struct Screen {
    title: String,
    colours: bool,
    snapshot: Snapshot,
    problem: Option<String>,
    found: bool,
    frozen: bool,
    view: View,
    sort: Sort,
    reversed: bool,
    filter: String,
    typing: bool,
    over: Option<Over>,
    selected: Option<Selected>,
    /// The place of the selection in the list when that was last laid out, and the first place that is shown.
    place: usize,
    first: usize,
    /// The entries of the list, and how many lines there is room for.
    listed: Vec<Selected>,
    room: usize,
}

impl Screen {
    /// A screen for this directory, with `colours` or without.
    pub fn new(dir: &Path, colours: bool) -> Screen {
        Screen {
            title: cut(&dir.to_string_lossy(), 400),
            colours,
            snapshot: Snapshot::default(),
            problem: None,
            found: false,
            frozen: false,
            view: View::default(),
            sort: Sort::default(),
            reversed: false,
            filter: String::new(),
            typing: false,
            over: None,
            selected: None,
            place: 0,
            first: 0,
            listed: Vec::new(),
            room: 0,
        }
    }

    /// Shows the current state, unless the screen is frozen.
    pub fn update(&mut self, live: &LiveTrace) {
        if !self.frozen {
            self.take(live.snapshot(), live.found(), live.problem());
        }
    }

    /// Shows this snapshot.
    pub fn take(&mut self, snapshot: Snapshot, found: bool, problem: Option<&str>) {
        self.snapshot = snapshot;
        self.found = found;
        self.problem = problem.map(str::to_owned);
    }

    /// Handles a key.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control {
            return if matches!(key.code, KeyCode::Char('c' | 'C')) { Wish::Quit } else { Wish::Stay };
        }
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(c) if self.filter.len() < 200 => self.filter.push(c),
                _ => {}
            }
            return Wish::Stay;
        }
        if let Some(over) = &mut self.over {
            match (key.code, over) {
                (KeyCode::Char('q'), _) => return Wish::Quit,
                (KeyCode::Char(' '), _) => self.frozen = !self.frozen,
                (KeyCode::Down | KeyCode::Char('j'), Over::Detail(_, down)) => *down += 1,
                (KeyCode::Up | KeyCode::Char('k'), Over::Detail(_, down)) => *down = down.saturating_sub(1),
                (KeyCode::PageDown, Over::Detail(_, down)) => *down += 10,
                (KeyCode::PageUp, Over::Detail(_, down)) => *down = down.saturating_sub(10),
                _ => self.over = None,
            }
            return Wish::Stay;
        }
        let last = self.listed.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?' | 'h') => self.over = Some(Over::Help),
            KeyCode::Char(' ') => self.frozen = !self.frozen,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('1') => self.view = View::Connections,
            KeyCode::Char('2') => self.view = View::Databases,
            KeyCode::Char('3') => self.view = View::Processes,
            KeyCode::Tab => {
                self.view = match self.view {
                    View::Connections => View::Databases,
                    View::Databases => View::Processes,
                    View::Processes => View::Connections,
                }
            }
            KeyCode::Down | KeyCode::Char('j') => self.select(self.place + usize::from(self.selected.is_some())),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.place.saturating_sub(1)),
            KeyCode::PageDown => self.select((self.place + self.room.max(1)).min(last)),
            KeyCode::PageUp => self.select(self.place.saturating_sub(self.room.max(1))),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(last),
            KeyCode::Enter => {
                if self.selected.is_none() {
                    self.select(0);
                }
                if let Some(Selected::Connection(who)) = self.selected {
                    self.over = Some(Over::Detail(who, 0));
                }
            }
            _ => {}
        }
        Wish::Stay
    }

    fn select(&mut self, place: usize) {
        let place = place.min(self.listed.len().saturating_sub(1));
        if let Some(&selected) = self.listed.get(place) {
            (self.selected, self.place) = (Some(selected), place);
        }
    }
}
