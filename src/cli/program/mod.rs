//! The program that a user wants to trace: its file, and whether a preloaded library can get into it.
//!
//! [`find`] looks up the file that would be executed, and [`untraceable`] returns the reason if it certainly cannot be traced. A file that cannot be
//! read is not judged.
#![forbid(unsafe_code)]

pub(super) mod elf;
mod go;
pub(super) mod library;
pub(super) mod notes;
pub(super) mod reasons;

use elf::Elf;
use go::Translated;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a program cannot be traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Untraceable {
    /// It is static: no loader runs.
    Static,
    /// It is setuid or setgid.
    Setuid,
    /// Its file has capabilities.
    Capable,
    /// It is built for another architecture or word size than our library.
    Foreign,
    /// It runs on musl, but our library needs glibc.
    Musl,
    /// It has SQLite translated to Go.
    Go(Translated),
}

impl Untraceable {
    /// The id of the finding in `doctor`.
    pub(in crate::cli) fn id(self) -> &'static str {
        match self {
            Untraceable::Static => "static-program",
            Untraceable::Setuid => "setuid",
            Untraceable::Capable => "capabilities",
            Untraceable::Foreign => "other-architecture",
            Untraceable::Musl => "musl",
            Untraceable::Go(_) => "pure-go",
        }
    }

    /// The reason in words, with what to do.
    pub(in crate::cli) fn why(self) -> &'static str {
        match self {
            Untraceable::Static => {
                "it is a static program, into which no library can be preloaded. If it can load SQLite extensions, load the \
                 one that `locktrace extension` prints; a Rust program can use the crate sqlite-locktrace"
            }
            Untraceable::Setuid => {
                "it is setuid or setgid, and the loader ignores preloaded libraries there. Run it as the user it changes to, or a copy \
                 without that bit"
            }
            Untraceable::Capable => {
                "its file has capabilities (setcap), and the loader ignores preloaded libraries there. Run a copy of it, which has none"
            }
            Untraceable::Musl => {
                "it runs on musl, but this locktrace's library needs glibc: preloaded, it would keep the program from starting. Use a build \
                 of the program for glibc, or in a Rust program the crate sqlite-locktrace"
            }
            Untraceable::Go(Translated::Modernc) => {
                "this Go program has SQLite translated to Go (modernc.org/sqlite): there is no C library to trace. Built with the driver \
                 github.com/mattn/go-sqlite3 (cgo, dynamically linked) it can be traced"
            }
            Untraceable::Go(Translated::Ncruces) => {
                "this Go program has SQLite translated to Go by way of WebAssembly (github.com/ncruces/go-sqlite3): there is no C \
                 library to trace. Built with the driver github.com/mattn/go-sqlite3 (cgo, dynamically linked) it can be traced"
            }
            Untraceable::Foreign => {
                "it is built for another architecture than this locktrace. Use a locktrace built for the same one"
            }
        }
    }
}

/// The file that `execvp` executes under this name. A name with a slash is a path. Otherwise it is the first executable file of that name on the
/// `PATH`, or else the first file that is not executable.
pub(in crate::cli) fn find(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    let path = path.map_or_else(|| "/bin:/usr/bin".into(), OsStr::to_owned);
    let files: Vec<PathBuf> = std::env::split_paths(&path).map(|dir| dir.join(name)).filter(|file| file.is_file()).collect();
    let executable = |file: &&PathBuf| file.metadata().is_ok_and(|meta| meta.mode() & 0o111 != 0);
    files.iter().find(executable).or(files.first()).cloned()
}

/// The file that runs in the end, and the scripts that lead to it by their `#!` lines.
pub(in crate::cli) struct Executed {
    /// The scripts, beginning with the named file; empty if that is a program itself.
    pub scripts: Vec<PathBuf>,
    /// The last file. It need not be an ELF program, nor exist.
    pub file: PathBuf,
}

/// Follows `#!` lines, through at most 5 as Linux does. Here, `env` is a program like any other.
pub(in crate::cli) fn executed(file: &Path) -> Executed {
    let mut found = Executed { scripts: Vec::new(), file: file.to_owned() };
    for _ in 0..5 {
        let Some((interpreter, _)) = interpreter(&found.file) else { break };
        found.scripts.push(std::mem::replace(&mut found.file, interpreter));
    }
    found
}

/// The interpreter in the first line of a script, and the rest of the line.
pub(in crate::cli) fn interpreter(file: &Path) -> Option<(PathBuf, Vec<u8>)> {
    if !file.is_file() {
        return None;
    }
    let mut start = [0; 256];
    let length = File::open(file).ok()?.read_at(&mut start, 0).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    if word.is_empty() {
        return None;
    }
    Some((PathBuf::from(OsStr::from_bytes(word)), rest.trim_ascii().to_vec()))
}

/// The reason why this program cannot be traced, if one is known.
pub(in crate::cli) fn untraceable(file: &Path) -> Option<Untraceable> {
    // A script's own setuid bit has no effect.
    let file = executed(file).file;
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid().as_raw());
    if (meta.mode() & 0o4000 != 0 && meta.uid() != user.as_raw()) || (meta.mode() & 0o2010 == 0o2010 && meta.gid() != group) {
        return Some(Untraceable::Setuid);
    }
    // Linux does not count them as new rights where the user is root (commoncap.c, cap_bprm_creds_from_file).
    if !user.is_root() && rustix::fs::getxattr(&file, c"security.capability", &mut [0u8; 64][..]).is_ok() {
        return Some(Untraceable::Capable);
    }
    let elf = Elf::read(&file)?;
    if !elf.native {
        Some(Untraceable::Foreign)
    } else if elf.is_musl() {
        Some(Untraceable::Musl)
    } else if let Some(translated) = go::translated(&file) {
        // Checked before `Static`, because it is the better reason: a dynamic build could not be traced either.
        Some(Untraceable::Go(translated))
    } else if elf.loader.is_none() {
        Some(Untraceable::Static)
    } else {
        None
    }
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
            assert_eq!(untraceable(&file), None, "cut after {length} bytes");
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
            assert_eq!(untraceable(&file), expected);
        }
        let mut foreign = own[..64].to_vec();
        foreign[18] ^= 0x55;
        fs::write(&file, foreign).unwrap();
        assert_eq!(untraceable(&file), Some(Untraceable::Foreign));
        assert_eq!(untraceable(dir.path()), None, "a directory");
    }
}
