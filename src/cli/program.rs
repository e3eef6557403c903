//! The program a user wants to run: which file it is, and whether a preloaded library can get into it.
//!
//! In comes the first word of a command line; out goes the file that would be executed, and why it cannot be traced if it is known not
//! to be. Called by `locktrace run`, before it starts the program. Whatever cannot be read is not judged.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why the loader does not take our library into a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    /// It has no loader.
    Static,
    /// It runs with rights that its user does not have.
    Setuid,
    /// It is of another architecture or word size than our library.
    Foreign,
}

impl Closed {
    /// In words, with what to do.
    pub(super) fn why(self) -> &'static str {
        match self {
            Closed::Static => {
                "it is a static program, into which no library can be preloaded. If it can load SQLite extensions, load the \
                 one that `locktrace extension` prints; a Rust program can use the crate sqlite-locktrace"
            }
            Closed::Setuid => {
                "it is setuid or setgid, and the loader ignores preloaded libraries there. Run it as the user it changes to, or a copy \
                 without that bit"
            }
            Closed::Foreign => "it is built for another architecture than this locktrace. Use a locktrace built for the same one",
        }
    }
}

/// The file that is executed under this name, as `execvp` looks for it: a path if there is a slash in it, else the first executable file
/// of that name on the `PATH`, else one that is not executable.
pub(super) fn find(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    let path = path.map_or_else(|| "/bin:/usr/bin".into(), OsStr::to_owned);
    let files: Vec<PathBuf> = std::env::split_paths(&path).map(|dir| dir.join(name)).filter(|file| file.is_file()).collect();
    let executable = |file: &&PathBuf| file.metadata().is_ok_and(|meta| meta.mode() & 0o111 != 0);
    files.iter().find(executable).or(files.first()).cloned()
}

/// Whether it is known that nothing can be preloaded into this file. A script is its interpreter.
pub(super) fn closed(file: &Path) -> Option<Closed> {
    let mut file = file.to_owned();
    // Linux goes through at most this many interpreters.
    for _ in 0..5 {
        let mut start = [0; 256];
        let open = File::open(&file).ok()?;
        let length = open.read_at(&mut start, 0).ok()?;
        let start = start.get(..length)?;
        if let Some(line) = start.strip_prefix(b"#!") {
            // A script's own setuid bit has no effect.
            let word = line.split(|&byte| byte == b'\n').next()?.trim_ascii().split(u8::is_ascii_whitespace).next()?;
            file = PathBuf::from(OsStr::from_bytes(word));
            continue;
        }
        let meta = open.metadata().ok()?;
        let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        if (meta.mode() & 0o4000 != 0 && meta.uid() != user) || (meta.mode() & 0o2010 == 0o2010 && meta.gid() != group) {
            return Some(Closed::Setuid);
        }
        return elf(&open, start);
    }
    None
}

/// What an ELF file's header says: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>.
fn elf(file: &File, start: &[u8]) -> Option<Closed> {
    if !start.starts_with(b"\x7fELF") {
        return None;
    }
    // Our own header says what our library is, too: class, byte order, machine.
    let mut own = [0; 20];
    File::open("/proc/self/exe").ok()?.read_exact_at(&mut own, 0).ok()?;
    if start.get(4..6)? != own.get(4..6)? || start.get(18..20)? != own.get(18..20)? {
        return Some(Closed::Foreign);
    }
    let half = |at: usize| Some(u64::from(u16::from_ne_bytes(start.get(at..at + 2)?.try_into().ok()?)));
    let (table, size, count) = if cfg!(target_pointer_width = "64") {
        (u64::from_ne_bytes(start.get(32..40)?.try_into().ok()?), half(54)?, half(56)?)
    } else {
        (u64::from(u32::from_ne_bytes(start.get(28..32)?.try_into().ok()?)), half(42)?, half(44)?)
    };
    const PT_INTERP: u32 = 3;
    for n in 0..count {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table.checked_add(n.checked_mul(size)?)?).ok()?;
        if u32::from_ne_bytes(kind) == PT_INTERP {
            return None;
        }
    }
    Some(Closed::Static)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_are_found_as_the_system_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        for (place, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("tool"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(place.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(find("tool".as_ref(), Some(&path)), Some(second.join("tool")));
        assert_eq!(find("tool".as_ref(), Some(first.as_os_str())), Some(first.join("tool")));
        assert_eq!(find("no-such-tool".as_ref(), Some(&path)), None);
        assert_eq!(find("/no/such/tool".as_ref(), Some(&path)), None);
    }

    #[test]
    fn no_file_is_too_strange_to_look_at() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        let own = fs::read("/proc/self/exe").unwrap();
        for length in (0..256).chain([own.len()]) {
            fs::write(&file, &own[..length]).unwrap();
            assert_eq!(closed(&file), None, "cut after {length} bytes");
        }
        let mut odd = own[..64].to_vec();
        odd[32..64].fill(0xff);
        for (bytes, expected) in [
            (b"#!/no/such/interpreter".to_vec(), None),
            (b"#!".to_vec(), None),
            (format!("#!{}\n", file.display()).into_bytes(), None),
            (odd, None),
        ] {
            fs::write(&file, bytes).unwrap();
            assert_eq!(closed(&file), expected);
        }
        let mut foreign = own[..64].to_vec();
        foreign[18] ^= 0x55;
        fs::write(&file, foreign).unwrap();
        assert_eq!(closed(&file), Some(Closed::Foreign));
        assert_eq!(closed(dir.path()), None, "a directory");
    }
}
