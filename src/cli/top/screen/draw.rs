//! The drawing of a [`Screen`]: its title, one of the three lists or what lies over them, and the line of keys.
//!
//! The screen remembers the layout for the next key.
#![forbid(unsafe_code)]

use super::super::view::lines::{self, LineKind};
use super::super::view::plain;
use super::pen::Pen;
use super::{Over, Screen, Selected, View, detail};
use crate::analysis::ConnId;
use crate::trace::Trace;
use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};

const HELP: &[&str] = &[
    "1 2 3, Tab    connections, databases, processes",
    "↑ ↓ j k       select; PgUp PgDn Home End g G too",
    "Enter         all about the selected connection",
    "s             next order: who waits for whom, age, process, database, statement",
    "r             reverse the order",
    "/             filter by statement, path, process or lock; Esc: no filter",
    "Space         freeze, or go on",
    "? h           this help",
    "q, Ctrl-C     quit",
    "",
    "wants X WRITE   it is refused and tries again; refused: it has not for half a second",
    "for 4711 c2     connection 2 of process 4711 blocks it; └ shows that as a tree",
    "≥ 5.0 s         it was taken before the oldest record in the log",
    "< 0.4 s         a moment ago: it may be over by now",
    "X WRITE?        records are missing since then: it may be free by now",
    "writer          share of the time with a writer: X WRITE, or RESERVED and above",
    "The SHARED that every connection of a WAL database holds is shown only if it blocks somebody.",
];

impl Screen {
    /// Draws the screen.
    pub fn draw(&mut self, frame: &mut Frame<'_>, trace: &Trace) {
        let area = frame.area();
        let buffer = frame.buffer_mut();
        let (first, second) = plain::summary(&self.snapshot);
        let frozen = if self.frozen { "  FROZEN (space: go on)" } else { "" };
        let mut pen = Pen { buffer, area, y: 0 };
        pen.line(&format!("locktrace top  {}{frozen}", self.title), self.style(None).add_modifier(Modifier::BOLD));
        let wait = if self.found { "" } else { "waiting for the directory: " };
        pen.line(&format!("{wait}{first}, {second}"), Style::default());
        if let Some(problem) = &self.problem {
            pen.line(&format!("problem: {problem}"), self.style(Some(Color::Red)));
        }
        match self.over.clone() {
            Some(Over::Help) => HELP.iter().for_each(|text| pen.line(text, Style::default())),
            Some(Over::Detail(who, down)) => self.detail(&mut pen, trace, who, down),
            None => {
                // The bottom line is for the keys.
                pen.area.height = area.height.saturating_sub(1).max(1);
                match self.view {
                    View::Connections => self.connections(&mut pen, trace),
                    View::Databases => self.databases(&mut pen),
                    View::Processes => self.processes(&mut pen, trace),
                }
                pen.area.height = area.height;
            }
        }
        if area.height > 3 {
            pen.y = area.height - 1;
            let keys = self.keys();
            pen.line(&keys, Style::default().add_modifier(Modifier::REVERSED));
        }
    }

    fn keys(&self) -> String {
        let filter = match (&self.filter, self.typing) {
            (filter, true) => format!("/{filter}_  Enter: keep  Esc: none"),
            (filter, false) if !filter.is_empty() => format!("/{filter}  "),
            _ => String::new(),
        };
        if self.typing {
            return filter;
        }
        if self.over.is_some() {
            return "any key: back  q: quit".to_owned();
        }
        let order = if self.reversed { format!("{}, reversed", self.sort.name()) } else { self.sort.name().to_owned() };
        format!("{filter}?: help  q: quit  s: {order}  /: filter  Enter: more  1 2 3: views")
    }

    fn connections(&mut self, pen: &mut Pen<'_>, trace: &Trace) {
        let width = usize::from(pen.area.width);
        let databases = lines::databases(&self.snapshot, "");
        // At most a third of the screen for databases.
        let most = usize::from(pen.area.height / 3).saturating_sub(1);
        if !databases.is_empty() && most > 0 {
            self.database_header(pen);
            for &index in databases.iter().take(most) {
                pen.line(&plain::database(&self.snapshot, index, width), Style::default());
            }
            if databases.len() > most {
                pen.line(&format!("and {} more (2: all)", databases.len() - most), Style::default());
            }
            pen.line("", Style::default());
        }
        let mut rows = lines::lines(&self.snapshot, trace, self.sort, &self.filter);
        if self.reversed {
            rows.reverse();
        }
        if rows.is_empty() {
            let why = if self.filter.is_empty() {
                "nobody holds a lock that another could wait for"
            } else {
                "nothing matches the filter"
            };
            self.listed.clear();
            pen.line(why, Style::default());
            return;
        }
        let columns = plain::Columns::of(&rows, width);
        pen.line(&columns.header(), self.header());
        let many = self.snapshot.databases.len() > 1;
        let ids = rows.iter().map(|row| Selected::Connection(self.snapshot.rows[row.row].who)).collect();
        let looks: Vec<Style> = rows.iter().map(|row| self.look(row.look)).collect();
        self.list(pen, ids, |place| (columns.row(&rows[place], many), looks[place]));
    }

