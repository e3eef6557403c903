//! Detection of Go programs with SQLite translated to Go. They have no C library that a preloaded library could cover.
//!
//! Go writes the modules of a program into its file (`debug/buildinfo`, since Go 1.18). The section `.go.buildinfo` begins with a header of 32
//! bytes and a magic text. The Go version and the list of modules follow, each with its length before it. The list has a line
//! `dep<TAB>path<TAB>version…` for each module of which the program has packages.
#![forbid(unsafe_code)]

use memchr::memmem;
use object::{Object, ObjectSection};
use std::fs::File;
use std::path::Path;

/// A translation of SQLite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Translated {
    /// `modernc.org/sqlite`: from C to Go.
    Modernc,
    /// `github.com/ncruces/go-sqlite3`: by way of WebAssembly.
    Ncruces,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";

/// The flag of a header that is followed directly by the texts.
const INLINE: u8 = 2;

/// How many bytes of a list of modules are read.
const LONGEST: usize = 1 << 20;

/// The translation in a Go program that has no SQLite in C as well.
pub(in crate::cli) fn translated(path: &Path) -> Option<Translated> {
    let data = object::ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&data).ok()?;
    let section = file.section_by_name_bytes(b".go.buildinfo")?;
    in_modules(modules(section.data_range(section.address(), section.size().min(LONGEST as u64)).ok()??)?)
}

/// The list of modules in the bytes of the section.
fn modules(section: &[u8]) -> Option<&[u8]> {
    let header = section.get(..32)?;
    if !header.starts_with(MAGIC) || header[15] & INLINE == 0 {
        return None;
    }
    let (_version, rest) = text(section.get(32..)?)?;
    Some(text(rest)?.0)
}

/// Splits off a text with its length before it, a varint.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for (place, &byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes.get(place + 1..)?.split_at_checked(length);
        }
    }
    None
}

fn in_modules(list: &[u8]) -> Option<Translated> {
    let has = |module: &str| {
        let line = |kind: &str| memmem::find(list, format!("{kind}\t{module}\t").as_bytes()).is_some();
        line("dep") || line("mod")
    };
    if has("github.com/mattn/go-sqlite3") {
        None
    } else if has("modernc.org/sqlite") {
        Some(Translated::Modernc)
    } else if has("github.com/ncruces/go-sqlite3") {
        Some(Translated::Ncruces)
    } else {
        None
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;

    /// The bytes of a section, as Go's linker writes them.
    pub(in crate::cli) fn section(modules: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, INLINE]);
        bytes.resize(32, 0);
        for text in ["go1.24.1", modules] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    fn found(modules: &str) -> Option<Translated> {
        super::modules(&section(modules)).and_then(in_modules)
    }

    #[test]
    fn a_translation_is_found_and_only_where_c_is_not() {
        let noise = "dep\tgolang.org/x/sys\tv0.30.0\th1:abc=\n".repeat(9);
        assert_eq!(
            found(&format!("path\tcmd/x\nmod\tcmd/x\t(devel)\n{noise}dep\tmodernc.org/sqlite\tv1.38.0\th1:x=\n")),
            Some(Translated::Modernc)
        );
        assert_eq!(found("dep\tgithub.com/ncruces/go-sqlite3\tv0.26.0\n"), Some(Translated::Ncruces));
        assert_eq!(found("dep\tmodernc.org/sqlite\tv1\ndep\tgithub.com/mattn/go-sqlite3\tv1\n"), None);
        assert_eq!(found("dep\tmodernc.org/sqlite2\tv1\ndep\tmodernc.org/libc\tv1\n"), None);
    }

    #[test]
    fn cut_anywhere_it_is_no_section() {
        let whole = section("dep\tmodernc.org/sqlite\tv1.38.0\n");
        for length in 0..whole.len() {
            assert_eq!(modules(&whole[..length]), None, "cut after {length} bytes");
        }
        assert_eq!(text(&[0xff; 9]), None);
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff, 0x0f]), None);
    }
}
