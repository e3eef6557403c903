//! The terminal of `top`: entered, drawn on by a [`Screen`], read for keys, and always restored.
#![forbid(unsafe_code)]

use super::Until;
use super::screen::{Screen, Wish};
use super::view::live::LiveTrace;
use crate::cli::io::Failure;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io;
use std::time::{Duration, Instant};

/// How often the screen is redrawn, also without new records, because ages grow.
const FRAME: Duration = Duration::from_millis(200);

/// Shows the screen until the user quits.
pub(super) fn show(live: &mut LiveTrace, until: &Until) -> Result<(), Failure> {
    // Before the terminal is entered, so that an error about the directory is printed normally.
    live.poll()?;
    within(|terminal| run(terminal, live, until))
}

/// Enters the terminal, runs `does`, and restores the terminal, also after a failure and before a panic prints its message.
///
/// # Errors
/// Errors of the terminal, and of `does`.
pub fn within<E: From<io::Error>>(does: impl FnOnce(&mut DefaultTerminal) -> Result<(), E>) -> Result<(), E> {
    // Also installs a panic hook that restores the terminal.
    let mut terminal = ratatui::try_init()?;
    let done = does(&mut terminal);
    let left = ratatui::try_restore();
    done?;
    Ok(left?)
}

fn run(terminal: &mut DefaultTerminal, live: &mut LiveTrace, until: &Until) -> Result<(), Failure> {
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(live.dir(), colours);
    let mut drawn: Option<Instant> = None;
    let mut dirty = false;
    loop {
        if dirty || drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            screen.update(live);
            terminal.draw(|frame| screen.draw(frame, live.trace()))?;
            (drawn, dirty) = (Some(Instant::now()), false);
        }
        if until.is_reached() {
            return Ok(());
        }
        let frame = FRAME.saturating_sub(drawn.map_or(FRAME, |drawn| drawn.elapsed()));
        if wait(until.at_most(live.interval().min(frame)))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if screen.key(key) == Wish::Quit {
                        return Ok(());
                    }
                    dirty = true;
                }
                Event::Resize(..) => dirty = true,
                _ => {}
            }
            // Goes on to read the logs, so that a key that is held down does not stop that.
        }
        live.poll()?;
    }
}

/// Waits for something from the terminal; a signal ends the wait.
fn wait(time: Duration) -> io::Result<bool> {
    match event::poll(time) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        other => other,
    }
}
