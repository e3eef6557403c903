//! The databases of a log and their numbers, and the SQLite libraries of the process.
//!
//! Lists of pointers that only grow, without a lock: a thread searches for its item, and adds it in the first free place.

use super::Log;
use super::failure::Failure;
use super::name_state::NameState;
use super::{filesystem, line::Line};
use crate::memory::{Mapping, keep, keep_bytes};
use crate::path::Path;
use rustix::io::Errno;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Distinct databases named in one log.
pub const MAX_FILES: usize = 4096;
/// SQLite libraries named in one process.
const MAX_LIBRARIES: usize = 64;
/// Compile-time options of one library that are named.
const MAX_OPTIONS: c_int = 256;

/// One SQLite library, and the way it was reached.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// Its number in this process, from 1.
    pub number: u32,
    /// `sqlite3_libversion()`.
    pub sqlite: &'static str,
    /// `sqlite3_sourceid()`; empty where it has none.
    pub source_id: &'static str,
    /// `sqlite3_compileoption_get`, where it has one. It is called when the line is written.
    pub options: Option<unsafe extern "C" fn(c_int) -> *const c_char>,
    /// The name our VFS has there.
    pub vfs: &'static str,
    /// The name of the VFS it wraps.
    pub base: &'static str,
    /// The program itself installed the VFS, in the SQLite that it links: it is a Rust program.
    pub linked: bool,
}

#[derive(Debug)]
struct KnownLibrary {
    library: Library,
    named: NameState,
}

/// Inherited: a child has the same libraries.
static LIBRARIES: [AtomicPtr<KnownLibrary>; MAX_LIBRARIES] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_LIBRARIES];

/// The item in this place.
fn at<T>(place: &AtomicPtr<T>) -> Option<&'static T> {
    // SAFETY: null, or kept for the life of the process and whole before it was published with Release.
    unsafe { place.load(Ordering::Acquire).as_ref() }
}

/// The first item in this list for which `is` holds, with its index. Where there is none, a new one is added in the first free place.
fn enter<T>(
    list: &'static [AtomicPtr<T>],
    is: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Option<T>,
) -> Option<(usize, &'static T)> {
    let (mut make, mut fresh) = (Some(make), ptr::null_mut());
    for (index, place) in list.iter().enumerate() {
        let there = match at(place) {
            Some(there) => there,
            None => {
                if let Some(make) = make.take() {
                    fresh = ptr::from_mut(keep(make()?)?);
                }
                match place.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                    // SAFETY: kept just now, for the life of the process.
                    Ok(_) => return Some((index, unsafe { &*fresh })),
                    // SAFETY: as in `at`; another thread's is there now.
                    Err(theirs) => unsafe { &*theirs },
                }
            }
        };
        if is(there) {
            return Some((index, there));
        }
    }
    None
}

fn library(log: &Log, library: &Library) {
    let known = enter(
        &LIBRARIES,
        |known| known.library.number == library.number,
        || Some(KnownLibrary { library: *library, named: NameState::new() }),
    );
    match known {
        Some((_, known)) => {
            name_library(log, known);
        }
        None => log.lose_name(Failure::new("there are more SQLite libraries than can be named")),
    }
}

fn name_library(log: &Log, known: &'static KnownLibrary) -> bool {
    let Library { number, sqlite, source_id, options, vfs, base, linked } = known.library;
    log.name(&known.named, "library", &|line: &mut Line<'_>| {
        line.number("lib", number).str("sqlite", sqlite).str("source_id", source_id);
        match options {
            Some(get) => line.texts("options", (0..MAX_OPTIONS).map_while(|n| option(get, n))),
            None => line.null("options"),
        };
        line.str("vfs", vfs).str("base", base).bool("linked", linked);
    })
}

