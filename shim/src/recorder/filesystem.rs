//! The trace directory, and questions to the file system: without a heap, without following links, and without a descriptor.
//!
//! **No descriptor of ours outlives the call that opened it.** A program that closes every descriptor it does not know (daemons do)
//! and then opens its database gets our old number for it; a later write "to the trace" would go into that database.

use super::failure::Failure;
use crate::errno::SavedErrno;
use crate::path::{Path, Paths};
use crate::sys;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Makes the trace directory and its missing parents, with mode 0700. One that exists stays as it is, but
/// must be a directory and no link to one: a link in a shared directory could lead SQL texts anywhere.
///
/// `sealed`: a filter of system calls may forbid `mkdir`, so the directory must exist.
pub(super) fn make_dir(dir: &[u8], sealed: bool) -> Result<(), Failure> {
    let mut paths = Paths::<1>::new().ok_or(Failure::from(Errno::NOMEM))?;
    let [path] = paths.each();
    let dir = trimmed(dir);
    path.set(&[dir]).ok_or(Failure::new("its path is too long"))?;
    match is_dir(path.as_c_str()) {
        Err(Errno::NOENT) if sealed => {
            return Err(Failure::new("it is not there, and under a filter of system calls the recorder does not make it"));
        }
        Err(Errno::NOENT) => {}
        other => return judge(other),
    }
    let ends = dir.iter().enumerate().filter(|&(at, &byte)| byte == b'/' && at > 0).map(|(at, _)| at);
    for end in ends.chain([dir.len()]) {
        path.set(&[dir.get(..end).unwrap_or(dir)]).ok_or(Errno::NAMETOOLONG)?;
        match rustix::fs::mkdirat(CWD, path.as_c_str(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    judge(is_dir(path.as_c_str()))
}

fn judge(found: Result<bool, Errno>) -> Result<(), Failure> {
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::of("it is a link, and links are not followed; name the directory itself", Errno::NOTDIR)),
        Err(errno) => Err(errno.into()),
    }
}

/// The path without slashes and dots at its end, which would make `lstat` follow a link.
fn trimmed(mut dir: &[u8]) -> &[u8] {
    while dir.len() > 1
        && let Some(shorter) = dir.strip_suffix(b"/").or_else(|| dir.strip_suffix(b"/."))
    {
        dir = if shorter.is_empty() { b"/" } else { shorter };
    }
    dir
}

/// Whether it is a directory itself; `false` for a link.
fn is_dir(path: &CStr) -> Result<bool, Errno> {
    match FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode) {
        FileType::Directory => Ok(true),
        FileType::Symlink => Ok(false),
        _ => Err(Errno::NOTDIR),
    }
}

/// The device and inode of a database. It is never opened: closing it would drop the process's POSIX locks.
pub(crate) fn stat(path: &[u8]) -> Option<(u64, u64)> {
    sys::stat(Path::new(&[path])?.as_c_str())
}

/// The magic number (`statfs(2)`) of the file system of a path. The C library's function is no cancellation point.
pub(super) fn magic(path: &CStr) -> Option<u32> {
    let _errno = SavedErrno::save();
    let mut buffer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a NUL-terminated path and a statfs of ours.
    if unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) } != 0 {
        return None;
    }
    // The type is wider than the number on some architectures, and signed.
    // SAFETY: statfs returned 0, so it filled the buffer.
    Some(unsafe { buffer.assume_init() }.f_type as u32)
}

/// The name of the file system with this magic number, where it is known.
pub(super) fn named(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x517b => "smb",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x6a65_6a63 => "virtiofs",
        0x5346_544e => "ntfs",
        0x7366_746e => "ntfs3",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x00c3_6400 => "ceph",
        0x0bd0_0bd0 => "lustre",
        0x0116_1970 => "gfs2",
        0x5346_414f => "afs",
        _ => return None,
    })
}

/// The name of the file system of a path. For the command: it allocates.
pub fn file_system(path: &[u8]) -> Option<String> {
    let magic = magic(&CString::new(path).ok()?)?;
    Some(named(magic).map_or_else(|| format!("0x{magic:x}"), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn make(dir: &std::path::Path) -> Result<(), Failure> {
        make_dir(dir.as_os_str().as_bytes(), false)
    }

    #[test]
    fn the_directory_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert!(make_dir(dir.as_os_str().as_bytes(), true).is_err());
        make(&dir).unwrap();
        make(&dir).unwrap();
        make_dir(dir.as_os_str().as_bytes(), true).unwrap();
        for made in [&dir, &root.path().join("a")] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(make(&dir.join("file")).unwrap_err().to_string(), "Not a directory");
        assert_eq!(make(&dir.join("file/x")).unwrap_err().to_string(), "Not a directory");
        assert!(make(&dir.join("x".repeat(2000))).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (target, link) = (root.path().join("target"), root.path().join("link"));
        fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        for link in [link.clone(), link.join(""), link.join("."), link.join("././/")] {
            assert!(make(&link).unwrap_err().to_string().contains("link"), "{link:?}");
        }
        assert_eq!((trimmed(b"/"), trimmed(b"//"), trimmed(b"/."), trimmed(b".")), (&b"/"[..], &b"/"[..], &b"/"[..], &b"."[..]));
    }

    #[test]
    fn a_file_system_has_a_name() {
        assert_eq!(file_system(b"/proc"), Some("0x9fa0".to_owned()));
        assert_eq!(file_system(b"/no/such/path"), None);
        assert!(stat(b"/").is_some());
        assert_eq!(stat(b"/no/such/path"), None);
    }
}
