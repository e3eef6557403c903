//! A reason why something could not be done, in fixed memory: a few words and the system's error.
#![forbid(unsafe_code)]

use rustix::io::Errno;
use std::fmt;

/// A reason that can be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    what: &'static str,
    errno: Option<Errno>,
}

impl Failure {
    /// A reason in words.
    pub const fn new(what: &'static str) -> Failure {
        Failure { what, errno: None }
    }

    /// The system's error when this was tried.
    pub const fn of(what: &'static str, errno: Errno) -> Failure {
        Failure { what, errno: Some(errno) }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { what: "", errno: Some(errno) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        let Some(errno) = self.errno else { return Ok(()) };
        if !self.what.is_empty() {
            f.write_str(": ")?;
        }
        match words(errno) {
            Some(words) => f.write_str(words),
            None => write!(f, "system error {}", errno.raw_os_error()),
        }
    }
}

/// What the C library calls an error. Its own `strerror` may allocate.
fn words(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "Operation not permitted",
        Errno::NOENT => "No such file or directory",
        Errno::INTR => "Interrupted system call",
        Errno::IO => "Input/output error",
        Errno::AGAIN => "Resource temporarily unavailable",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::ACCESS => "Permission denied",
        Errno::BUSY => "Device or resource busy",
        Errno::EXIST => "File exists",
        Errno::NODEV => "No such device",
        Errno::NOTDIR => "Not a directory",
        Errno::ISDIR => "Is a directory",
        Errno::INVAL => "Invalid argument",
        Errno::NFILE => "Too many open files in system",
        Errno::MFILE => "Too many open files",
        Errno::FBIG => "File too large",
        Errno::NOSPC => "No space left on device",
        Errno::ROFS => "Read-only file system",
        Errno::NAMETOOLONG => "File name too long",
        Errno::NOSYS => "Function not implemented",
        Errno::LOOP => "Too many levels of symbolic links",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::STALE => "Stale file handle",
        Errno::DQUOT => "Disk quota exceeded",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_words() {
        assert_eq!(Failure::from(Errno::NOSPC).to_string(), "No space left on device");
        assert_eq!(Failure::of("mmap", Errno::NOMEM).to_string(), "mmap: Cannot allocate memory");
        assert_eq!(Failure::from(Errno::XDEV).to_string(), "system error 18");
        assert_eq!(Failure::new("why").to_string(), "why");
    }
}