fn option(get: unsafe extern "C" fn(c_int) -> *const c_char, n: c_int) -> Option<&'static [u8]> {
    // SAFETY: sqlite3_compileoption_get takes any number and gives a constant, or null past the last one.
    let option = unsafe { get(n) };
    // SAFETY: as above: NUL-terminated, and as long there as the library is.
    (!option.is_null()).then(|| unsafe { CStr::from_ptr(option) }.to_bytes())
}

/// One database.
#[derive(Debug)]
struct Database {
    lib: u32,
    /// Device and inode, where `stat` succeeds.
    identity: Option<(u64, u64)>,
    /// Part of its identity: the inode of a deleted database soon belongs to another one.
    path: &'static [u8],
    named: NameState,
}

/// The databases of one log. A database's number is its index plus 1.
#[derive(Debug)]
pub(super) struct Databases {
    list: &'static [AtomicPtr<Database>; MAX_FILES],
}

impl Databases {
    /// None.
    pub fn new() -> Result<Databases, Failure> {
        let memory = Mapping::new(size_of::<[AtomicPtr<Database>; MAX_FILES]>()).ok_or(Failure::from(Errno::NOMEM))?;
        // SAFETY: as many zero bytes as the list has, page-aligned, never given back; null pointers are all zeros.
        Ok(Databases { list: unsafe { memory.leak().cast().as_ref() } })
    }

    /// The number of a database. It and its library are named where they are new to this log. 0 past the cap.
    pub fn number(&self, log: &Log, lib: &Library, path: &[u8]) -> u32 {
        library(log, lib);
        let identity = filesystem::stat(path);
        let is = |file: &Database| file.lib == lib.number && file.identity == identity && file.path == path;
        let make = || Some(Database { lib: lib.number, identity, path: keep_bytes(path)?, named: NameState::new() });
        match enter(self.list, is, make) {
            Some((index, file)) => {
                let number = index as u32 + 1;
                name(log, number, file);
                number
            }
            None if self.list.last().is_some_and(|last| at(last).is_some()) => {
                log.cap_files();
                0
            }
            None => {
                log.lose_name(Errno::NOMEM.into());
                0
            }
        }
    }

    fn get(&self, number: u32) -> Option<&'static Database> {
        at(self.list.get((number as usize).checked_sub(1)?)?)
    }

    /// The path of the database with this number.
    pub fn path(&self, number: u32) -> Option<&'static [u8]> {
        Some(self.get(number)?.path)
    }

    /// Device and inode of the database with this number, where `stat` succeeded when it was named.
    pub fn identity(&self, number: u32) -> Option<(u64, u64)> {
        self.get(number)?.identity
    }

    /// Names the libraries and databases whose names are missing in this log; `false`: there is still no room.
    pub fn retry(&self, log: &Log) -> bool {
        let mut libraries = LIBRARIES.iter().map_while(at).filter(|known| known.named.is_missed(log.serial()));
        let mut files = (1..).zip(self.list.iter().map_while(at)).filter(|(_, file)| file.named.is_missed(log.serial()));
        libraries.all(|known| name_library(log, known)) && files.all(|(number, file)| name(log, number, file))
    }
}

fn name(log: &Log, number: u32, file: &'static Database) -> bool {
    if file.named.is_done(log.serial()) {
        return true;
    }
    // Looked up once: the two passes over a line must agree.
    let magic = if log.is_sealed() { None } else { Path::new(&[file.path]).and_then(|path| filesystem::magic(path.as_c_str())) };
    let unnamed = magic.and_then(|magic| {
        let mut number = Path::new(&[])?;
        write!(number, "0x{magic:x}").ok().map(|()| number)
    });
    log.name(&file.named, "file", &|line| {
        line.number("file", number).number("lib", file.lib).text("path", file.path);
        match file.identity {
            Some((dev, ino)) => line.number("dev", dev).number("ino", ino),
            None => line.null("dev").null("ino"),
        };
        match (magic.and_then(filesystem::named), &unnamed) {
            (Some(name), _) => line.str("fs", name),
            (None, Some(number)) => line.text("fs", number.as_bytes()),
            (None, None) => line.null("fs"),
        };
    })
}
