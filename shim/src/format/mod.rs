//! The bytes on disk. Pure: it turns numbers into bytes and back, and touches no file.
//!
//! A trace directory holds two files for each process that wrote to it (`<id>` is `<pid>-<start>`, where `<start>` is the
//! wall-clock time of the log's creation, in nanoseconds, as 16 lower-case hexadecimal digits):
//!
//! | file | what |
//! | --- | --- |
//! | `<id>.ring` | a 4096-byte header ([`header`]) and `capacity` records of 64 bytes ([`record`]) |
//! | `<id>.names` | JSON lines: what the numbers in the records mean ([names](#names)) |
//!
//! Where the directory's file system cannot hold mapped files safely, both are symbolic links to files in `/dev/shm/locktrace-<uid>/`. The
//! ring's magic number is written last: a file without one is being made, or its process died while it made it. A file `notes` holds notes
//! for the user as JSON lines (`"t":"note"`), and is no part of a trace.
//!
//! Every integer is little-endian. A change to any of these bytes is a new [`VERSION`] and a new golden trace.
//!
//! # The ring
//!
//! Record number *s* (counted from 0) lives in slot *s* mod `capacity`. The header's `head` counts the records claimed so far, so
//! the ring holds numbers `head - capacity .. head` at most, and older ones have been overwritten. A slot's check word ties its
//! seven other words to one record number; a slot that does not match the number it should hold was lost (no disk space), torn
//! (the writer died, or was overtaken by a whole lap) or is being written.
//!
//! # Names
//!
//! One JSON object a line. The file is mapped by its writer and longer than what was written: NULs fill it up. A writer claims a place of
//! its line's length, writes all but the first byte, and the first byte last; so a place that begins with a NUL holds no line: its writer
//! has not finished, or died. Between two newlines the line is the bytes after the last NUL, if they begin with `{`; other bytes before it are half
//! a line. Lines hold no NUL themselves. Files of older versions hold no NULs at all, and a last line without a newline is torn in them.
//! Spaces may precede a newline. `"t"` is the type of a line; readers skip types they do not know. 64-bit values are strings of 16 hexadecimal
//! digits, because JSON numbers are not 64 bits wide.
//! Text that was not UTF-8 has its bad bytes replaced by U+FFFD and carries all its bytes, in hexadecimal, in a second key with the
//! suffix `_bytes`.
//!
//! | `t` | keys |
//! | --- | --- |
//! | `process` | `v` (format version), `pid`, `ppid`, `exe`, `argv` (array; only the program under the policies `hash` and `off`), `modules` (array of paths: the mapped code whose name shows what the process is, SQLite's own libraries, drivers, languages; null where they cannot be read), `cwd` (null under a filter of system calls), `host`, `uid`, `started` (ns since 1970, string of 16 hex digits), `forked` (bool: this process is the child of a traced one and may use its connections), `policy` (`text`, `hash`, `off`) |
//! | `library` | `lib` (number), `sqlite` (version), `source_id`, `options` (array, or null where the build does not list them), `vfs` (our VFS name), `base` (the name of the VFS we wrap), `linked` (bool: the program itself installed the VFS, in the SQLite that it links: it is written in Rust) |
//! | `file` | `file` (the number in the records), `lib`, `path`, `dev`, `ino` (numbers; null when `stat` failed), `fs` (file system type name, or null) |
//! | `thread` | `tid`, `name` |
//! | `sql` | `sql` (the hash in the records), `text` (as prepared, never its bound values), `len` (its whole length in bytes; the text is cut when shorter) |
//! | `outside` | the answer of `/proc/locks` after a refused attempt: `conn` and `start` (hex) are those of its record, `after` (ticks from its start to the answer), `readings` (of the list); `failed` (why it could not be read), or `holders` (array: `pid` (-1 where the kernel does not show it, 0 for another namespace's), `how` (`posix`, `ofd`, `flock`), `mode` (`read`, `write`), `locks` (names), `exact` (false: only the inode agrees, not the device), `own` (this very process), and where known `comm`, `argv` (cut at 1024 bytes; only the program under the policies `hash` and `off`), `started` (clock ticks since boot)) and `more` (holders left out) |
//! | `recording` | `on` (bool: recording was stopped or started), `ticks` (string of 16 hex digits). Records after a stop are of calls that were under way. At a start two record numbers are skipped, so that a reader takes no lock from before as certain |
//! | `cap` | `what` (`sql`, `thread`, `file`, `outside`), `limit`: later ones of this kind are not named |
#![forbid(unsafe_code)]

