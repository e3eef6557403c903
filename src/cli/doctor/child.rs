//! A child process whose output is the answer to a question, with limits on its time and its bytes.
//!
//! It has a process group of its own, which is ended with it. It gets no input, and no settings of ours in its environment.
#![forbid(unsafe_code)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a child may take.
const LONGEST: Duration = Duration::from_secs(15);

/// How many bytes of its output are kept.
const MOST: u64 = 1 << 20;

/// The output of a child, and whether it succeeded.
#[derive(Debug)]
pub(super) struct ChildOutput {
    pub success: bool,
    pub out: String,
    pub err: String,
}

impl ChildOutput {
    /// The last line of its standard error.
    pub(super) fn complaint(&self) -> String {
        let line = self.err.lines().rev().find(|line| !line.trim().is_empty());
        line.map_or_else(|| "it printed no message".to_owned(), |line| line.trim().to_owned())
    }
}

/// Runs a command to its end. The error is the reason in words.
pub(super) fn ask(command: &mut Command) -> Result<ChildOutput, String> {
    for variable in ["LOCKTRACE_LIMIT", "LOCKTRACE_SQL", "LOCKTRACE_NOT"] {
        command.env_remove(variable);
    }
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = piped.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let until = Instant::now() + LONGEST;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                end(&mut child);
                return Err(format!("it did not answer within {} s", LONGEST.as_secs()));
            }
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    };
    // Processes that it left running may hold the pipes open, so the wait for the text is limited.
    let text = |from: Receiver<String>| from.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok(ChildOutput { success: status.success(), out: text(out), err: text(err) })
}

/// Ends the child and its process group. The child was not waited for yet, so its number is still its own.
fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// Reads a pipe to its end on a thread of its own.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, receive) = channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.by_ref().take(MOST).read_to_end(&mut bytes);
            let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
            // Reads and drops the rest, so that the writer is not blocked.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        });
    }
    receive
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_leaves_another_behind_is_not_waited_for() {
        let begun = Instant::now();
        let said = ask(Command::new("sh").args(["-c", "sleep 30 & echo out; echo err >&2; echo $! >&2; exit 3"])).unwrap();
        assert!(!said.success);
        assert!(begun.elapsed() < LONGEST);
        assert!(ask(&mut Command::new("/no/such/program")).unwrap_err().contains("cannot be started"));
    }
}
