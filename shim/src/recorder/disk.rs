//! The trace directory and its files: private, created without following links, and never held open.
//!
//! **No descriptor of ours outlives the call that made it.** A program that closes every descriptor it does not know (daemons do)
//! and then opens its database gets our old number for it; a later write "to the trace" would go into that database. So the
//! ring is reached through its mapping and everything else is opened by its absolute path, used and closed again.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Makes the trace directory if it is not there: 0700, and so are parents that were missing. One that exists stays as it is, but
/// must be a directory and not a link to one: a link in a shared place could lead SQL texts anywhere.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    // Without a slash or dot at its end, which would make `lstat` follow a link.
    let dir: &Path = &dir.components().collect::<std::path::PathBuf>();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::symlink_metadata(dir)?.is_dir() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link, and links are not followed; name the directory itself"))
    }
}

/// Creates a file that did not exist: 0600, no links followed, closed on exec.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Opens a file of ours again for a moment, if it is still the same one.
pub fn reopen(path: &Path, identity: Identity) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if self::identity(&file)? == identity {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced"))
    }
}

/// Which file this is: device, inode and, where the file system knows it, the time of its creation. A deleted file's inode may
/// soon be another's.
pub type Identity = (u64, u64, Option<SystemTime>);

/// Which file this is.
pub fn identity(file: &File) -> io::Result<Identity> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino(), meta.created().ok()))
}

/// Appends to a file of ours, if it is still the same one, in one write.
pub fn append(path: &Path, identity: Identity, bytes: &[u8]) -> io::Result<()> {
    // Not blocking: in its place there may be a pipe now.
    let mut file = OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if self::identity(&file)? != identity {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced"));
    }
    // The limit may have been lowered since the file was created.
    if file.metadata()?.len().saturating_add(bytes.len() as u64) > size_limit() {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the process's file size limit (RLIMIT_FSIZE) is reached"));
    }
    // One write call: lines of one file may come from several threads, and a reader or a crash sees whole lines only.
    match file.write(bytes)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::StorageFull, "No space left on device: half a line was written")),
    }
}

/// The most bytes a file of this process may have. Going past it would not fail but raise `SIGXFSZ`, which kills.
pub fn size_limit() -> u64 {
    limit(libc::RLIMIT_FSIZE)
}

/// How many bytes this process may still map; `None` where there is no limit (`RLIMIT_AS`), or nobody tells.
pub fn address_space_left() -> Option<u64> {
    let limit = Some(limit(libc::RLIMIT_AS)).filter(|&limit| limit != libc::RLIM_INFINITY)?;
    // The first number is the size in pages (`proc_pid_statm(5)`).
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse().ok()?;
    // SAFETY: sysconf has no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(limit.saturating_sub(pages * page))
}

fn limit(of: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is to an rlimit of ours.
    unsafe { libc::getrlimit(of, &raw mut limit) };
    limit.rlim_cur
}

/// What `stat` says of a database: device and inode. Never opens it: opening and closing it would drop the process's POSIX locks.
pub fn stat(path: &[u8]) -> Option<(u64, u64)> {
    let meta = fs::metadata(std::ffi::OsStr::from_bytes(path)).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The type of the file system a path is on, by the magic numbers of `statfs(2)`.
pub fn file_system(path: &[u8]) -> Option<String> {
    let path = CString::new(path).ok()?;
    let mut buffer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` is NUL-terminated and the buffer is a statfs of ours.
    if unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: statfs returned 0, so it filled the buffer.
    let magic = unsafe { buffer.assume_init() }.f_type as u64 & 0xffff_ffff;
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1994 => "tmpfs",
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
        _ => return Some(format!("0x{magic:x}")),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_directory_and_its_files_are_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        make_dir(&dir).unwrap();
        make_dir(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        let path = dir.join("x");
        create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path).is_err(), "an existing file is never taken over");
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (target, link) = (root.path().join("target"), root.path().join("link"));
        fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        for link in [link.clone(), link.join(""), link.join(".")] {
            assert!(make_dir(&link).unwrap_err().to_string().contains("link"));
        }
        let (file, file_link) = (root.path().join("file"), root.path().join("file-link"));
        fs::write(&file, "").unwrap();
        symlink(&file, &file_link).unwrap();
        assert!(create(&file_link).is_err());
        let identity = identity(&File::open(&file).unwrap()).unwrap();
        let other = (0, 0, None);
        assert!(append(&file_link, identity, b"x").is_err());
        assert!(append(&file, other, b"x").is_err(), "another file of that name is not ours");
        assert!(reopen(&file_link, identity).is_err());
        assert!(reopen(&file, other).is_err(), "another file of that name is not ours");
        assert_eq!(fs::read(&file).unwrap(), b"");
    }

    #[test]
    fn a_file_system_has_a_name() {
        assert_eq!(file_system(b"/proc"), Some("0x9fa0".to_owned()));
        assert_eq!(file_system(b"/no/such/path"), None);
        assert!(stat(b"/").is_some());
        assert_eq!(stat(b"/no/such/path"), None);
    }
}
