//! The header of an ELF file: its architecture, and the dynamic loader that it names. Nothing is executed.
#![forbid(unsafe_code)]

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The header of an ELF file, and its loader's name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::cli) struct Elf {
    /// Whether it has the word size, byte order and processor of this program.
    pub native: bool,
    /// The dynamic loader that it names (`PT_INTERP`); `None` in a static program, in most libraries, and in a file that is not native.
    pub loader: Option<String>,
}

impl Elf {
    /// Reads the header and the program headers; `None` if this is no ELF file, or it cannot be read.
    pub(in crate::cli) fn read(path: &Path) -> Option<Elf> {
        let file = File::open(path).ok()?;
        let (mut start, mut own) = ([0; 20], [0; 20]);
        file.read_exact_at(&mut start, 0).ok()?;
        // Our own header has the class, byte order and machine of our library, too.
        File::open("/proc/self/exe").ok()?.read_exact_at(&mut own, 0).ok()?;
        let native = start.get(4..6)? == own.get(4..6)? && start.get(18..20)? == own.get(18..20)?;
        if !start.starts_with(b"\x7fELF") {
            return None;
        }
        if !native {
            return Some(Elf { native, loader: None });
        }
        let data = ReadCache::new(file);
        let loader = match FileKind::parse(&data).ok()? {
            FileKind::Elf32 => loader::<FileHeader32<Endianness>, _>(&data),
            FileKind::Elf64 => loader::<FileHeader64<Endianness>, _>(&data),
            _ => None,
        }?;
        Some(Elf { native, loader })
    }

    /// Whether the loader is that of musl. A library for glibc, such as ours, cannot be loaded beside musl's libc.
    pub(in crate::cli) fn is_musl(&self) -> bool {
        self.loader.as_deref().is_some_and(|loader| loader.rsplit('/').next().is_some_and(|name| name.starts_with("ld-musl")))
    }
}

/// The name in `PT_INTERP`; the outer `None` if the program headers cannot be read.
fn loader<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Option<Option<String>> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, data).ok()?;
    // An object file, or damage: not a program, so its loader is unknown.
    if headers.is_empty() {
        return None;
    }
    for program in headers {
        if let Some(name) = program.interpreter(endian, data).ok()? {
            return Some(Some(String::from_utf8_lossy(name).into_owned()));
        }
    }
    Some(None)
}
