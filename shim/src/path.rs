//! Paths of files in memory of fixed size: no heap.

use crate::memory::Mapping;
use std::ffi::CStr;
use std::fmt::{self, Write};

/// A file's name, in fixed memory.
#[derive(Clone)]
pub struct Path {
    /// NUL from `len` on.
    bytes: [u8; Path::MOST + 1],
    len: usize,
}

impl Path {
    /// The longest path, in bytes. A longer one is an error where it is made.
    pub const MOST: usize = 1023;

    /// These pieces in a row; `None` if the path is too long, or a piece has a NUL.
    pub fn new(pieces: &[&[u8]]) -> Option<Path> {
        let mut path = Path { bytes: [0; Path::MOST + 1], len: 0 };
        path.set(pieces)?;
        Some(path)
    }

    /// Sets it to these pieces. `None` where one does not fit or has a NUL; then the path consists of the pieces before that one.
    pub fn set(&mut self, pieces: &[&[u8]]) -> Option<()> {
        self.clear();
        pieces.iter().try_for_each(|piece| self.push(piece))
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.iter_mut().take(self.len).for_each(|byte| *byte = 0);
        self.len = 0;
    }

    /// Adds this piece. `None` if it does not fit or has a NUL; then the path is unchanged.
    pub fn push(&mut self, piece: &[u8]) -> Option<()> {
        let end = self.len.checked_add(piece.len()).filter(|&end| end <= Path::MOST)?;
        if piece.contains(&0) {
            return None;
        }
        self.bytes.get_mut(self.len..end)?.copy_from_slice(piece);
        self.len = end;
        Some(())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// For a system call.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

/// Formatted pieces, as in `write!(path, "{pid}.ring")`; an error where they do not fit.
impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).ok_or(fmt::Error)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_c_str().fmt(f)
    }
}

/// Empty paths in a mapping of their own: a thread's stack may have little room.
pub struct Paths<const N: usize>(Mapping);

impl<const N: usize> Paths<N> {
    /// `N` of them; `None` where there is no memory.
    pub fn new() -> Option<Paths<N>> {
        const { assert!(align_of::<Path>() <= 4096) };
        Mapping::new(size_of::<[Path; N]>()).map(Paths)
    }

    /// Each of them.
    pub fn each(&mut self) -> &mut [Path; N] {
        // SAFETY: as many zero bytes as they have, page-aligned, this value's alone; a path of zeros is an empty one, and what was written there
        // since are paths.
        unsafe { &mut *self.0.bytes().as_mut_ptr().cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_fit_is_none() {
        let mut path = Path::new(&[b"/a", b"/", b"b"]).unwrap();
        assert_eq!((path.as_bytes(), path.as_c_str()), (&b"/a/b"[..], c"/a/b"));
        write!(path, "-{}", 7).unwrap();
        assert_eq!(path.as_bytes(), b"/a/b-7");
        assert!(path.push(&[b'x'; Path::MOST]).is_none());
        assert!(path.push(b"\0").is_none());
        assert_eq!(path.as_bytes(), b"/a/b-7");
        path.set(&[b"/", b"c"]).unwrap();
        assert_eq!((path.as_bytes(), path.as_c_str()), (&b"/c"[..], c"/c"));
    }

    #[test]
    fn paths_in_memory_of_their_own_are_empty_and_apart() {
        let mut paths = Paths::<3>::new().unwrap();
        let [one, two, three] = paths.each();
        one.set(&[b"/1"]).unwrap();
        three.set(&[&[b'x'; Path::MOST]]).unwrap();
        assert_eq!((one.as_bytes(), two.as_bytes(), three.as_bytes().len()), (&b"/1"[..], &b""[..], Path::MOST));
    }
}
