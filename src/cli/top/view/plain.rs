//! The state of running programs as plain text, for pipes, files and simple terminals. Counts show what is left out for want of room.
#![forbid(unsafe_code)]

use super::lines::{self, Line, Sort};
use crate::analysis::current::Snapshot;
use crate::report::human::{count, cut, pad, pad_left};
use crate::trace::Trace;
use std::io::{self, Write};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Most lines of each kind in a block.
const MOST: usize = 100;

/// The two summary lines of screen and text: processes and connections, refusals.
pub fn summary(snapshot: &Snapshot) -> (String, String) {
    let ended = snapshot.processes.iter().filter(|process| process.ended).count();
    let running =
        snapshot.processes.iter().filter(|process| !process.ended && process.connections + process.records as usize > 0).count();
    let waiting = snapshot.rows.iter().filter(|row| row.waits()).count();
    let s = |number: usize| if number == 1 { "" } else { "s" };
    let es = if running == 1 { "" } else { "es" };
    let ended = if ended > 0 { format!(", {ended} ended") } else { String::new() };
    let first =
        format!("{running} process{es}{ended}, {} open connection{}", count(snapshot.connections as u64), s(snapshot.connections));
    let (one, ten) = snapshot.refused_in;
    let lost = if snapshot.lost > 0 { format!(", {} records not seen", count(snapshot.lost)) } else { String::new() };
    let second =
        format!("refused {one}/s (10 s: {:.1}/s), {waiting} waiting, {} gave up{lost}", ten as f64 / 10.0, count(snapshot.gave_up));
    (first, second)
}

/// Writes one block, in lines of at most `width` columns.
///
/// # Errors
/// Errors of `out`.
pub fn write(snapshot: &Snapshot, trace: &Trace, title: &str, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |text: &str| writeln!(out, "{}", cut(text, width).trim_end());
    let (first, second) = summary(snapshot);
    line(&format!("{title}: {first}"))?;
    line(&second)?;
    let databases = lines::databases(snapshot, "");
    if !databases.is_empty() {
        line("")?;
        line(&database_cells(["writer 1 s", "10 s", "refused/s", "waiting", "holding", "-wal", "database"], width))?;
    }
    for &index in databases.iter().take(MOST) {
        line(&database(snapshot, index, width))?;
    }
    more(databases.len(), "databases", &mut line)?;
    let rows = lines::lines(snapshot, trace, Sort::Chains, "");
    let columns = Columns::of(&rows, width);
    if !rows.is_empty() {
        line("")?;
        line(&columns.header())?;
    }
    for row in rows.iter().take(MOST) {
        line(&columns.row(row, databases.len() > 1))?;
    }
    more(rows.len(), "connections", &mut line)
}

fn more(all: usize, what: &str, line: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    if all > MOST { line(&format!("and {} more {what}", count((all - MOST) as u64))) } else { Ok(()) }
}

/// One database in columns.
pub(in crate::cli::top) fn database(snapshot: &Snapshot, index: usize, width: usize) -> String {
    let Some(row) = snapshot.databases.get(index) else { return String::new() };
    let (one, ten) = row.occupied.unzip();
    let cells = [
        &lines::percent(one),
        &lines::percent(ten),
        &row.refused_in.0.to_string(),
        &row.waiters.to_string(),
        &row.holders.to_string(),
        &lines::wal(row.wal),
        &lines::path(row.path.as_deref()),
    ];
    database_cells(cells.map(String::as_str), width)
}

/// The cells in columns. A narrow line has only the main ones.
pub(in crate::cli::top) fn database_cells(cells: [&str; 7], width: usize) -> String {
    let [one, ten, refused, waiting, holding, wal, path] = cells;
    let narrow = width < 80;
    let widths: &[(&str, usize)] = if narrow {
        &[(one, 10), (ten, 6), (waiting, 8)]
    } else {
        &[(one, 10), (ten, 6), (refused, 10), (waiting, 8), (holding, 8), (wal, 12)]
    };
    let mut text: String = widths.iter().map(|&(cell, columns)| pad_left(cell, columns)).collect();
    text.push_str("  ");
    let left = width.saturating_sub(text.width());
    // The end of a long path is more useful than its beginning.
    text + &end(path, left)
}

/// The end of a text, in at most this many columns.
fn end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= room;
        room = room.saturating_sub(if fits { wide } else { room });
        fits
    };
    let mut kept: Vec<char> = text.chars().rev().take_while(fits).collect();
    kept.reverse();
    if columns == 0 { String::new() } else { format!("…{}", kept.into_iter().collect::<String>()) }
}

/// The widths of the columns of connections: as wide as their cells, up to a limit. The statement gets the rest of the line.
pub(crate) struct Columns {
    widths: [usize; 4],
    width: usize,
}

impl Columns {
    pub(crate) fn of(rows: &[Line], width: usize) -> Columns {
        let most: [usize; 4] = match width {
            0..70 => [8, 16, 15, 0],
            70..110 => [9, 24, 20, 14],
            _ => [10, 36, 26, 30],
        };
        let widest = |cell: fn(&Line) -> &String| rows.iter().map(|row| cell(row).width()).max().unwrap_or(0);
        let widest = [
            widest(|row| &row.age).max(8),
            widest(|row| &row.lock).max(8),
            widest(|row| &row.who).max(10),
            widest(|row| &row.between),
        ];
        Columns { widths: std::array::from_fn(|column| widest[column].min(most[column])), width }
    }

    pub(in crate::cli::top) fn header(&self) -> String {
        self.line(["for", "lock", "connection", "", "statement"])
    }

    /// The line of a connection; with its database if there are `many`.
    pub(crate) fn row(&self, row: &Line, many: bool) -> String {
        let sql = if many { format!("{}: {}", row.database, row.sql) } else { row.sql.clone() };
        self.line([&row.age, &row.lock, &row.who, &row.between, &sql])
    }

    fn line(&self, cells: [&str; 5]) -> String {
        let [age, lock, who, between, sql] = cells;
        let mut text = pad_left(age, self.widths[0]);
        for (cell, columns) in [lock, who, between].into_iter().zip(&self.widths[1..]) {
            if *columns > 0 {
                text.push_str("  ");
                text.push_str(&pad(cell, *columns));
            }
        }
        text.push_str("  ");
        let left = self.width.saturating_sub(text.width());
        text + &cut(sql, left)
    }
}
