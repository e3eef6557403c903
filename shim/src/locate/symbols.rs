//! Functions by name, among the symbols that a module has in memory for the dynamic loader.
//!
//! `dlsym` would do the same, but takes the loader's lock. A constructor that waits for this very thread may hold it.

use super::image::{Image, half, quarter, word};
use super::memory::Memory;

/// A module's dynamic symbols.
#[derive(Clone, Copy, Debug, Default)]
pub struct Symbols {
    table: usize,
    strings: usize,
    gnu_hash: usize,
    hash: usize,
}

/// Bytes of a symbol.
pub const SYMBOL: usize = 24;
/// The most symbols with one hash. A longer chain may be a hostile one without an end.
const CHAIN: usize = 1 << 16;

impl Symbols {
    /// From the dynamic section; `None` where the module has none, as a static program.
    pub fn new<M: Memory>(image: &Image<M>) -> Option<Symbols> {
        const NULL: usize = 0;
        const HASH: usize = 4;
        const STRTAB: usize = 5;
        const SYMTAB: usize = 6;
        const GNU_HASH: usize = 0x6fff_fef5;
        let mut symbols = Symbols::default();
        let mut at = image.dynamic.start;
        // A dynamic section has some 30 entries.
        for _ in 0..512 {
            let mut entry = [0; 16];
            if at.checked_add(16)? > image.dynamic.end || !image.copy(at, &mut entry) {
                break;
            }
            let value = word(&entry, 8)?;
            // glibc adds the bias in memory where the section can be written, musl does not.
            let address = if image.contains(value) { value } else { image.bias.wrapping_add(value) };
            match word(&entry, 0)? {
                NULL => break,
                HASH => symbols.hash = address,
                STRTAB => symbols.strings = address,
                SYMTAB => symbols.table = address,
                GNU_HASH => symbols.gnu_hash = address,
                _ => (),
            }
            at += 16;
        }
        (symbols.table != 0 && symbols.strings != 0 && (symbols.gnu_hash != 0 || symbols.hash != 0)).then_some(symbols)
    }

    /// The address of a function that the module defines. The name ends with its NUL.
    pub fn find<M: Memory>(&self, image: &Image<M>, name: &[u8]) -> Option<usize> {
        if self.gnu_hash != 0 { self.find_gnu(image, name) } else { self.find_old(image, name) }
    }

    /// By `DT_GNU_HASH`: four numbers, a Bloom filter that is skipped here, a bucket for each remainder, and the hashes of the
    /// symbols in order, whose lowest bit ends a bucket.
    fn find_gnu<M: Memory>(&self, image: &Image<M>, name: &[u8]) -> Option<usize> {
        let text = name.strip_suffix(b"\0")?;
        let hash = text.iter().fold(5381_u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()));
        let mut head = [0; 16];
        if !image.copy(self.gnu_hash, &mut head) {
            return None;
        }
        let [buckets, first, filter] = [half(&head, 0)?, half(&head, 4)?, half(&head, 8)?];
        let at = self.gnu_hash.checked_add(16)?.checked_add((filter as usize).checked_mul(8)?)?;
        let chains = at.checked_add((buckets as usize).checked_mul(4)?)?;
        let mut index = number(image, at, hash.checked_rem(buckets)? as usize)?;
        for _ in 0..CHAIN {
            let here = number(image, chains, index.checked_sub(first)? as usize)?;
            if (here ^ hash) >> 1 == 0
                && let Some(found) = self.defined(image, index as usize, name)
            {
                return Some(found);
            }
            if here & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
        None
    }

    /// By `DT_HASH`: two numbers, a bucket for each remainder, and for each symbol the next of its bucket.
    fn find_old<M: Memory>(&self, image: &Image<M>, name: &[u8]) -> Option<usize> {
        let text = name.strip_suffix(b"\0")?;
        let hash = text.iter().fold(0_u32, |hash, &byte| {
            let hash = (hash << 4).wrapping_add(byte.into());
            (hash ^ (hash >> 24 & 0xf0)) & 0x0fff_ffff
        });
        let buckets = number(image, self.hash, 0)?;
        let at = self.hash.checked_add(8)?;
        let chains = at.checked_add((buckets as usize).checked_mul(4)?)?;
        let mut index = number(image, at, hash.checked_rem(buckets)? as usize)?;
        for _ in 0..CHAIN {
            if index == 0 {
                return None;
            }
            if let Some(found) = self.defined(image, index as usize, name) {
                return Some(found);
            }
            index = number(image, chains, index as usize)?;
        }
        None
    }

    /// The address of a symbol by its number, if it has this name.
    fn defined<M: Memory>(&self, image: &Image<M>, index: usize, name: &[u8]) -> Option<usize> {
        let mut symbol = [0; SYMBOL];
        if !image.copy(self.table.checked_add(index.checked_mul(SYMBOL)?)?, &mut symbol) {
            return None;
        }
        let address = function(image, &symbol)?;
        image.is(self.strings.checked_add(half(&symbol, 0)? as usize)?, name).then_some(address)
    }
}

/// The address that a symbol gives to a function of the module itself.
pub fn function<M: Memory>(image: &Image<M>, symbol: &[u8]) -> Option<usize> {
    const FUNCTION: u8 = 2;
    let defined = symbol.get(4)? & 0xf == FUNCTION && quarter(symbol, 6)? != 0;
    let address = image.bias.wrapping_add(word(symbol, 8)?);
    (defined && image.is_code(address)).then_some(address)
}

/// One of a row of 32-bit numbers.
fn number<M: Memory>(image: &Image<M>, row: usize, index: usize) -> Option<u32> {
    let mut bytes = [0; 4];
    image.copy(row.checked_add(index.checked_mul(4)?)?, &mut bytes).then(|| u32::from_ne_bytes(bytes))
}
