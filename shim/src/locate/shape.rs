//! The shape of SQLite's four VFS objects, and whether they can be covered.
//!
//! os_unix.c has one static array of `sqlite3_vfs` (`sqlite3_os_init`, `aVfs`), filled by one macro: version 3, the size of its file
//! object, 512 for `mxPathname`, a link that SQLite sets when it registers the object, a name, a pointer to the function that chooses the
//! locking methods, and functions, the same in each. On Linux they are `unix`, `unix-none`, `unix-dotfile` and `unix-excl`; other systems
//! have more after these. The link keeps the array in writable data.
//!
//! Of 3,496 ELF files on one machine, 104 contain the three integers. In 25, all four objects occur, exactly once each. Each of the 25
//! has a SQLite. A program's copy of one object does not have the shape of four, and is left alone.

use super::code;
use super::image::{Image, half};
use super::memory::Memory;
use crate::ffi::sqlite3_vfs;
use std::ops::Range;

/// Why objects of this shape are left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Clang's control-flow integrity checks calls by address: a foreign function in `xOpen` would end the program.
    Cfi,
    /// The objects cannot be written.
    NotWritable,
    /// A slot holds a function of another module, which has replaced SQLite's: perhaps another copy of this library.
    Foreign,
    /// The four objects differ: a function was replaced in some of them.
    Mismatch,
    /// A part that is needed cannot be read.
    Unreadable,
    /// A program that is known to be built with control-flow integrity.
    Name,
    /// The loader has not relocated the module yet, because another thread is loading it. To be searched again later.
    NotRelocated,
}

/// Bytes of one object.
pub const SIZE: usize = size_of::<sqlite3_vfs>();
/// Bytes of the four.
pub const ARRAY: usize = 4 * SIZE;
const NAMES: [&[u8]; 4] = [b"unix\0", b"unix-none\0", b"unix-dotfile\0", b"unix-excl\0"];

/// The offset of a field in an object, in machine words.
mod field {
    pub const NAME: usize = 3;
    pub const APP_DATA: usize = 4;
    pub const OPEN: usize = 5;
    /// The functions that every build has: `xOpen`, `xDelete`, `xAccess`, `xFullPathname`, `xRandomness`, `xSleep`, `xGetLastError`.
    /// Extension loading and deprecated functions can be left out.
    pub const NEEDED: [usize; 7] = [OPEN, 6, 7, 8, 13, 14, 16];
    pub const END: usize = 21;
}
const _: () = assert!(SIZE == 8 * field::END && std::mem::offset_of!(sqlite3_vfs, zName) == 8 * field::NAME);
const _: () = assert!(std::mem::offset_of!(sqlite3_vfs, pAppData) == 8 * field::APP_DATA);
const _: () = assert!(std::mem::offset_of!(sqlite3_vfs, xOpen) == 8 * field::OPEN);
const _: () = assert!(std::mem::offset_of!(sqlite3_vfs, xSleep) == 8 * 14);
const _: () = assert!(std::mem::offset_of!(sqlite3_vfs, xGetLastError) == 8 * 16);

/// `iVersion` of every release since 3.7.6.
const VERSION: u32 = 3;
/// `MAX_PATHNAME` of os_unix.c.
const PATH: u32 = 512;

/// Searches a module's writable data for the four objects, and reports each address that has them.
pub fn search<M: Memory>(image: &Image<M>, report: &mut dyn FnMut(usize, Result<(), Refused>)) {
    image.writable(&mut |range| {
        starts(image.memory, range, &mut |at, end| {
            if at.checked_add(ARRAY).is_some_and(|over| over <= end)
                && let Some(verdict) = judge(image, at)
            {
                report(at, verdict);
            }
        });
    });
}

/// Words that are copied and examined together: half a page.
const CHUNK: usize = 256;

/// Reports each address in a range that has an object's three integers. Parts that cannot be read are skipped.
pub fn starts<M: Memory>(memory: &M, range: Range<usize>, candidate: &mut dyn FnMut(usize, usize)) {
    let Some(mut at) = range.start.checked_next_multiple_of(8) else { return };
    let mut last = 0;
    while let Some(left) = range.end.checked_sub(at).map(|left| left / 8).filter(|left| *left > 0) {
        // Chunks end where pages end, so that an unreadable page affects no other one.
        let words = left.min(CHUNK - at / 8 % CHUNK);
        let mut bytes = [0; 8 * CHUNK];
        let Some(bytes) = bytes.get_mut(..8 * words) else { return };
        if memory.copy(at, bytes) {
            last = pairs(bytes, last, &mut |index| {
                if let Some(place) = at.checked_add(8 * index).and_then(|place| place.checked_sub(8)) {
                    candidate(place, range.end);
                }
            });
        } else {
            last = 0;
        }
        let Some(next) = at.checked_add(8 * words) else { return };
        at = next;
    }
}

