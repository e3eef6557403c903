//! SQLite's functions without symbols: the table that it passes to extensions.
//!
//! `sqlite3Apis` (loadext.c) is one constant `sqlite3_api_routines` of about 280 addresses, in an order that is documented and only
//! grows at its end. Every SQLite that can load extensions has it, stripped or not. It is recognised in two steps:
//!
//! 1. By its silhouette: functions in the slots that no build option empties, and null in the slot of a function removed in 2005. This
//!    reads data only, and no page of code.
//! 2. By the constants that three of the functions return: slot 67 the version as a number, slot 66 the same version as text, slot 169 a source id.
//!    Their code is read, and never run.

use super::code::{Returned, constant};
use super::image::Image;
use super::memory::Memory;
use crate::api::{OLDEST, slot};
use std::ops::Range;

/// Slots that are examined in the data. `sqlite3_stmt_readonly` is the last that every supported version has.
const SLOTS: usize = slot::STMT_READONLY + 1;

/// Functions that no option leaves out: binding, finalizing, the version, memory, and those we call.
const FILLED: [usize; 24] = [
    slot::LIBVERSION_NUMBER,
    slot::LIBVERSION,
    slot::MPRINTF,
    slot::VFS_FIND,
    slot::VFS_REGISTER,
    slot::VFS_UNREGISTER,
    slot::NEXT_STMT,
    slot::SQL,
    slot::SOURCEID,
    slot::STMT_BUSY,
    slot::STMT_READONLY,
    2,
    3,
    4,
    5,
    6,
    7,
    12,
    57,
    58,
    64,
    65,
    68,
    77,
];
/// The slot of the former `sqlite3_global_recover`.
const EMPTY: usize = 63;

/// Words from one probe to the next.
const STRIDE: usize = 46;
/// Probes that a table covers, wherever it begins.
const COVERED: usize = SLOTS / STRIDE;
const _: () = assert!(COVERED == 4);
/// The words in which a table may begin that the last probes met, and its slots.
const WORDS: usize = STRIDE + SLOTS;

/// The result of the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// The address of the table.
    Found(usize),
    /// There is no table: SQLite was built without loading of extensions, or for another processor.
    Nothing,
    /// Several: the module has more than one SQLite.
    Several,
    /// `go_on` was `false`.
    OutOfTime,
}

/// Searches a module's data for the table. `go_on` is called for each page.
///
/// Programs have up to 100 MB of such data. A table has 186 words, each null or the address of code. So one word in 46 is
/// examined, and the words between them only where four in a row are such words.
pub fn search<M: Memory>(image: &Image<M>, go_on: &mut dyn FnMut() -> bool) -> Search {
    let mut found = Search::Nothing;
    image.tables(&mut |range| {
        let Some(mut at) = range.start.checked_next_multiple_of(8) else { return };
        let (first, mut in_a_row, mut page) = (at, 0, 0);
        while found != Search::OutOfTime && range.end.checked_sub(at).is_some_and(|left| left >= 8) {
            if at / 4096 != page {
                page = at / 4096;
                if !go_on() {
                    found = Search::OutOfTime;
                    return;
                }
            }
            let plausible = |word| word == 0 || image.is_code(word as usize);
            in_a_row = if image.memory.word(at).is_some_and(plausible) { in_a_row + 1 } else { 0 };
            if in_a_row >= COVERED {
                // A table in which this probe is the fourth begins at most a stride before the first of the four.
                let start = at.saturating_sub(8 * (COVERED * STRIDE - 1)).max(first);
                silhouettes(image, start..range.end, &mut |table| {
                    if is_table(image, table) && found != Search::Found(table) {
                        found = if found == Search::Nothing { Search::Found(table) } else { Search::Several };
                    }
                });
            }
            let Some(next) = at.checked_add(8 * STRIDE) else { return };
            at = next;
        }
    });
    found
}

/// Calls `hit` with the address of each of the next [`STRIDE`] words at which a table may begin.
fn silhouettes<M: Memory>(image: &Image<M>, range: Range<usize>, candidate: &mut dyn FnMut(usize)) {
    let left = range.end.saturating_sub(range.start) / 8;
    let mut bytes = [0; 8 * WORDS];
    let Some(bytes) = bytes.get_mut(..8 * left.min(WORDS)) else { return };
    if !image.memory.copy(range.start, bytes) {
        return;
    }
    let (words, _) = bytes.as_chunks::<8>();
    for (index, slots) in words.windows(SLOTS).enumerate().take(STRIDE) {
        let value = |slot: usize| slots.get(slot).map_or(0, |word| u64::from_ne_bytes(*word) as usize);
        // In this order one comparison is nearly always enough.
        if value(EMPTY) == 0 && value(EMPTY + 1) != 0 && FILLED.iter().all(|&slot| image.is_code(value(slot))) {
            candidate(range.start.saturating_add(8 * index));
        }
    }
}

/// Whether the functions in the slots return what a SQLite's do.
fn is_table<M: Memory>(image: &Image<M>, table: usize) -> bool {
    let returned = |slot| constant(image, image.word(address(table, slot)?)? as usize);
    let Some(Returned::Number(version)) = returned(slot::LIBVERSION_NUMBER) else { return false };
    if !(OLDEST as u32..4_000_000).contains(&version) {
        return false;
    }
    let starts = |slot, text: &[u8]| match returned(slot) {
        Some(Returned::Address(at)) => image.is(at, text),
        Some(Returned::Number(at)) => image.is(at as usize, text),
        // Where another module may define `sqlite3_version`, the code loads its address.
        Some(Returned::Indirect(at)) => image.word(at).is_some_and(|at| image.is(at as usize, text)),
        None => false,
    };
    let mut text = [0; 16];
    let Some(text) = version_text(version, &mut text) else { return false };
    starts(slot::LIBVERSION, text) && starts(slot::SOURCEID, b"20")
}

/// The address of a slot.
pub fn address(table: usize, slot: usize) -> Option<usize> {
    table.checked_add(slot.checked_mul(8)?)
}

/// A version as SQLite writes it, with a NUL: 3054001 is `3.54.1`.
fn version_text(version: u32, into: &mut [u8; 16]) -> Option<&[u8]> {
    let mut len = 0;
    for (part, end) in [(version / 1_000_000, b'.'), (version / 1000 % 1000, b'.'), (version % 1000, 0)] {
        let digits = if part >= 100 {
            3
        } else if part >= 10 {
            2
        } else {
            1
        };
        for digit in (0..digits).rev() {
            *into.get_mut(len)? = b'0' + (part / 10_u32.pow(digit) % 10) as u8;
            len += 1;
        }
        *into.get_mut(len)? = end;
        len += 1;
    }
    into.get(..len)
}

#[cfg(test)]
mod tests {
    use super::version_text;

    #[test]
    fn versions_are_written_as_sqlite_does() {
        for (version, text) in [(3_054_001, "3.54.1\0"), (3_017_000, "3.17.0\0"), (3_100_010, "3.100.10\0")] {
            assert_eq!(version_text(version, &mut [0; 16]), Some(text.as_bytes()));
        }
    }
}
