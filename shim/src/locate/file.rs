//! The lookup of functions by name in a module's file. It reads `.symtab`, which the loader does not map into memory.
//!
//! The file is mapped, read, and unmapped. It is opened for a moment, so this way is tried last, and before SQLite opens a database: closing
//! a descriptor drops the process's POSIX locks on that file, and a database may be appended to a program.

use super::image::{HEADER, Image, Module, half, quarter, word};
use super::memory::{Memory, Process};
use super::symbols::{SYMBOL, function};
use crate::sys::Fd;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::CStr;

/// A file, mapped.
struct Mapped {
    start: usize,
    len: usize,
}

impl Mapped {
    fn open(path: &CStr) -> Option<Mapped> {
        // Without blocking: the path may name a pipe by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = Fd::from(openat(CWD, path, flags, Mode::empty()).ok()?);
        let stat = fstat(&file).ok()?;
        let len = usize::try_from(stat.st_size).ok().filter(|len| *len >= 64)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        // SAFETY: the kernel chooses an address where nothing is.
        let start = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) }.ok()?;
        Some(Mapped { start: start as usize, len })
    }

    /// The address of a part, if it lies in the file.
    fn part(&self, offset: usize, len: usize) -> Option<usize> {
        (offset.checked_add(len)? <= self.len).then(|| self.start + offset)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and no reference to it exists: bytes are copied out.
        let _ = unsafe { munmap(self.start as *mut _, self.len) };
    }
}

/// The names of functions, and their addresses; 0 = not found.
pub type Names<'n> = [(&'n [u8], usize)];

/// Fills in the addresses of the functions that the module's file names. `None` where the file is not the module's, has no symbols, or
/// has two functions of one name: then the module has a second SQLite, and nothing shows whose functions they are.
pub fn find(
    memory: &Process,
    module: &Module,
    image: &Image<'_, Process>,
    names: &mut Names<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<()> {
    if module.name.is_null() {
        return None;
    }
    // SAFETY: the loader's own string, and the module is loaded.
    let path = unsafe { CStr::from_ptr(module.name) };
    let file = Mapped::open(if path.is_empty() { c"/proc/self/exe" } else { path })?;
    let mut head = [0; 64];
    if !memory.copy(file.part(0, head.len())?, &mut head) || !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    same(memory, module, &file, &head)?;
    let (sections, size, count) = (word(&head, 40)?, quarter(&head, 58)?, quarter(&head, 60)?);
    if size != 64 {
        return None;
    }
    const SYMTAB: u32 = 2;
    for index in 0..usize::from(count) {
        let section = section(memory, &file, sections, index)?;
        if half(&section, 4)? == SYMTAB {
            let strings = self::section(memory, &file, sections, half(&section, 40)? as usize)?;
            return symbols(memory, image, &file, &section, &strings, names, go_on);
        }
    }
    None
}

/// Whether the file is the one that was loaded: its program headers are those in memory.
fn same(memory: &Process, module: &Module, file: &Mapped, head: &[u8; 64]) -> Option<()> {
    let (at, count) = (word(head, 32)?, usize::from(quarter(head, 56)?));
    if count != module.count {
        return None;
    }
    for index in 0..count {
        let (mut loaded, mut stored) = ([0; HEADER], [0; HEADER]);
        let offset = index.checked_mul(HEADER)?;
        let read = memory.copy(module.headers.checked_add(offset)?, &mut loaded)
            && memory.copy(file.part(at.checked_add(offset)?, HEADER)?, &mut stored);
        if !read || loaded != stored {
            return None;
        }
    }
    Some(())
}

fn section(memory: &Process, file: &Mapped, sections: usize, index: usize) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    let at = file.part(sections.checked_add(index.checked_mul(64)?)?, bytes.len())?;
    memory.copy(at, &mut bytes).then_some(bytes)
}

fn symbols(
    memory: &Process,
    image: &Image<'_, Process>,
    file: &Mapped,
    section: &[u8; 64],
    strings: &[u8; 64],
    names: &mut Names<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let (at, size) = (word(section, 24)?, word(section, 32)?);
    let (text, text_size) = (word(strings, 24)?, word(strings, 32)?);
    let (table, text) = (file.part(at, size)?, file.part(text, text_size)?);
    const TOGETHER: usize = 64;
    let mut offset = 0;
    while offset < size {
        if !go_on() {
            return None;
        }
        let mut bytes = [0; TOGETHER * SYMBOL];
        let bytes = bytes.get_mut(..(size - offset).min(TOGETHER * SYMBOL))?;
        if !memory.copy(table.checked_add(offset)?, bytes) {
            return None;
        }
        for symbol in bytes.chunks_exact(SYMBOL) {
            let Some(address) = function(image, symbol) else { continue };
            let name = half(symbol, 0)? as usize;
            let fits = |len: usize| name.checked_add(len).is_some_and(|end| end <= text_size);
            let mut prefix = [0; 8];
            if !fits(prefix.len()) || !memory.copy(text + name, &mut prefix) || &prefix != b"sqlite3_" {
                continue;
            }
            for (_, place) in names.iter_mut().filter(|(wanted, _)| fits(wanted.len()) && memory.is(text + name, wanted)) {
                if *place != 0 && *place != address {
                    return None;
                }
                *place = address;
            }
        }
        offset += TOGETHER * SYMBOL;
    }
    Some(())
}