/// Calls `hit` with the number of each word that has `mxPathname` and follows one with `iVersion`. `last` is the word before the first.
/// Returns the last word.
fn pairs(bytes: &[u8], mut last: u64, hit: &mut dyn FnMut(usize)) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    for (group, words) in words.chunks(16).enumerate() {
        // Without a branch, so that the compiler handles several words at a time.
        let mut any = false;
        for word in words {
            any |= u64::from_ne_bytes(*word) as u32 == PATH;
        }
        if any {
            let mut before = last;
            for (index, word) in words.iter().enumerate() {
                let word = u64::from_ne_bytes(*word);
                if word as u32 == PATH && before as u32 == VERSION {
                    hit(16 * group + index);
                }
                before = word;
            }
        }
        last = words.last().map_or(last, |word| u64::from_ne_bytes(*word));
    }
    last
}

/// Examines the address of the three integers. `None`: no SQLite is there; otherwise whether it can be covered.
fn judge<M: Memory>(image: &Image<M>, at: usize) -> Option<Result<(), Refused>> {
    let mut bytes = [0; ARRAY];
    if !image.memory.copy(at, &mut bytes) {
        return None;
    }
    let size = half(&bytes, 4)?;
    // `unixFile` has 120 bytes; with options and in forks some more.
    if !(64..=4096).contains(&size) {
        return None;
    }
    let mut words = [[0_usize; field::END]; 4];
    for (object, bytes) in words.iter_mut().zip(bytes.chunks(SIZE)) {
        if half(bytes, 0)? != VERSION || half(bytes, 4)? != size || half(bytes, 8)? != PATH {
            return None;
        }
        for (index, word) in object.iter_mut().enumerate() {
            *word = super::image::word(bytes, 8 * index)?;
        }
    }
    if words.iter().any(|object| raw(image, object[field::NAME])) {
        return Some(Err(Refused::NotRelocated));
    }
    if !words.iter().zip(NAMES).all(|(object, name)| image.is(object[field::NAME], name)) {
        return None;
    }
    Some(coverable(image, at, &words))
}

/// Whether the loader may not have relocated a pointer yet: then it is zero, or an offset in the module.
fn raw<M: Memory>(image: &Image<M>, pointer: usize) -> bool {
    image.bias != 0 && !image.contains(pointer) && pointer <= image.extent().end.wrapping_sub(image.bias)
}

/// Whether the functions of the four objects are SQLite's own, and may be replaced.
fn coverable<M: Memory>(image: &Image<M>, at: usize, words: &[[usize; field::END]; 4]) -> Result<(), Refused> {
    let [first, ..] = words;
    let functions = || words.iter().flat_map(|object| first.iter().zip(object).enumerate().skip(field::OPEN));
    for (index, (&common, &function)) in functions() {
        let empty = function == 0 && !field::NEEDED.contains(&index);
        if !empty && raw(image, function) || function != common && (raw(image, common) || raw(image, function)) {
            return Err(Refused::NotRelocated);
        }
        if !empty && !image.is_code(function) {
            return Err(if function == 0 { Refused::Mismatch } else { Refused::Foreign });
        }
    }
    if functions().any(|(_, (common, function))| common != function) {
        return Err(Refused::Mismatch);
    }
    for &function in field::NEEDED.iter().filter_map(|&field| first.get(field)) {
        unchecked(image, function)?;
    }
    // `pAppData` points to a pointer to the function that chooses the locking methods. It shows a jump table most reliably:
    // a type with a single function gets none, and at least two functions have this type.
    for object in words {
        let data = object[field::APP_DATA];
        let finder = image.word(data).map(|finder| finder as usize);
        if raw(image, data) || finder.is_some_and(|finder| raw(image, finder)) {
            return Err(Refused::NotRelocated);
        }
        let finder = finder.ok_or(Refused::Unreadable)?;
        if !image.is_code(finder) {
            return Err(Refused::Mismatch);
        }
        unchecked(image, finder)?;
    }
    let last = at.checked_add(ARRAY - 8).ok_or(Refused::NotWritable)?;
    if !image.memory.writable(at) || !image.memory.writable(last) {
        return Err(Refused::NotWritable);
    }
    Ok(())
}

/// Whether callers call a function without a check of its address.
fn unchecked<M: Memory>(image: &Image<M>, function: usize) -> Result<(), Refused> {
    match code::checked(image, function) {
        None => Err(Refused::Unreadable),
        Some(true) => Err(Refused::Cfi),
        Some(false) => Ok(()),
    }
}
