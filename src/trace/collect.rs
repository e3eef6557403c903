//! The move of a trace's files from memory into the trace directory.
//!
//! If the directory's file system cannot hold mapped files safely, the recorder keeps them in `/dev/shm` and leaves links (`shim::format`). A restart
//! of the machine clears that memory. So after a process has ended, its files are copied over the links.
#![forbid(unsafe_code)]

use super::alive::LogProcess;
use super::ring;
use shim::format::{NAMES_EXTENSION, RING_EXTENSION};
use shim::recorder::MEMORY_DIR;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Moves the files of all ended processes in this directory out of memory, and returns their number. A file that cannot be copied stays in memory,
/// and the first such failure is the error.
///
/// # Errors
/// If the directory cannot be read, or a file cannot be copied.
pub fn collect(dir: &Path) -> io::Result<usize> {
    let (mut done, mut failed) = (0, None);
    for entry in fs::read_dir(dir)? {
        let ring = entry?.path();
        if ring.extension().is_none_or(|extension| extension != RING_EXTENSION) || !is_in_memory(&ring) {
            continue;
        }
        if ring::open(&ring).is_ok_and(|(_, header)| LogProcess::of(header.pid, &ring).is_some_and(|process| process.lives())) {
            continue;
        }
        // The names first: a ring file implies that its names exist.
        for file in [ring.with_extension(NAMES_EXTENSION), ring] {
            match is_in_memory(&file).then(|| fetch(&file)) {
                None => {}
                Some(Ok(())) => done += 1,
                Some(Err(error)) => drop(failed.get_or_insert(error)),
            }
        }
    }
    failed.map_or(Ok(done), Err)
}

/// Whether this is a link of the recorder into memory.
fn is_in_memory(path: &Path) -> bool {
    let Ok(target) = fs::read_link(path) else { return false };
    let inside = target.to_str().is_some_and(|target| target.starts_with(MEMORY_DIR) && !target.contains("/../"));
    inside && target.file_name() == path.file_name()
}

/// Replaces a link by the file that it leads to.
fn fetch(link: &Path) -> io::Result<()> {
    let target = fs::read_link(link)?;
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = link.with_file_name(name);
    let copied = File::open(&target).and_then(|from| {
        let into = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
        copy(from, into)
    });
    match copied.and_then(|()| fs::rename(&part, link)) {
        Ok(()) => fs::remove_file(&target),
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Copies a file, and leaves its holes unallocated.
fn copy(mut from: File, mut into: File) -> io::Result<()> {
    let len = from.metadata()?.len();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut bytes)?;
        if n == 0 {
            return into.set_len(len);
        }
        let part = bytes.get(..n).unwrap_or_default();
        if part.iter().all(|&byte| byte == 0) {
            into.seek(SeekFrom::Current(n as i64))?;
        } else {
            into.write_all(part)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::format::header::{Anchor, ClockKind, Header};

    #[test]
    fn what_lies_in_memory_is_brought_and_other_links_stay() {
        let dir = tempfile::tempdir().unwrap();
        let memory = format!("{MEMORY_DIR}test-{}", std::process::id());
        fs::create_dir_all(&memory).unwrap();
        let header = Header::new(ClockKind::Monotonic, 4096, u32::MAX, [1; 16], Anchor::default());
        let ring = [&header.encode()[..], &vec![0; 200_000], b"end"].concat();
        for (name, bytes) in [("1-1.ring", &ring[..]), ("1-1.names", b"{}\n"), ("other.ring", b"x")] {
            fs::write(format!("{memory}/{name}"), bytes).unwrap();
        }
        let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        link("1-1.ring", &format!("{memory}/1-1.ring"));
        link("1-1.names", &format!("{memory}/1-1.names"));
        link("2-1.ring", "/etc/passwd");
        link("3-1.ring", &format!("{memory}/other.ring"));
        assert_eq!(collect(dir.path()).unwrap(), 2);
        assert_eq!(collect(dir.path()).unwrap(), 0);
        for (name, bytes) in [("1-1.ring", &ring[..]), ("1-1.names", b"{}\n")] {
            let path = dir.path().join(name);
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert!(!Path::new(&format!("{memory}/{name}")).exists());
        }
        assert!(Path::new(&format!("{memory}/other.ring")).exists());
        assert!(fs::symlink_metadata(dir.path().join("2-1.ring")).unwrap().is_symlink());
        fs::remove_dir_all(memory).unwrap();
    }
}
