//! What the parent of `locktrace run` sees of the program: its exit code, its signals, its environment.

use super::WRITES;
use crate::place::{PYTHON, Place, parts, text};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn exit_codes_are_the_programs() {
    let place = Place::new();
    std::fs::write(place.path("plain"), "text").unwrap();
    std::fs::write(place.path("script"), "#!/no/such/interpreter\n").unwrap();
    std::os::unix::fs::symlink("/bin/sh", place.path("-odd")).unwrap();
    let set_mode = Command::new("chmod").args(["755"]).arg(place.path("script")).status().unwrap();
    assert!(set_mode.success());
    for (command, code, says) in [
        (&["true"][..], 0, "no database was recorded"),
        (&["sh", "-c", "exit 3"], 3, "no database was recorded"),
        (&["sh", "-c", "kill -9 $$"], 137, "no database was recorded"),
        (&["no-such-program-anywhere"], 127, "there is no such program"),
        (&["./no/such/program"], 127, "there is no such program"),
        (&["./plain"], 126, "cannot be executed"),
        (&["./script"], 126, "interpreter"),
        (&["./-odd", "-c", "exit 4"], 4, "no database was recorded"),
    ] {
        let (found, out, err) = parts(&place.run(command));
        assert_eq!((found, &*out), (Some(code), ""), "{command:?}: {err}");
        assert!(err.contains(says), "{command:?}: {err}");
        assert!(!place.path("locktrace-trace").exists(), "a process that opens no database leaves no file");
    }
    for arguments in [&["run"][..], &["run", "--"], &["run", "--limit", "1", "--", "true"], &["run", "--sql", "all", "true"]] {
        assert_eq!(place.locktrace(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_stops_nothing() {
    let place = Place::new();
    let (code, out, err) = parts(&place.locktrace(&["run", "-o", "/proc/no/such", "--", PYTHON, "-c", WRITES, "a.db"]));
    assert_eq!((code, &*out), (Some(0), "1\n"), "{err}");
    assert!(err.contains("not recording: /proc/no/such") && err.contains("no trace: "), "{err}");
}

#[test]
fn signals_reach_the_program_and_the_summary_still_comes() {
    for (signal, code) in [("TERM", 5), ("INT", 6), ("HUP", 7)] {
        let place = Place::new();
        let program = format!(
            "
import signal, sqlite3, sys
signal.alarm(50)
def stop(n, frame): sys.exit({code})
signal.signal(signal.SIG{signal}, stop)
sqlite3.connect('a.db').execute('CREATE TABLE t(x)')
print('ready', flush=True)
while True: signal.pause()
"
        );
        // A shell starts its background jobs with SIGINT ignored, which would be kept: the tests may run in one.
        let mut command = place.command("env");
        command.args([&format!("--default-signal={signal}"), env!("CARGO_BIN_EXE_locktrace")]);
        command.args(["run", "--", PYTHON, "-c", &program]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}: {err}");
        assert!(err.contains("records from 1 process"), "{signal}: {err}");
    }
}

/// A key on the terminal reaches the whole group; passing it on would interrupt the program twice.
#[test]
fn the_terminals_interrupt_comes_once() {
    let place = Place::new();
    let program = "
import signal, sys
signal.alarm(50)
count = 0
def interrupt(n, frame):
    global count
    count += 1
    print('interrupted', flush=True)
signal.signal(signal.SIGINT, interrupt)
signal.signal(signal.SIGTERM, lambda n, frame: sys.exit(10 + count))
print('ready', flush=True)
while True: signal.pause()
";
    std::fs::write(place.path("program.py"), program).unwrap();
    let driver = "
import os, pty, signal, sys
signal.alarm(50)
pid, tty = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'run', '--', sys.executable, 'program.py'])
said = b''
def until(word):
    global said
    while word not in said: said += os.read(tty, 1000)
until(b'ready')
os.write(tty, b'\\x03')
until(b'interrupted')
os.kill(pid, signal.SIGTERM)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let output = place.command(PYTHON).args(["-c", driver, env!("CARGO_BIN_EXE_locktrace")]).output().unwrap();
    assert_eq!(output.status.code(), Some(11), "{output:?}");
}

#[test]
fn what_was_ignored_stays_ignored_and_a_preload_stays_preloaded() {
    let place = Place::new();
    let program = "import os, signal; print(signal.getsignal(signal.SIGHUP).name, os.environ['LD_PRELOAD'].split(':')[1:])";
    let line = format!("trap '' HUP; exec \"$0\" run -- {PYTHON} -c \"{program}\"");
    let mut command = place.command("sh");
    command.env("LD_PRELOAD", "/no/such/library.so").args(["-c", &line, env!("CARGO_BIN_EXE_locktrace")]);
    assert_eq!(text(&command.output().unwrap().stdout), "SIG_IGN ['/no/such/library.so']\n");
}
