//! A terminal for a program: tmux, with its screen read and keys sent to it.
//!
//! Tests wait for what the screen must show, with a deadline, never for a time to pass.

use crate::place::Place;
use crate::place::lines::DEADLINE;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A terminal of its own; ended when dropped.
pub struct Tmux {
    socket: std::path::PathBuf,
}

impl Tmux {
    /// Runs a shell command in a terminal of this size, in the directory of this place. `None` where there is no tmux.
    pub fn start(place: &Place, (width, height): (u16, u16), command: &str) -> Option<Tmux> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(
                std::env::var_os("LOCKTRACE_REQUIRE_ECOSYSTEM").is_none_or(|value| value.is_empty()),
                "LOCKTRACE_REQUIRE_ECOSYSTEM is set, and there is no tmux"
            );
            eprintln!("SKIPPED: there is no tmux");
            return None;
        }
        // The server before may not have gone yet.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let tmux = Tmux { socket: place.path(&format!("tmux-{}", NUMBER.fetch_add(1, Ordering::Relaxed))) };
        let mut server = place.command("tmux");
        server.env_remove("TMUX").env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh");
        let size = [width.to_string(), height.to_string()];
        let server =
            server.arg("-S").arg(&tmux.socket).args(["-f", "/dev/null", "-u", "new-session", "-d", "-x", &size[0], "-y", &size[1]]);
        let output = server.arg(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new("tmux").arg("-S").arg(&self.socket).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap()
    }

    /// What is on the screen; with `-e`, colours and all.
    pub fn screen(&self, how: &[&str]) -> String {
        String::from_utf8(self.command(&[&["capture-pane", "-p"], how].concat()).stdout).unwrap()
    }

    /// The screen, as soon as this holds.
    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen(&[]);
            if is(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "{what} never came; instead:\n{screen}");
            std::thread::yield_now();
        }
    }

    /// Presses keys, by tmux's names.
    pub fn keys(&self, keys: &[&str]) {
        assert!(self.command(&[&["send-keys"], keys].concat()).status.success());
    }

    pub fn resize(&self, width: u16, height: u16) {
        assert!(self.command(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]).status.success());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.command(&["kill-server"]);
    }
}
