//! The library that this command carries, as a file that a program can load.
//!
//! In come the bytes that `build.rs` made; out goes the path of a `liblocktrace.so` with exactly these bytes. Called by
//! `locktrace run` and `locktrace extension`.
//!
//! The file's name is fixed (the extension's entry point comes from it), so each version lies in a directory named by its
//! content, in the user's cache. What is loaded into other programs must be nobody else's to change: the directories on the way are
//! made 0700, and one that belongs to another user or that others can write is not used.
#![forbid(unsafe_code)]

use super::Failure;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liblocktrace.so"));

/// Where the library is, after having put it there.
pub(super) fn unpack() -> Result<PathBuf, Failure> {
    if LIBRARY.is_empty() {
        let why = "this locktrace was built without its library (a static build has none): build it for a glibc target";
        return Err(Failure::Other(why.to_owned()));
    }
    let mut reasons = Vec::new();
    for place in places() {
        match unpack_below(&place, LIBRARY) {
            Ok(path) => return Ok(path),
            Err(error) => reasons.push(format!("{}: {error}", place.display())),
        }
    }
    let why = format!("cannot unpack liblocktrace.so ({}). Set XDG_CACHE_HOME to a directory you can write", reasons.join("; "));
    Err(Failure::Other(why))
}

/// `LD_PRELOAD` with our library before what is there already.
pub(super) fn preload(library: &Path) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

/// The user's cache, then the temporary files.
fn places() -> Vec<PathBuf> {
    // By the XDG specification, a relative path is to be ignored.
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = dir("XDG_CACHE_HOME").or_else(|| dir("HOME").map(|home| home.join(".cache")));
    let private = format!("locktrace-{}", rustix::process::geteuid().as_raw());
    let mut places: Vec<PathBuf> = cache.map(|cache| cache.join("locktrace")).into_iter().collect();
    places.push(std::env::temp_dir().join(&private));
    places.push(Path::new("/tmp").join(private));
    // LD_PRELOAD has no way to write these.
    places.retain(|place| !place.as_os_str().as_bytes().iter().any(|byte| b": \t\n".contains(byte)));
    places
}

fn unpack_below(place: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let dir = place.join(format!("{:016x}", fnv1a(bytes)));
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    own(place)?;
    own(&dir)?;
    let path = dir.join("liblocktrace.so");
    if holds(&path, bytes) {
        return Ok(path);
    }
    // A file of that name that others may be using stays whole until the new one takes its place.
    let fresh = dir.join(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o700).open(&fresh).and_then(|mut file| file.write_all(bytes));
    let placed = written.and_then(|()| fs::rename(&fresh, &path));
    if placed.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    placed?;
    if holds(&path, bytes) { Ok(path) } else { Err(io::Error::other("what was written does not read back")) }
}

/// Whether a file of ours has these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let ours = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && private(&meta));
    ours && fs::read(path).is_ok_and(|found| found == bytes)
}

fn own(dir: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    if meta.is_dir() && private(&meta) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it must be a directory that is yours and that nobody else can write"))
}

fn private(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

/// A name for the content, and no more than that: the content itself is compared.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_changed_file_is_replaced_and_a_shared_directory_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache/locktrace");
        let path = unpack_below(&place, b"one").unwrap();
        assert_eq!((path.file_name().unwrap().to_str(), fs::read(&path).unwrap()), (Some("liblocktrace.so"), b"one".to_vec()));
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(unpack_below(&place, b"one").unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "nothing is written when it is there");
        fs::write(&path, "other").unwrap();
        assert_eq!(fs::read(unpack_below(&place, b"one").unwrap()).unwrap(), b"one");
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "a file in use is not written into");
        assert_ne!(unpack_below(&place, b"two").unwrap(), path);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(unpack_below(&place, b"one").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
