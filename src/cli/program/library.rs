//! The recorder's library, embedded in the `locktrace` binary, unpacked to a file that a program can load.
//!
//! `build.rs` made its bytes. [`unpack`] puts them where this user's programs can load them (`locktrace extension`). [`unpack_for_all`] puts them
//! where the programs of every user can: a child of `locktrace run` can change its user, and the loader complains on standard error if it cannot
//! read the preloaded library.
//!
//! The file's name is fixed, because SQLite derives the extension's entry point from it. So each version has a directory named by its content. Nobody
//! else may be able to change what is loaded into other programs. Each directory on the way belongs to root or to this user, and nobody else can
//! replace its entries. The last two directories and the file belong to this user.
#![forbid(unsafe_code)]

use crate::cli::io::Failure;
use rustix::fs::StatVfsMountFlags;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liblocktrace.so"));

/// The users whose programs load the library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readers {
    /// This user.
    User,
    /// Every user.
    All,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Readers::User => 0o700,
            Readers::All => 0o755,
        }
    }
}

/// Unpacks the library into the user's cache and returns its path.
pub(in crate::cli) fn unpack() -> Result<PathBuf, Failure> {
    unpack_into(caches().into_iter().map(|place| (place, Readers::User)))
}

/// Unpacks the library to where the programs of every user can load it, and returns its path.
///
/// If there is no such place, it uses the user's cache.
pub(in crate::cli) fn unpack_for_all() -> Result<PathBuf, Failure> {
    let shared = shared_places().into_iter().map(|place| (place, Readers::All));
    unpack_into(shared.chain(caches().into_iter().map(|place| (place, Readers::User))))
}

fn unpack_into(places: impl Iterator<Item = (PathBuf, Readers)>) -> Result<PathBuf, Failure> {
    if LIBRARY.is_empty() {
        let why = "this locktrace was built without its library (a static build has none): build it for a glibc target";
        return Err(Failure::Other(why.to_owned()));
    }
    let mut reasons = Vec::new();
    for (place, readers) in places {
        match unpack_below(&place, LIBRARY, readers) {
            Ok(path) => return Ok(path),
            Err(error) => reasons.push(format!("{}: {error}", place.display())),
        }
    }
    let why = format!("cannot unpack liblocktrace.so ({}). Set XDG_CACHE_HOME to a directory you can write", reasons.join("; "));
    Err(Failure::Other(why))
}

/// Links in the directory of the library that lead to itself. `$LIB` is `lib`, `lib64`, or with Debian `lib/` and the name of the machine.
const LINKS: [&str; 3] = ["lib", "lib64", MACHINE];

const MACHINE: &str = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };

/// `LD_PRELOAD` with our library before the libraries that it has already.
///
/// The path contains `$LIB`, which glibc's loader replaces and musl's does not. Musl's loader ends a program if a library cannot be relocated, but
/// goes on if it does not exist. The directories that `$LIB` can stand for are links to the directory of the library ([`unpack_below`]).
pub(in crate::cli) fn preload(library: &Path) -> OsString {
    let linked =
        library.parent().filter(|dir| LINKS.iter().all(|link| fs::read_link(dir.join(link)).is_ok_and(|to| to == Path::new("."))));
    let by_loader = linked.zip(library.file_name()).map(|(dir, name)| dir.join("$LIB").join(name));
    let mut list = by_loader.unwrap_or_else(|| library.to_owned()).into_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

/// The user's cache, then the temporary files.
fn caches() -> Vec<PathBuf> {
    // By the XDG specification, a relative path is to be ignored.
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = dir("XDG_CACHE_HOME").or_else(|| dir("HOME").map(|home| home.join(".cache")));
    let mut places: Vec<PathBuf> = cache.map(|cache| cache.join("locktrace")).into_iter().collect();
    let private = format!("locktrace-{}", rustix::process::geteuid().as_raw());
    places.push(std::env::temp_dir().join(&private));
    places.push(Path::new("/tmp").join(private));
    places
}

/// Directories that every user can look into. A sandbox (bwrap, for one) often replaces /tmp and /dev, and keeps /var.
fn shared_places() -> Vec<PathBuf> {
    let name = format!("locktrace-lib-{}", rustix::process::geteuid().as_raw());
    ["/var/tmp", "/tmp", "/dev/shm"].map(|place| Path::new(place).join(&name)).into()
}

fn unpack_below(place: &Path, bytes: &[u8], readers: Readers) -> io::Result<PathBuf> {
    let mode = readers.mode();
    // Creates nothing in a place that cannot be used.
    if let Some(there) = place.ancestors().skip(1).find(|dir| dir.exists()) {
        cannot_be_replaced(&there.canonicalize()?.join("new"), readers)?;
        can_be_executed(there)?;
    }
    DirBuilder::new().recursive(true).mode(mode).create(place)?;
    // Without links, so that the loader gets the path that is checked below.
    let place = place.canonicalize()?;
    // LD_PRELOAD separates its entries with these and cannot quote them.
    if place.as_os_str().as_bytes().iter().any(|byte| b": \t\n".contains(byte)) {
        return Err(io::Error::other("LD_PRELOAD cannot name it: there is a space or a colon in it"));
    }
    cannot_be_replaced(&place, readers)?;
    own(&place, mode)?;
    let dir = place.join(format!("{:016x}", fnv1a(bytes)));
    DirBuilder::new().recursive(true).mode(mode).create(&dir)?;
    own(&dir, mode)?;
    if rustix::fs::statvfs(&dir)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is mounted noexec: no program can load a library from there",
        ));
    }
    for link in LINKS {
        // If a link is missing in the end, `preload` names the library without `$LIB`.
        let _ = std::os::unix::fs::symlink(".", dir.join(link));
    }
    let path = dir.join("liblocktrace.so");
    if holds(&path, bytes, mode) {
        return Ok(path);
    }
    // A file of that name may be in use, so the new one replaces it by a rename.
    let fresh = dir.join(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        // Restores the bits that the umask removed.
        file.set_permissions(Permissions::from_mode(mode))
    });
    let placed = written.and_then(|()| fs::rename(&fresh, &path));
    if placed.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    placed?;
    if holds(&path, bytes, mode) { Ok(path) } else { Err(io::Error::other("what was written does not read back")) }
}

