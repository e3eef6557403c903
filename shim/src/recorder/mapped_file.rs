//! A file that is mapped shared and made ready for stores a piece at a time. Stores into a ready piece cannot fault.
//!
//! A store into a mapped page without disk space raises `SIGBUS`. `MADV_POPULATE_WRITE` (Linux 5.14) does what a store would do, and reports
//! an error instead of the signal. On ext4, xfs and tmpfs it sets the space aside (seen on full ones: every page made ready
//! took stores after the rest of the disk was filled, and again after `sync` and dropped caches). On other file systems a later
//! write-back needs new space, so no file is mapped there: see [`super::location`].
//!
//! On older kernels `fallocate` sets all space aside when the file is made, and touching a piece makes it ready. Under a filter of
//! system calls a piece is made ready by writing zeros, through a descriptor that is open for a moment: SQLite makes that call, too.

use super::failure::Failure;
use super::limits::{self, Limits};
use crate::memory::{SPARE, keep_c_str};
use crate::path::Path;
use crate::sys::{self, Fd};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are ready from the beginning.
pub(super) const FIRST: usize = 4096;

/// How a piece is made ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// `MADV_POPULATE_WRITE`.
    Populate,
    /// Touch it: its space was set aside.
    Touch,
    /// Write zeros through a descriptor.
    Write,
}

/// See the module. Never unmapped once it is in use: a thread may be inside at any time.
#[derive(Debug)]
pub(super) struct MappedFile {
    base: NonNull<u8>,
    len: usize,
    how: How,
    path: &'static CStr,
    identity: (u64, u64),
}

// SAFETY: `base` points to a shared mapping that lives as long as the process; all access to it is through atomics, or to bytes that
// one thread alone has claimed.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}

/// Why nothing is mapped into a process that may map little more.
pub(crate) const LITTLE_MEMORY: Failure =
    Failure::new("too little is left of the memory this process may map (RLIMIT_AS, or RLIMIT_MEMLOCK after mlockall)");

static ZEROS: [u8; 4096] = [0; 4096];

impl MappedFile {
    /// Creates this new file of so many bytes, and makes the [`FIRST`] ones ready. Nothing is left behind where that fails.
    pub fn create(path: &Path, len: usize, limits: &Limits) -> Result<MappedFile, Failure> {
        MappedFile::create_as(path, len, limits, if limits.sealed { How::Write } else { How::Populate })
    }

    fn create_as(path: &Path, len: usize, limits: &Limits, how: How) -> Result<MappedFile, Failure> {
        if len as u64 > limits.file_size {
            return Err(Failure::new("the process's file size limit (RLIMIT_FSIZE) is too low"));
        }
        if (len as u64).saturating_add(SPARE) > limits.memory {
            return Err(LITTLE_MEMORY);
        }
        let path = keep_c_str(path.as_c_str()).ok_or(Failure::from(Errno::NOMEM))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = Fd::from(rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?);
        let made = MappedFile::map(file.as_fd(), path, len, how);
        if made.is_err() {
            sys::unlink(path);
        }
        made
    }