pub mod header;
pub mod record;

/// The version of everything in this module.
pub const VERSION: u32 = 1;

/// The extension of a record file.
pub const RING_EXTENSION: &str = "ring";

/// The extension of a names file.
pub const NAMES_EXTENSION: &str = "names";

/// Constants with well-mixed bits, one a word: the first 64 bits of the fractional parts of the square roots of the first
/// primes (SHA-512's initial values), made odd.
const MIX: [u64; 8] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// The 128-bit product of two words, its halves folded onto each other.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    wide as u64 ^ (wide >> 64) as u64
}

/// The check word of seven words and a number: four folded products, which run side by side, and their sum.
///
/// It detects a record made of two halves, a stale one or a damaged one, at about a nanosecond. It is no defence
/// against forged records. Never 0 for seven zero words, so that an unwritten slot is no record.
#[inline(always)]
pub const fn check(words: &[u64; 7], number: u64) -> u64 {
    let [a, b, c, d, e, f, g] = *words;
    fold(a ^ MIX[0], b ^ MIX[1])
        .wrapping_add(fold(c ^ MIX[2], d ^ MIX[3]))
        .wrapping_add(fold(e ^ MIX[4], f ^ MIX[5]))
        .wrapping_add(fold(g ^ MIX[6], number ^ MIX[7]))
}

/// A 64-bit hash of a SQL text: its identity in every process of every trace of this format version.
///
/// Two lanes of folded 64×64→128-bit multiplication over 8-byte words; the length is mixed in. Not keyed: it distinguishes texts,
/// and a chosen collision costs its author a misattributed statement. Never 0, which means "no statement".
#[inline]
pub fn sql_hash(text: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut le = [0u8; 8];
        le[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(le)
    };
    let mut a = MIX[0] ^ (text.len() as u64).wrapping_mul(MIX[1]);
    let mut b = MIX[2];
    let mut pairs = text.chunks_exact(16);
    for pair in &mut pairs {
        a = fold(a ^ word(&pair[..8]), MIX[3]);
        b = fold(b ^ word(&pair[8..]), MIX[4]);
    }
    let rest = pairs.remainder();
    let (low, high) = rest.split_at(rest.len().min(8));
    a = fold(a ^ word(low), MIX[5]);
    b = fold(b ^ word(high), MIX[6]);
    let hash = fold(a ^ MIX[7], b ^ MIX[0]);
    if hash == 0 { 1 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_slot_is_no_record() {
        for number in [0, 1, 65_536, u64::MAX - 1] {
            assert_ne!(check(&[0; 7], number), 0);
        }
    }

    #[test]
    fn check_notices_any_single_bit_and_the_wrong_number() {
        let words = [1, 2, 3, 4, 5, 6, u64::MAX];
        let good = check(&words, 77);
        for i in 0..7 {
            for bit in 0..64 {
                let mut other = words;
                other[i] ^= 1 << bit;
                assert_ne!(check(&other, 77), good, "word {i} bit {bit}");
            }
        }
        assert_ne!(check(&words, 78), good);
        assert_ne!(check(&words, 77 + 65_536), good);
    }

    #[test]
    fn check_notices_two_top_bits() {
        let mut words = [9; 7];
        let good = check(&words, 0);
        words[1] ^= 1 << 63;
        words[4] ^= 1 << 63;
        assert_ne!(check(&words, 0), good);
    }

    #[test]
    fn hashes_differ_by_content_and_length() {
        let mut seen = std::collections::HashSet::new();
        for len in 0..200 {
            assert!(seen.insert(sql_hash(&vec![b'x'; len])), "length {len}");
            assert!(seen.insert(sql_hash(&vec![0; len + 200])), "zeros, length {}", len + 200);
        }
        for i in 0..10_000 {
            assert!(seen.insert(sql_hash(format!("SELECT {i} FROM t").as_bytes())));
        }
    }

    #[test]
    fn hashes_are_part_of_the_format() {
        assert_eq!(sql_hash(b""), 8086586219507686412);
        assert_eq!(sql_hash(b"SELECT v FROM t WHERE id=?1"), 15928036588184557083);
    }
}