    fn databases(&mut self, pen: &mut Pen<'_>) {
        self.database_header(pen);
        let mut databases = lines::databases(&self.snapshot, &self.filter);
        if self.reversed {
            databases.reverse();
        }
        let width = usize::from(pen.area.width);
        let ids = databases.iter().map(|&index| Selected::Database(index)).collect();
        let texts: Vec<String> = databases.iter().map(|&index| plain::database(&self.snapshot, index, width)).collect();
        self.list(pen, ids, |place| (texts[place].clone(), Style::default()));
    }

    fn database_header(&self, pen: &mut Pen<'_>) {
        let cells = ["writer 1 s", "10 s", "refused/s", "waiting", "holding", "-wal", "database"];
        pen.line(&plain::database_cells(cells, usize::from(pen.area.width)), self.header());
    }

    fn processes(&mut self, pen: &mut Pen<'_>, trace: &Trace) {
        let width = usize::from(pen.area.width);
        pen.line(&detail::process_header(width), self.header());
        let mut processes = lines::processes(&self.snapshot, trace, &self.filter);
        if self.reversed {
            processes.reverse();
        }
        let ids = processes.iter().map(|process| Selected::Process(process.log)).collect();
        let looks: Vec<Style> =
            processes.iter().map(|process| if process.ended { self.look(LineKind::Ended) } else { Style::default() }).collect();
        self.list(pen, ids, |place| (detail::process(&processes[place], trace, width), looks[place]));
    }

    /// Draws the part of a list that fits, including the selected line.
    fn list(&mut self, pen: &mut Pen<'_>, ids: Vec<Selected>, line: impl Fn(usize) -> (String, Style)) {
        self.room = usize::from(pen.area.height.saturating_sub(pen.y));
        match self.selected.and_then(|selected| ids.iter().position(|&id| id == selected)) {
            Some(place) => self.place = place,
            // The selected entry is gone. Nothing is selected, and the next key starts from its place.
            None => (self.selected, self.place) = (None, self.place.min(ids.len().saturating_sub(1))),
        }
        if self.selected.is_none() && self.place > 0 && self.first == 0 {
            self.place = 0;
        }
        let hidden = ids.len() > self.room;
        let lines = if hidden { self.room.saturating_sub(1) } else { self.room };
        if self.selected.is_some() {
            self.first = self.first.min(self.place).max((self.place + 1).saturating_sub(lines));
        }
        self.first = self.first.min(ids.len().saturating_sub(lines));
        for place in (self.first..ids.len()).take(lines) {
            let (text, mut style) = line(place);
            if self.selected == Some(ids[place]) {
                style = style.add_modifier(Modifier::REVERSED);
            }
            pen.whole(&text, style);
        }
        if hidden {
            let (from, to) = (self.first + 1, (self.first + lines).min(ids.len()));
            pen.line(&format!("{from} to {to} of {}", ids.len()), Style::default());
        }
        self.listed = ids;
    }

    fn detail(&mut self, pen: &mut Pen<'_>, trace: &Trace, who: ConnId, down: usize) {
        let width = usize::from(pen.area.width);
        let Some(row) = self.snapshot.rows.iter().find(|row| row.who == who) else {
            let name = lines::who(trace, who, 0);
            return pen.line(&format!("{name}: holds nothing, and waits for nothing any more"), Style::default());
        };
        let text = detail::connection(&self.snapshot, trace, row, width);
        let room = usize::from(pen.area.height.saturating_sub(pen.y + 1)).max(1);
        let down = down.min(text.len().saturating_sub(room));
        self.over = Some(Over::Detail(who, down));
        text.iter().skip(down).take(room).for_each(|line| pen.line(line, Style::default()));
    }

    fn style(&self, colour: Option<Color>) -> Style {
        match colour {
            Some(colour) if self.colours => Style::default().fg(colour),
            _ => Style::default(),
        }
    }

    fn header(&self) -> Style {
        self.style(Some(Color::Cyan)).add_modifier(Modifier::BOLD)
    }

    fn look(&self, look: LineKind) -> Style {
        match look {
            LineKind::Holds => Style::default(),
            LineKind::Blocks => self.style(Some(Color::Red)).add_modifier(Modifier::BOLD),
            LineKind::Waits => self.style(Some(Color::Yellow)),
            LineKind::Refused | LineKind::Ended => Style::default().add_modifier(Modifier::DIM),
        }
    }
}
