//! The lines of the panel, computed on a thread of their own, so that the program's output never waits for them.
#![forbid(unsafe_code)]

use super::panel::Panel;
use crate::cli::top::view::lines::{self, Sort};
use crate::cli::top::view::live::LiveTrace;
use crate::cli::top::view::plain::{Columns, summary};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
pub(super) struct Feed {
    lines: Arc<Mutex<Vec<String>>>,
    /// The size of the panel: columns in the upper half, lines in the lower.
    room: Arc<AtomicU32>,
}

impl Feed {
    /// Starts the thread.
    pub(super) fn start(dir: &Path) -> Feed {
        let feed = Feed { lines: Arc::default(), room: Arc::default() };
        let (lines, room, dir) = (Arc::clone(&feed.lines), Arc::clone(&feed.room), dir.to_owned());
        std::thread::spawn(move || follow(&dir, &lines, &room));
        feed
    }

    /// The latest lines, and the size for the next ones.
    pub(super) fn lines(&self, panel: Panel) -> Vec<String> {
        self.room.store(u32::from(panel.columns) << 16 | u32::from(panel.height), Ordering::Relaxed);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows the trace until this process ends.
fn follow(dir: &Path, lines: &Mutex<Vec<String>>, room: &AtomicU32) {
    let mut live = LiveTrace::new(dir);
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

/// The most important lines, at most `height`.
fn text(live: &LiveTrace, columns: usize, height: usize) -> Vec<String> {
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
