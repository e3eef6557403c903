//! The location of a log's mapped files: the trace directory, or memory with links in that directory.
//!
//! On ext2, ext3, ext4, xfs, tmpfs and ramfs a page that was made ready takes every later store ([`super::mapped_file`]). On other file systems it
//! may not: a copy-on-write one needs new space for each write-back (a full btrfs raises `SIGBUS`), and a network one can lose its server. Then the
//! files are in `/dev/shm/locktrace-<uid>/`, and the trace directory holds symbolic links to them.

use super::config::PlaceHint;
use super::failure::Failure;
use super::filesystem;
use super::limits::{FileSystem, Limits};
use super::mapped_file::MappedFile;
use crate::path::{Path, Paths};
use crate::sys;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use std::fmt::Write;

/// The beginning of the memory directory's path. The user's number follows.
pub const MEMORY: &str = "/dev/shm/locktrace-";

/// See the module.
pub(super) struct Location {
    /// The trace directory, the memory directory, and room for two more paths.
    paths: Paths<4>,
    in_memory: bool,
}

impl Location {
    /// The location for this trace directory, which is made if it is missing.
    pub fn choose(dir: &[u8], asked: PlaceHint, limits: &Limits) -> Result<Location, Failure> {
        filesystem::make_dir(dir, limits.sealed)?;
        let mut paths = Paths::<4>::new().ok_or(Errno::NOMEM)?;
        let [path, memory, ..] = paths.each();
        path.set(&[dir]).ok_or(Errno::NAMETOOLONG)?;
        let safe = match asked {
            PlaceHint::Memory => false,
            PlaceHint::Directory if limits.sealed => true,
            _ => matches!(FileSystem::of(path.as_c_str(), limits.sealed), Some(FileSystem::Disk | FileSystem::Memory)),
        };
        if safe {
            return Ok(Location { paths, in_memory: false });
        }
        if limits.sealed {
            return Err(Failure::new(
                "files on its file system cannot be mapped safely, and under a filter of system calls no links are made; name a directory on \
                 ext4, xfs or tmpfs",
            ));
        }
        into_memory(memory, limits.uid)?;
        Ok(Location { paths, in_memory: true })
    }

    /// The path of a log's file in the trace directory.
    pub fn path(&mut self, id: &str, extension: &str) -> Result<&Path, Failure> {
        let [dir, _, path, _] = self.paths.each();
        file(path, dir, id, extension)?;
        Ok(path)
    }

    /// Creates a file of a log.
    pub fn create(&mut self, id: &str, extension: &str, len: usize, limits: &Limits) -> Result<MappedFile, Failure> {
        let in_memory = self.in_memory;
        let [dir, memory, path, target] = self.paths.each();
        file(path, dir, id, extension)?;
        if !in_memory {
            return MappedFile::create(path, len, limits);
        }
        file(target, memory, id, extension)?;
        let made = MappedFile::create(target, len, limits)?;
        match rustix::fs::symlinkat(target.as_c_str(), CWD, path.as_c_str()) {
            Ok(()) => Ok(made),
            Err(errno) => {
                made.discard();
                Err(errno.into())
            }
        }
    }

    /// Deletes a file of a log.
    pub fn discard(&mut self, made: MappedFile, id: &str, extension: &str) {
        made.discard();
        if self.in_memory
            && let Ok(link) = self.path(id, extension)
        {
            sys::unlink(link.as_c_str());
        }
    }
}

/// Sets this to the path of a log's file in a directory.
fn file(path: &mut Path, dir: &Path, id: &str, extension: &str) -> Result<(), Failure> {
    let made = path.set(&[dir.as_bytes()]).is_some() && write!(path, "/{id}.{extension}").is_ok();
    if made { Ok(()) } else { Err(Errno::NAMETOOLONG.into()) }
}

/// Sets this to the memory directory of this user, made if it is missing. It must be on a tmpfs, no link, owned by the user and closed to others.
fn into_memory(dir: &mut Path, uid: u32) -> Result<(), Failure> {
    let unusable = |errno| Failure::of("its file system cannot hold mapped files, and /dev/shm cannot be used instead", errno);
    dir.set(&[MEMORY.as_bytes()]).ok_or(Errno::NAMETOOLONG)?;
    write!(dir, "{uid}").map_err(|_| Errno::NAMETOOLONG)?;
    match rustix::fs::mkdirat(CWD, dir.as_c_str(), Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(unusable(errno)),
    }
    let stat = rustix::fs::lstat(dir.as_c_str()).map_err(unusable)?;
    let private = FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == uid && stat.st_mode & 0o077 == 0;
    if !private {
        return Err(unusable(Errno::PERM));
    }
    if FileSystem::of(dir.as_c_str(), false) != Some(FileSystem::Memory) {
        return Err(unusable(Errno::OPNOTSUPP));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn in_memory_there_is_a_link_and_both_go_together() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("trace");
        let limits = Limits { sealed: false, ..Limits::look().unwrap() };
        let mut place = Location::choose(dir.as_os_str().as_bytes(), PlaceHint::Memory, &limits).unwrap();
        let id = format!("test-{}", std::process::id());
        let made = place.create(&id, "ring", 8192, &limits).unwrap();
        let link = dir.join(format!("{id}.ring"));
        let target = std::fs::read_link(&link).unwrap();
        assert!(target.starts_with(format!("{MEMORY}{}", limits.uid)), "{target:?}");
        assert_eq!(std::fs::metadata(&link).unwrap().len(), 8192);
        place.discard(made, &id, "ring");
        assert!(!target.exists() && std::fs::symlink_metadata(&link).is_err());
        let sealed = Limits { sealed: true, ..limits };
        assert!(Location::choose(dir.as_os_str().as_bytes(), PlaceHint::Memory, &sealed).is_err());
    }
}