    fn map(file: BorrowedFd<'_>, path: &'static CStr, len: usize, how: How) -> Result<MappedFile, Failure> {
        rustix::fs::ftruncate(file, len as u64)?;
        let identity = sys::stat(path).ok_or(Errno::NOENT)?;
        // SAFETY: a fresh shared mapping of a file of ours at an address the kernel picks.
        let base = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0) };
        let base = NonNull::new(base.map_err(|errno| Failure::of("mmap", errno))?.cast::<u8>());
        let base = base.ok_or(Failure::new("mmap gave the null page"))?;
        let mut mapped = MappedFile { base, len, how, path, identity };
        let mut ready = mapped.first(file);
        // Before Linux 5.14.
        if ready == Err(Errno::INVAL) && how == How::Populate {
            mapped.how = How::Touch;
            ready = mapped.first(file);
        }
        match ready {
            Ok(()) => Ok(mapped),
            Err(errno) => {
                // SAFETY: exactly what was mapped, and not referred to any more.
                let _ = unsafe { munmap(base.as_ptr().cast(), len) };
                Err(errno.into())
            }
        }
    }

    fn first(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        match self.how {
            How::Populate => self.populate(0, FIRST),
            How::Touch => rustix::fs::fallocate(file, FallocateFlags::empty(), 0, self.len as u64).map(|()| self.touch(0, FIRST)),
            How::Write => zero(file, 0, FIRST),
        }
    }

    /// Deletes and unmaps the file. It must not be in use.
    pub fn discard(self) {
        sys::unlink(self.path);
        // SAFETY: exactly what was mapped, and the caller gives up the only handle to it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }

    /// Its first byte.
    #[inline(always)]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How a piece is made ready now.
    fn how(&self) -> How {
        if limits::filter_expected() { How::Write } else { self.how }
    }

    /// Whether making a piece ready overwrites it: then one thread may do it, once.
    pub fn writes_zeros(&self) -> bool {
        self.how() == How::Write
    }

    /// Makes whole pages ready. From then on stores into them cannot fault.
    pub fn prepare(&self, offset: usize, len: usize) -> Result<(), Failure> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Errno::INVAL.into());
        }
        match self.how() {
            How::Populate => self.populate(offset, len)?,
            How::Touch => self.touch(offset, len),
            How::Write => self.write(offset, len)?,
        }
        Ok(())
    }

    fn populate(&self, offset: usize, len: usize) -> Result<(), Errno> {
        for _ in 0..16 {
            // SAFETY: a range inside our own mapping. Where its pages cannot be had, this fails instead of raising SIGBUS.
            match unsafe { madvise(self.base.as_ptr().add(offset).cast(), len, Advice::LinuxPopulateWrite) } {
                // Interrupted half-way, or short of memory for a moment.
                Err(Errno::INTR | Errno::AGAIN) => {}
                // What would have been a SIGBUS.
                Err(Errno::FAULT) => return Err(Errno::NOSPC),
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    fn touch(&self, offset: usize, len: usize) {
        for page in (offset..offset + len).step_by(4096) {
            // SAFETY: inside the mapping and aligned, and its space was set aside; adding 0 keeps the value.
            unsafe { &*self.base.as_ptr().add(page).cast::<AtomicU64>() }.fetch_add(0, Ordering::Relaxed);
        }
    }

    fn write(&self, offset: usize, len: usize) -> Result<(), Failure> {
        // The limit may have been lowered since the file was made, and writing past it would kill.
        let limits = Limits::look().ok_or(Limits::UNKNOWN)?;
        if (offset + len) as u64 > limits.file_size {
            return Err(Failure::new("the process's file size limit (RLIMIT_FSIZE) is reached"));
        }
        // Without blocking: the path may name a pipe now.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = Fd::from(rustix::fs::openat(CWD, self.path, flags, Mode::empty())?);
        // By its path: `fstat` is another system call in each C library, and a filter may allow only one of them.
        if sys::stat(self.path) != Some(self.identity) {
            return Err(Failure::new("the file was replaced"));
        }
        Ok(zero(file.as_fd(), offset, len)?)
    }

    /// Drops a range from memory. The contents stay in the file, and a late writer faults its page back in: it has its space.
    pub fn rest(&self, offset: usize, len: usize) {
        if self.how() != How::Write && offset.checked_add(len).is_some_and(|end| end <= self.len) {
            // SAFETY: a range inside a shared file mapping; MADV_DONTNEED drops page tables, not data.
            let _ = unsafe { madvise(self.base.as_ptr().add(offset).cast(), len, Advice::LinuxDontNeed) };
        }
    }
}

/// Writes zeros, which gives an empty range its space.
fn zero(file: BorrowedFd<'_>, offset: usize, len: usize) -> Result<(), Errno> {
    let mut at = offset;
    while at < offset + len {
        let piece = ZEROS.get(..(offset + len - at).min(ZEROS.len())).unwrap_or(&ZEROS);
        match rustix::io::pwrite(file, piece, at as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => at += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dir: &std::path::Path) -> Path {
        Path::new(&[dir.to_str().unwrap().as_bytes(), b"/x.ring"]).unwrap()
    }

    #[test]
    fn every_way_makes_pieces_ready() {
        for how in [How::Populate, How::Touch, How::Write] {
            let dir = tempfile::tempdir().unwrap();
            let limits = Limits::look().unwrap();
            let mapped = MappedFile::create_as(&path(dir.path()), 1 << 20, &limits, how).unwrap();
            assert_eq!(mapped.writes_zeros(), how == How::Write);
            assert!(MappedFile::create(&path(dir.path()), 1 << 20, &limits).is_err(), "an existing file is never taken over");
            mapped.prepare(4096, 8192).unwrap();
            assert!(mapped.prepare(1 << 20, 4096).is_err());
            let file = dir.path().join("x.ring");
            let meta = std::fs::metadata(&file).unwrap();
            let space = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
            assert_eq!((meta.len(), std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777), (1 << 20, 0o600));
            let all = how == How::Touch;
            assert!((if all { 1 << 20..2 << 20 } else { 12 << 10..64 << 10 }).contains(&space), "{how:?}: {space}");
            if how == How::Write {
                std::fs::remove_file(&file).unwrap();
                std::fs::write(&file, "somebody else's").unwrap();
                assert!(mapped.prepare(12_288, 4096).unwrap_err().to_string().contains("replaced"));
                assert_eq!(std::fs::read(&file).unwrap(), b"somebody else's");
            } else {
                mapped.discard();
                assert!(!file.exists());
            }
        }
    }

    #[test]
    fn nothing_is_left_where_it_cannot_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::look().unwrap();
        let create = |limits: Limits| MappedFile::create(&path(dir.path()), 1 << 20, &limits).unwrap_err().to_string();
        assert!(create(Limits { file_size: 4096, ..limits }).contains("RLIMIT_FSIZE"));
        assert!(create(Limits { memory: 1 << 20, ..limits }).contains("RLIMIT_AS"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
