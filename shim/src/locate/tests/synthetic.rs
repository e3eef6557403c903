//! A module made of bytes, with four VFS objects in its data.

use crate::locate::memory::Memory;
use crate::locate::shape::SIZE;

/// Where it is loaded.
pub const BIAS: usize = 0x7f00_0000_0000;
/// Where its program headers are.
pub const HEADERS: usize = 64;
/// Where its code is, after the texts.
pub const CODE: usize = 0x1000;
/// Where its texts are.
const TEXTS: usize = 0x800;
/// Where its data is.
pub const DATA: usize = 0x2000;
/// How much of its data comes from the file.
pub const FILLED: usize = 0x4000;
/// The target of `pAppData`, in the part of the data that begins as zeros, where no test puts anything else.
const FINDER: usize = DATA + FILLED + 0x100;

/// Bytes at [`BIAS`], and nothing else.
#[derive(Clone)]
pub struct Bytes {
    pub bytes: Vec<u8>,
    pub headers: usize,
    pub sealed: bool,
}

impl Memory for Bytes {
    fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let part = at.checked_sub(BIAS).and_then(|start| self.bytes.get(start..start.checked_add(into.len())?));
        if let Some(part) = part {
            into.copy_from_slice(part);
        }
        part.is_some()
    }

    fn writable(&self, _: usize) -> bool {
        !self.sealed
    }
}

/// A module that is being made.
pub struct Made {
    pub bytes: Bytes,
    /// Where the objects are.
    at: usize,
}

impl Made {
    /// A module with the objects at this offset in its data.
    pub fn new(at: usize) -> Made {
        let bytes = vec![0; DATA + FILLED + 0x1000];
        let mut made = Made { bytes: Bytes { bytes, headers: 0, sealed: false }, at };
        made.add(1, 4, 0, CODE);
        made.add(1, 5, CODE, 0x1000);
        made.add(1, 6, DATA, FILLED);
        made.header(2, 40, FILLED as u64 + 0x1000);
        made.put(CODE, &[0x55; 0x1000]);
        made.set(FINDER, (BIAS + CODE + 16 + 16 * 16) as u64);
        for (object, name) in [&b"unix\0"[..], b"unix-none\0", b"unix-dotfile\0", b"unix-excl\0"].into_iter().enumerate() {
            let place = at + SIZE * object;
            made.set(place, 3 | 120 << 32);
            made.set(place + 8, 512);
            made.name(object, name);
            made.set(place + 24, (BIAS + TEXTS + 16 * object) as u64);
            made.set(place + 32, (BIAS + FINDER) as u64);
            for function in 0..16 {
                made.set(place + 40 + 8 * function, (BIAS + CODE + 16 + 16 * function) as u64);
            }
        }
        made
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn set(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_ne_bytes());
    }

    /// Sets one field in all four.
    pub fn all(&mut self, field: usize, value: u64) {
        (0..4).for_each(|object| self.set(self.at + SIZE * object + field, value));
    }

    pub fn name(&mut self, object: usize, name: &[u8]) {
        self.put(TEXTS + 16 * object, name);
    }

    /// One more program header.
    pub fn add(&mut self, kind: u32, flags: u32, start: usize, size: usize) {
        let at = HEADERS + 56 * self.bytes.headers;
        self.put(at, &kind.to_ne_bytes());
        self.put(at + 4, &flags.to_ne_bytes());
        for (offset, value) in [(16, start), (32, size), (40, size)] {
            self.set(at + offset, value as u64);
        }
        self.bytes.headers += 1;
    }

    /// Sets a field of a program header.
    pub fn header(&mut self, index: usize, offset: usize, value: u64) {
        self.set(HEADERS + 56 * index + offset, value);
    }
}
