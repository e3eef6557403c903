//! Notes for the user: why nothing is recorded, or not everything. They are never written to a descriptor of the program's. Even standard error may
//! be a data file, in a daemon.
//!
//! A note is one line of JSON, appended to the file that `LOCKTRACE_NOTES` names (`locktrace run` sets it, and shows the notes at the end). Without
//! it, the file is `notes` in the trace directory:
//!
//! `{"t":"note","pid":1,"exe":"/usr/bin/x","kind":"lost","module":"","why":"…"}`

use super::failure::Failure;
use super::limits::{self, Limits};
use super::line::{Fixed, Line, Sink};
use crate::memory::{Mapping, keep_c_str};
use crate::path::Paths;
use crate::sys::{self, Fd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::ffi::{CStr, c_char};
use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// What a note is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// There is no log.
    NotRecording,
    /// Records or names are being lost.
    Lost,
    /// A variable could not be understood.
    Config,
    /// A SQLite was covered, and opened no database.
    Covered,
    /// The process is excluded.
    Excluded,
    /// A SQLite is not covered.
    NotCovered,
    /// A SQLite was covered, and its databases were in memory only.
    Memory,
}

impl Kind {
    /// The word for it in a note.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::NotRecording => "not-recording",
            Kind::Lost => "lost",
            Kind::Config => "config",
            Kind::Covered => "covered",
            Kind::Excluded => "excluded",
            Kind::NotCovered => "not-covered",
            Kind::Memory => "memory",
        }
    }
}

/// The longest note, in bytes.
const MOST: usize = 4096;
/// Bytes of a reason.
const WHY: usize = 1000;

/// Which kinds [`once`] has noted in this process, or the one it was forked from.
static GIVEN: AtomicU32 = AtomicU32::new(0);
/// The file that `LOCKTRACE_NOTES` names; null = none.
static NOTES: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Remembers the file that `LOCKTRACE_NOTES` names. Called while the program starts, when no other thread changes the environment.
pub(super) fn prepare() {
    if NOTES.load(Ordering::Acquire).is_null()
        && let Some(path) = super::config::variable(c"LOCKTRACE_NOTES").and_then(keep_c_str)
    {
        NOTES.store(path.as_ptr().cast_mut(), Ordering::Release);
    }
}

/// Writes a note, once for each kind in the life of this process and its children.
#[cold]
#[inline(never)]
pub fn once(kind: Kind, why: fmt::Arguments<'_>) {
    let bit = 1 << kind as u32;
    if GIVEN.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        note(kind, b"", why);
    }
}

/// Writes a note about a module.
#[cold]
#[inline(never)]
pub fn note(kind: Kind, module: &[u8], why: fmt::Arguments<'_>) {
    // A note that cannot be written is lost.
    let _ = write(kind, module, why);
}

struct Text<'a>(Fixed<'a>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

fn write(kind: Kind, module: &[u8], why: fmt::Arguments<'_>) -> Option<()> {
    let mut memory = Mapping::new(32 << 10)?;
    let (words, rest) = memory.bytes().split_at_mut_checked(WHY)?;
    let (exe, rest) = rest.split_at_mut_checked(1024)?;
    let mut words = Text(Fixed::new(words));
    let _ = fmt::Write::write_fmt(&mut words, why);
    let exe = if limits::sealed() { None } else { sys::read_link(c"/proc/self/exe", exe) }.unwrap_or_default();
    let module = module.get(..1024).unwrap_or(module);
    let line = |exe: &[u8], module: &[u8], out: &mut dyn Sink| {
        let pid = sys::pid();
        let mut line = Line::new(out, "note");
        line.number("pid", pid).text("exe", exe).str("kind", kind.name()).text("module", module);
        line.text("why", words.0.bytes()).finish();
    };
    let mut out = Fixed::new(rest);
    line(exe, module, &mut out);
    // Paths full of odd bytes are long in JSON.
    if out.bytes().len() <= MOST {
        append(out.bytes())
    } else {
        let mut short = Mapping::new(8 << 10)?;
        let mut out = Fixed::new(short.bytes());
        line(b"", b"", &mut out);
        if out.bytes().len() <= MOST { append(out.bytes()) } else { None }
    }
}

fn append(line: &[u8]) -> Option<()> {
    let named = NOTES.load(Ordering::Acquire);
    if !named.is_null() {
        // SAFETY: `prepare` keeps it for the life of the process, NUL-terminated.
        return append_to(unsafe { CStr::from_ptr(named) }, OFlags::empty(), line);
    }
    let mut paths = Paths::<1>::new()?;
    let [path] = paths.each();
    path.set(&[super::config::settings()?.dir, b"/notes"])?;
    append_to(path.as_c_str(), OFlags::CREATE, line)
}

fn append_to(path: &CStr, more: OFlags, line: &[u8]) -> Option<()> {
    // Without blocking: the path may name a pipe.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = Fd::from(rustix::fs::openat(CWD, path, flags | more, Mode::RUSR | Mode::WUSR).ok()?);
    let stat = rustix::fs::lstat(path).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    // A write past the limit kills the process.
    let limits = Limits::look()?;
    if (stat.st_size as u64).checked_add(line.len() as u64)? > limits.file_size {
        return None;
    }
    // O_APPEND writes to the end, whatever the offset (open(2)); by the system call that SQLite writes with.
    rustix::io::pwrite(&file, line, 0).ok().map(|_| ())
}

/// Notes, once, that nothing can be recorded in this directory, and why.
pub(super) fn not_recording(dir: &[u8], why: &Failure) {
    once(Kind::NotRecording, format_args!("{}: {why}. Set LOCKTRACE_DIR to a directory this process can write", Shown(dir)));
}

/// Bytes for people: UTF-8 as it is, anything else escaped.
pub(super) struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) => f.write_str(text),
            Err(_) => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}
