//! The SQLite in a file of a program or a library: its version, and whether it is exported.
//!
//! Nothing is loaded or executed. Exported symbols come from the dynamic symbol table, and the version from the bytes of `sqlite3_version`. A SQLite
//! without symbols is recognised by texts that every build contains.
#![forbid(unsafe_code)]

use memchr::memmem;
use object::{Object, ObjectSection, ObjectSymbol, SymbolSection};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The SQLite symbols of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    /// Whether it exports `sqlite3_open_v2`.
    pub exports: bool,
    /// Whether it calls an `sqlite3_open…` of another file.
    pub imports: bool,
    /// The text of `sqlite3_version`, if a symbol leads to it.
    pub version: Option<String>,
}

impl Contents {
    /// Reads the symbols of an ELF file; `None` if it is not one, or is damaged.
    pub(super) fn read(path: &Path) -> Option<Contents> {
        // Reads the whole file: some programs have a million symbols, and a read for each name takes seconds.
        let data = std::fs::read(path).ok()?;
        let file = object::File::parse(&*data).ok()?;
        let mut contents = Contents::default();
        let mut version = None;
        for symbol in file.dynamic_symbols() {
            match symbol.name_bytes() {
                Ok(b"sqlite3_open_v2") if symbol.is_definition() => contents.exports = true,
                Ok(b"sqlite3_open_v2" | b"sqlite3_open" | b"sqlite3_open16") if symbol.is_undefined() => contents.imports = true,
                Ok(b"sqlite3_version") if symbol.is_definition() => version = Some((symbol.section(), symbol.address())),
                _ => {}
            }
        }
        let hidden = || file.symbol_by_name_bytes(b"sqlite3_version").filter(|symbol| symbol.is_definition());
        let version = version.or_else(|| hidden().map(|symbol| (symbol.section(), symbol.address())));
        if let Some((SymbolSection::Section(index), address)) = version {
            let bytes = file.section_by_index(index).ok().and_then(|section| section.data_range(address, 12).ok().flatten());
            contents.version = bytes.and_then(version_text);
        }
        Some(contents)
    }
}

/// The version in bytes such as `3.40.1` and a NUL.
fn version_text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    parse(text).map(|_| text.to_owned())
}

/// The three numbers of a version.
pub(super) fn parse(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?];
    (numbers[0] == 3).then_some(numbers)
}

/// Whether this version has the WAL-reset bug: fixed in 3.51.3, and in 3.50.7 and 3.44.6 of the older branches.
pub(super) fn wal_reset_exposed(version: &str) -> bool {
    match parse(version) {
        Some([3, 50, patch]) => patch < 7,
        Some([3, 44, patch]) => patch < 6,
        Some(version) => ([3, 7, 0]..[3, 51, 3]).contains(&version),
        None => false,
    }
}

/// A SQLite that a file contains without exporting it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Embedded {
    /// Date, time and hash of the sources.
    pub source_id: Option<String>,
    /// Whether it was built without `sqlite3_load_extension`: its options say so, or that function's error message is missing.
    pub omits_extensions: bool,
    /// Whether rustc compiled the file.
    pub rust: bool,
}

/// Bytes read at a time, and how many of them are searched again with the next block.
const BLOCK: usize = 1 << 20;
const OVERLAP: usize = 256;

/// Searches a whole file for the texts of a SQLite.
///
/// The header text alone proves nothing: tools that read database files have it. Nor does a source id: programs that check the SQLite they were
/// linked with have it. Only a SQLite itself also has the names of its SQL functions, or of the VFSes of its unix layer. (A build with
/// `SQLITE_OMIT_COMPILEOPTION_DIAGS` lacks the function that is searched for.)
pub(super) fn embedded(path: &Path) -> Option<Embedded> {
    let mut file = File::open(path).ok()?;
    let header = memmem::Finder::new(b"SQLite format 3\0");
    // In two pieces, so that this command does not find the search texts in itself.
    let (function, omitted) = (["sqlite_compile", "option_used\0"].concat(), ["\0OMIT_LOAD", "_EXTENSION\0"].concat());
    let (exclusive, dotfile) = (["unix", "-excl\0"].concat(), ["unix", "-dotfile\0"].concat());
    let (function, exclusive, dotfile) =
        (memmem::Finder::new(&function), memmem::Finder::new(&exclusive), memmem::Finder::new(&dotfile));
    // With NULs around it: as an option, and not as the end of a message.
    let omitted = memmem::Finder::new(&omitted);
    let failed_load = memmem::Finder::new(b"unable to open shared library [");
    let date = memmem::Finder::new(b"20");
    let rustc = memmem::Finder::new(b"/rustc/");
    let mut found = Embedded::default();
    let (mut has_header, mut has_function, mut has_exclusive, mut has_dotfile, mut loads) = (false, false, false, false, false);
    let mut buffer = Vec::with_capacity(BLOCK + OVERLAP);
    loop {
        let kept = buffer.len().saturating_sub(OVERLAP);
        buffer.drain(..kept);
        if file.by_ref().take(BLOCK as u64).read_to_end(&mut buffer).ok()? == 0 {
            break;
        }
        has_header |= header.find(&buffer).is_some();
        has_function |= function.find(&buffer).is_some();
        has_exclusive |= exclusive.find(&buffer).is_some();
        has_dotfile |= dotfile.find(&buffer).is_some();
        loads |= failed_load.find(&buffer).is_some();
        found.omits_extensions |= omitted.find(&buffer).is_some();
        found.rust |= rustc.find(&buffer).is_some();
        if found.source_id.is_none() {
            found.source_id = date.find_iter(&buffer).find_map(|at| source_id(buffer.get(at..)?));
        }
    }
    found.omits_extensions |= !loads;
    (has_header && (has_function || has_exclusive && has_dotfile)).then_some(found)
}

/// `2022-12-28 14:03:47 ` and 64 hexadecimal digits (40 before 3.19, and `alt1` at the end of a changed source).
fn source_id(bytes: &[u8]) -> Option<String> {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd ";
    let (date, rest) = bytes.split_at_checked(SHAPE.len())?;
    let fits = |(&byte, &shape): (&u8, &u8)| if shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    if !date.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let hash = rest.iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if hash < 40 || !rest.iter().take(36).all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some(String::from_utf8_lossy(bytes.get(..SHAPE.len() + hash)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_versions_are_not_exposed() {
        for exposed in ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.0", "3.51.2"] {
            assert!(wal_reset_exposed(exposed), "{exposed}");
        }
        for safe in ["3.6.23", "3.44.6", "3.44.7", "3.50.7", "3.51.3", "3.52.0", "3.54.1", "4.0.0", "", "3", "x.y.z"] {
            assert!(!wal_reset_exposed(safe), "{safe}");
        }
    }

    #[test]
    fn a_source_id_has_its_shape() {
        let hash = "df5c253c0b3dd24916e4ec7cf77d3db5294cc9fd45ae7b9c5e82ad8197f3alt1";
        let text = format!("2022-12-28 14:03:47 {hash}\0more");
        assert_eq!(source_id(text.as_bytes()).as_deref(), text.strip_suffix("\0more"));
        assert_eq!(source_id(b"2022-12-28 14:03:47 no"), None);
        assert_eq!(source_id(b"20"), None);
    }
}