/// Whether a file of ours has these bytes, and at least these permissions.
fn holds(path: &Path, bytes: &[u8], mode: u32) -> bool {
    let ours = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && private(&meta) && meta.mode() & mode == mode);
    ours && fs::read(path).is_ok_and(|found| found == bytes)
}

/// Accepts a directory of this user that nobody else can write, and adds missing permissions.
fn own(dir: &Path, mode: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || !private(&meta) {
        return Err(denied("it must be a directory that is yours and that nobody else can write".to_owned()));
    }
    if meta.mode() & mode != mode {
        fs::set_permissions(dir, Permissions::from_mode((meta.mode() | mode) & 0o7777))?;
    }
    Ok(())
}

/// Accepts a path without links if nobody but root and this user can put something else in its place.
fn cannot_be_replaced(path: &Path, readers: Readers) -> io::Result<()> {
    // In a user namespace, root often has another uid. The owner of / could replace the whole system, so that user is trusted further
    // down, too.
    let root = fs::symlink_metadata("/")?.uid();
    for dir in path.ancestors().skip(1) {
        let meta = fs::symlink_metadata(dir)?;
        if ![0, root, rustix::process::geteuid().as_raw()].contains(&meta.uid()) {
            return Err(denied(format!("{} belongs to another user, who could replace the library", dir.display())));
        }
        // In a sticky directory only the owner of an entry can rename or remove it.
        if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
            return Err(denied(format!("other users can write {}, and could replace the library", dir.display())));
        }
        if readers == Readers::All && meta.mode() & 0o001 == 0 {
            return Err(denied(format!("other users cannot look into {}", dir.display())));
        }
    }
    Ok(())
}

/// Accepts a directory from which a program can load a library.
fn can_be_executed(dir: &Path) -> io::Result<()> {
    if rustix::fs::statvfs(dir)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(denied("it is mounted noexec, and no program can load a library from there".to_owned()));
    }
    Ok(())
}

fn denied(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn private(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

/// A name for the content. It need not be unique, because the content itself is compared.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_changed_file_is_replaced_and_a_shared_directory_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache/locktrace");
        let unpack_below = |place: &Path, bytes: &[u8]| unpack_below(place, bytes, Readers::User);
        let path = unpack_below(&place, b"one").unwrap();
        assert_eq!((path.file_name().unwrap().to_str(), fs::read(&path).unwrap()), (Some("liblocktrace.so"), b"one".to_vec()));
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(unpack_below(&place, b"one").unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "nothing is written when it is there");
        fs::write(&path, "other").unwrap();
        assert_eq!(fs::read(unpack_below(&place, b"one").unwrap()).unwrap(), b"one");
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "a file in use is not written into");
        assert_ne!(unpack_below(&place, b"two").unwrap(), path);
        set_mode(&place, 0o777);
        assert_eq!(unpack_below(&place, b"one").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    /// A directory further up that others can write lets them replace the whole cache.
    #[test]
    fn an_ancestor_that_others_can_write_or_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let place = home.join("cache/locktrace");
        unpack_below(&place, b"one", Readers::User).unwrap();
        set_mode(&home, 0o777);
        let error = unpack_below(&place, b"one", Readers::User).unwrap_err().to_string();
        assert!(error.contains("other users can write") && error.contains("home"), "{error}");
        set_mode(&home, 0o1777);
        unpack_below(&place, b"one", Readers::User).unwrap();
        // A link leads to what is checked.
        set_mode(&home, 0o777);
        std::os::unix::fs::symlink(&home, dir.path().join("link")).unwrap();
        assert!(unpack_below(&dir.path().join("link/cache/locktrace"), b"one", Readers::User).is_err());
        set_mode(&home, 0o755);
        if std::os::unix::fs::chown(&home, Some(65_534), None).is_err() {
            return println!("skipped: only root can give a directory to another user");
        }
        let error = unpack_below(&place, b"one", Readers::User).unwrap_err().to_string();
        assert!(error.contains("belongs to another user"), "{error}");
    }

    #[test]
    fn other_users_can_read_what_is_for_all_and_cannot_change_it() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o711);
        let place = dir.path().join("shared");
        // As an earlier version left it, or a strict umask.
        DirBuilder::new().mode(0o700).create(&place).unwrap();
        let path = unpack_below(&place, b"one", Readers::All).unwrap();
        assert_eq!([mode(&place), mode(path.parent().unwrap()), mode(&path)], [0o755; 3]);
        set_mode(&path, 0o700);
        assert_eq!(mode(&unpack_below(&place, b"one", Readers::All).unwrap()), 0o755);
        set_mode(dir.path(), 0o700);
        let error = unpack_below(&place, b"one", Readers::All).unwrap_err().to_string();
        assert!(error.contains("other users cannot look into"), "{error}");
        let spaced = unpack_below(&dir.path().join("a b"), b"one", Readers::User).unwrap_err().to_string();
        assert!(spaced.contains("LD_PRELOAD cannot name it"), "{spaced}");
    }
}
