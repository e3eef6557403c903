//! Every ELF file of this machine: four objects or none.

use super::super::image::{Image, Module, half, quarter, word};
use super::super::memory::Memory;
use super::super::shape::{ARRAY, Refused, SIZE, search};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file at the addresses its program headers give it, as the loader would place and relocate it at 0.
struct Loaded {
    start: *mut u8,
    len: usize,
    /// Address, offset in the file, size.
    segments: Vec<(usize, usize, usize)>,
    headers: usize,
    count: usize,
}

impl Loaded {
    fn open(path: &Path) -> Option<Loaded> {
        let file = File::open(path).ok()?;
        let len = usize::try_from(file.metadata().ok()?.len()).ok().filter(|len| *len > 64)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_NORESERVE);
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let mut loaded = Loaded { start: start.cast(), len, segments: Vec::new(), headers: 0, count: 0 };
        let head: [u8; 64] = *loaded.part(0, 64)?.first_chunk()?;
        let x86_64 = quarter(&head, 18)? == 62;
        if !head.starts_with(b"\x7fELF\x02\x01") || !x86_64 || !matches!(quarter(&head, 16)?, 2 | 3) {
            return None;
        }
        (loaded.headers, loaded.count) = (word(&head, 32)?, quarter(&head, 56)?.into());
        for index in 0..loaded.count {
            let header = loaded.part(loaded.headers + 56 * index, 56)?;
            if half(header, 0)? == 1 {
                let segment = (word(header, 16)?, word(header, 8)?, word(header, 32)?);
                loaded.segments.push(segment);
            }
        }
        // Where the headers are loaded, too; a few programs do not load them.
        let at = loaded.headers;
        loaded.headers = loaded.segments.iter().find(|(_, offset, size)| (*offset..offset + size).contains(&at))?.0 + at
            - loaded.segments.iter().find(|(_, offset, size)| (*offset..offset + size).contains(&at))?.1;
        Some(loaded)
    }

    fn part(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let inside = offset.checked_add(len)? <= self.len;
        // No other view of the mapping is alive while it is written.
        inside.then(|| unsafe { std::slice::from_raw_parts(self.start.add(offset), len) })
    }

    fn offset(&self, at: usize, len: usize) -> Option<usize> {
        let holds = |(start, _, size): &&(usize, usize, usize)| *start <= at && at + len <= start + size;
        self.segments.iter().find(holds).map(|(start, offset, _)| at - start + offset)
    }

    /// Whether three integers are found four times, as in the objects. Only such files are examined further.
    fn has_the_integers(&self) -> bool {
        let image = Image::new(self, 0, self.headers, self.count);
        let mut any = false;
        if let Some(image) = image {
            image.writable(&mut |range| {
                super::super::shape::starts(self, range, &mut |at, end| {
                    let three = |at: usize| {
                        let bytes = self.offset(at, 16).and_then(|offset| self.part(offset, 16))?;
                        Some(half(bytes, 0)? == 3 && half(bytes, 8)? == 512)
                    };
                    any |= at + ARRAY <= end && (0..4).all(|object| three(at + SIZE * object) == Some(true));
                });
            });
        }
        any
    }

    /// R_X86_64_RELATIVE: the address in the file, for a module loaded at 0. Those in RELR form need no change.
    fn relocate(&mut self) -> Option<()> {
        let image = Image::new(&*self, 0, self.headers, self.count)?;
        let dynamic = image.dynamic.clone();
        let (mut table, mut size) = (0, 0);
        for at in dynamic.step_by(16) {
            let Some((tag, value)) = self.word(at).zip(self.word(at + 8)) else { break };
            match tag {
                7 => table = value as usize,
                8 => size = value as usize,
                _ => (),
            }
        }
        for at in (table..table + size).step_by(24) {
            let (place, info, addend) = (self.word(at)? as usize, self.word(at + 8)?, self.word(at + 16)?);
            let Some(offset) = self.offset(place, 8) else { continue };
            if info as u32 == 8 && offset + 8 <= self.len {
                unsafe { self.start.add(offset).cast::<u64>().write_unaligned(addend) };
            }
        }
        Some(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

impl Memory for Loaded {
    fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let part = self.offset(at, into.len()).and_then(|offset| self.part(offset, into.len()));
        if let Some(part) = part {
            into.copy_from_slice(part);
        }
        part.is_some()
    }

    fn writable(&self, _: usize) -> bool {
        true
    }
}

/// Programs can be executed, and libraries have a name; to open everything would take minutes.
fn may_be_loaded(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let library = [".so", ".node"].iter().any(|end| name.ends_with(end)) || name.contains(".so.");
    library || entry.metadata().is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(&entry.path(), into);
        } else if kind.is_file() && may_be_loaded(&entry) {
            into.push(entry.path());
        }
    }
}

#[test]
fn four_objects_or_none() {
    let start = Instant::now();
    let mut paths = Vec::new();
    for directory in ["/usr/lib", "/usr/bin", "/usr/local", "/opt", concat!(env!("CARGO_MANIFEST_DIR"), "/../target")] {
        files(Path::new(directory), &mut paths);
    }
    let (mut elf, mut with, mut system) = (0, Vec::new(), false);
    for path in paths {
        if start.elapsed() > Duration::from_secs(20) {
            break;
        }
        let Some(mut loaded) = Loaded::open(&path) else { continue };
        elf += 1;
        if !loaded.has_the_integers() {
            continue;
        }
        loaded.relocate().unwrap_or_else(|| panic!("{}: relocations", path.display()));
        let image = Image::new(&loaded, 0, loaded.headers, loaded.count).unwrap();
        let mut found = Vec::new();
        search(&image, &mut |at, verdict| found.push((at, verdict)));
        let [(_, Ok(()) | Err(Refused::Cfi))] = found[..] else { panic!("{}: {found:?}", path.display()) };
        system |= path.to_string_lossy().contains("libsqlite3.so");
        with.push(path);
    }
    println!("{elf} ELF files, {} with SQLite, {:?}: {with:#?}", with.len(), start.elapsed());
    assert!(elf > 0);
    assert!(system || !Path::new("/usr/lib/x86_64-linux-gnu/libsqlite3.so.0").exists());
}

#[test]
fn a_module_says_what_is_in_it() {
    let module = Module { bias: 0, start: 8, end: 16, name: std::ptr::null(), id: [7; 20], id_len: 2, headers: 0, count: 0 };
    assert!(module.contains(8) && !module.contains(16));
    assert_eq!(module.build_id(), [7, 7]);
}
