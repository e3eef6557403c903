//! The SQLites inside this process, found in place by the shape of their data.
//!
//! Most programs that have SQLite have it inside: hidden in an executable or in a module of a scripting language, stripped, without a symbol
//! that a preloaded library could replace. But SQLite cannot hide four objects: `unix`, `unix-none`, `unix-dotfile` and
//! `unix-excl` are one array of `sqlite3_vfs` in writable data, because SQLite links them into its list of VFSes. SQLite calls through
//! them, so a library that sets their `xOpen` sees every file it opens. This module finds the array, and decides whether setting it is safe. It
//! changes nothing.
//!
//! - [`scan`] visits the modules in the loader's list. It is for a program's start and for the time after a `dlopen`. A filter skips
//!   modules that were searched before. [`generation`] shows whether there can be new ones. Addresses do not show that: a module can be unloaded,
//!   and another one loaded in its place.
//! - [`scan_namespace`] does the same for what `dlmopen` loaded.
//! - [`api`] finds the SQLite functions through which the recorder reads the running statement. Covering an object needs none of them.
//!
//! A process that forks should register [`before_fork`], [`after_fork_in_parent`] and [`after_fork_in_child`] with `pthread_atfork`.
//!
//! [`Refused`] lists what is left alone, and why. Nothing here allocates, panics, or changes `errno`. The kernel is asked whether foreign memory
//! can be read before it is read (`memory`), and foreign numbers are checked (`image`).
//!
//! System calls: `rt_sigprocmask` for each page that is read; where a SQLite is found, `futex` twice and, in the program itself,
//! `readlinkat`; `openat`, `fstat`, `mmap`, `munmap` and `close` where that SQLite has neither exported functions nor the table for
//! extensions (`file`); `sched_yield` while another thread forks. [`generation`] makes none.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `shape` | the four objects, and whether they may be changed |
//! | `code` | the few instructions that are decoded |
//! | `table` | functions without symbols: SQLite's own table for extensions |
//! | `symbols`, `file` | functions by name, in memory and in the file |
//! | `image`, `memory`, `loader` | a module's segments, reads that cannot fault, the list of modules |
//! | `forks` | keeping forks and searches apart |

mod code;
mod file;
mod forks;
mod image;
mod loader;
mod memory;
mod shape;
mod symbols;
mod table;
#[cfg(test)]
mod tests;

pub use forks::{after_fork_in_child, after_fork_in_parent, before_fork};
pub use image::Module;
pub use loader::{Generation, LinkMap, generation};
pub use shape::Refused;

use crate::api::{Api, ApiError};
use crate::clock::monotonic_ns;
use crate::ffi::sqlite3_vfs;
use image::Image;
use memory::{Memory, Process};
use std::ffi::{CStr, c_void};

/// One SQLite in this process. Valid while its module is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The first of the four objects, `unix`; `unix-none`, `unix-dotfile` and `unix-excl` follow it.
    pub vfs: *mut sqlite3_vfs,
    /// Where it is.
    pub module: Module,
    /// Whether the module has no other SQLite.
    pub alone: bool,
}

/// Why the functions of a SQLite are not known. Then locks are recorded without SQL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoApi {
    /// It has neither symbols nor the table: it is stripped, and built without loading of extensions.
    Nothing,
    /// The module has more than one SQLite, and nothing shows whose functions these are.
    Ambiguous,
    /// The search reached its limit of time.
    OutOfTime,
    /// Too old, or built without a function that is needed.
    Unfit(ApiError),
    /// The module cannot be read.
    Unreadable,
}

/// The most SQLites that are reported of one module.
const MOST: usize = 4;

/// Searches the modules in the loader's list for which `wanted` is `true`, and reports each SQLite in them, or why it is left alone.
/// Returns the loader's counters for that list. A module without SQLite is not reported.
///
/// Both are called while the loader's list is locked: they must not call `dlopen`, `dlclose` or `dl_iterate_phdr`, nor wait for a thread that
/// does.
pub fn scan(wanted: &mut dyn FnMut(&Module) -> bool, visit: &mut dyn FnMut(&Module, Result<Found, Refused>)) -> Generation {
    let memory = Process::default();
    let mut seen = (0, 0);
    loader::each(&mut |generation, info| {
        seen = generation;
        if let Some((module, image)) = loader::module(&memory, info)
            && wanted(&module)
        {
            inspect(&memory, module, &image, visit);
        }
        true
    });
    seen
}

/// The same for the namespace of a handle that `dlmopen` returned, which [`scan`] does not visit.
///
/// # Safety
/// The handle is open, and no other thread unloads modules of its namespace.
pub unsafe fn scan_namespace(handle: *const LinkMap, visit: &mut dyn FnMut(&Module, Result<Found, Refused>)) {
    let memory = Process::default();
    // SAFETY: the caller's promise.
    unsafe { loader::each_beside(&memory, handle, &mut |module, image| inspect(&memory, module, image, visit)) };
}

/// Whether the loader searches for a library's name in the same places when this code of the program calls `dlopen` as when we do.
pub fn looks_alike(code: usize) -> bool {
    loader::looks_alike(&Process::default(), code)
}

/// The machine word at an address of a loaded module; `None` where it cannot be read.
pub fn word(at: usize) -> Option<usize> {
    Some(Process::default().word(at)? as usize)
}

/// Reports the SQLites of one module.
fn inspect<M: Memory>(
    memory: &M,
    mut module: Module,
    image: &Image<'_, M>,
    visit: &mut dyn FnMut(&Module, Result<Found, Refused>),
) {
    let mut places = [(0, Ok(())); MOST];
    let mut count = 0;
    shape::search(image, &mut |at, verdict| {
        // Segments may overlap, and show the same objects twice.
        let known = places.iter().take(count).any(|(place, _)| *place == at);
        if let Some(free) = places.get_mut(count).filter(|_| !known) {
            *free = (at, verdict);
            count += 1;
        }
    });
    if count == 0 {
        return;
    }
    (module.id, module.id_len) = image.build_id();
    let refused = whole(memory, &module, image);
    for (at, verdict) in places.into_iter().take(count) {
        let found = Found { vfs: at as *mut sqlite3_vfs, module, alone: count == 1 };
        visit(&module, verdict.and(refused).map(|()| found));
    }
}

/// The reason against a module as a whole, if there is one.
fn whole<M: Memory>(memory: &M, module: &Module, image: &Image<'_, M>) -> Result<(), Refused> {
    // Modules built with `-fsanitize-cfi-cross-dso` check calls between them in this function.
    if symbols::Symbols::new(image).is_some_and(|symbols| symbols.find(image, b"__cfi_check\0").is_some()) {
        return Err(Refused::Cfi);
    }
    let mut path = [0; 256];
    let known = if module.name.is_null() || memory.is(module.name as usize, b"\0") {
        // The loader has no name for the program itself.
        rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self/exe", &mut path)
            .is_ok_and(|len| path.get(..len).is_some_and(has_cfi))
    } else {
        false
    };
    if known { Err(Refused::Name) } else { Ok(()) }
}

/// Browsers that their makers build with control-flow integrity, by where their packages put them.
fn has_cfi(path: &[u8]) -> bool {
    let ends: [&[u8]; 7] = [
        b"/google/chrome/chrome",
        b"/google/chrome-beta/chrome",
        b"/google/chrome-unstable/chrome",
        b"/microsoft/msedge/msedge",
        b"/brave.com/brave/brave",
        b"/vivaldi/vivaldi-bin",
        b"/opera/opera",
    ];
    ends.iter().any(|end| path.ends_with(end))
}

/// The pages of a module that are searched for functions, or as many symbols as fill them: 512 MB. The largest program tried has 90 MB
/// to be searched, which takes 16 to 20 ms of CPU time.
const PAGES: u32 = 131_072;
/// How long the search may take: the file may have to be read from a slow disk first.
const TIME_NS: u64 = 250_000_000;

/// The functions of a SQLite: by the names that the module exports, else by SQLite's table for extensions, else by the names in its file.
///
/// To be called before that SQLite opens a database: the file may be opened and closed, which would drop POSIX locks on it.
///
/// # Safety
/// The module is loaded, and stays loaded while the functions are used.
pub unsafe fn api(found: &Found) -> Result<Api, NoApi> {
    if !found.alone {
        return Err(NoApi::Ambiguous);
    }
    let (memory, module) = (Process::default(), &found.module);
    let image = Image::new(&memory, module.bias, module.headers, module.count).ok_or(NoApi::Unreadable)?;
    // SAFETY: passed on.
    unsafe { by_symbols(&image).or_else(|| by_table(&image)).unwrap_or_else(|| by_file(&memory, module, &image)) }
}

/// The functions of a SQLite that its module exports. This is quick, and makes no system call that a filter may forbid. `None` where it
/// exports none; then [`api`] may find them.
///
/// # Safety
/// As for [`api`].
pub unsafe fn exported(found: &Found) -> Option<Result<Api, NoApi>> {
    if !found.alone {
        return None;
    }
    let (memory, module) = (Process::default(), &found.module);
    let image = Image::new(&memory, module.bias, module.headers, module.count)?;
    // SAFETY: passed on.
    unsafe { by_symbols(&image) }
}

/// From the module's own dynamic symbols; `None` where it does not export SQLite.
///
/// # Safety
/// As for [`api`].
unsafe fn by_symbols(image: &Image<'_, Process>) -> Option<Result<Api, NoApi>> {
    let symbols = symbols::Symbols::new(image)?;
    let find = |name: &CStr| symbols.find(image, name.to_bytes_with_nul()).unwrap_or(0) as *mut c_void;
    // Both are needed: a program may export a function of its own by one of these names.
    if find(c"sqlite3_libversion_number").is_null() || find(c"sqlite3_next_stmt").is_null() {
        return None;
    }
    // SAFETY: functions of these names, of one module that has one SQLite; it stays loaded.
    Some(unsafe { Api::from_symbols(find) }.map_err(NoApi::Unfit))
}

/// From SQLite's table for extensions; `None` where there is none.
///
/// # Safety
/// As for [`api`].
unsafe fn by_table(image: &Image<'_, Process>) -> Option<Result<Api, NoApi>> {
    match table::search(image, &mut within_bounds()) {
        table::Search::Nothing => None,
        table::Search::Several => Some(Err(NoApi::Ambiguous)),
        table::Search::OutOfTime => Some(Err(NoApi::OutOfTime)),
        table::Search::Found(at) => {
            let raw = |slot| {
                let function = table::address(at, slot).and_then(|at| image.word(at)).unwrap_or(0) as usize;
                if image.is_code(function) { function as *const c_void } else { std::ptr::null() }
            };
            // SAFETY: the table was recognised by what its functions return, and its slots hold code of the module.
            Some(unsafe { Api::from_slots(raw) }.map_err(NoApi::Unfit))
        }
    }
}

/// From the symbols in the module's file.
///
/// # Safety
/// As for [`api`].
unsafe fn by_file(memory: &Process, module: &Module, image: &Image<'_, Process>) -> Result<Api, NoApi> {
    let mut names = [
        c"sqlite3_libversion",
        c"sqlite3_libversion_number",
        c"sqlite3_sourceid",
        c"sqlite3_compileoption_get",
        c"sqlite3_vfs_find",
        c"sqlite3_vfs_register",
        c"sqlite3_vfs_unregister",
        c"sqlite3_mprintf",
        c"sqlite3_next_stmt",
        c"sqlite3_stmt_busy",
        c"sqlite3_stmt_readonly",
        c"sqlite3_sql",
    ]
    .map(|name| (name.to_bytes_with_nul(), 0));
    let mut in_time = true;
    let mut within = within_bounds();
    let found = file::find(memory, module, image, &mut names, &mut || {
        in_time = within();
        in_time
    });
    let find = |name: &CStr| {
        let found = names.iter().find(|(wanted, _)| *wanted == name.to_bytes_with_nul());
        found.map_or(0, |(_, address)| *address) as *mut c_void
    };
    match found {
        _ if !in_time => Err(NoApi::OutOfTime),
        // SAFETY: functions of these names, of one module that has one SQLite; it stays loaded.
        Some(()) if !find(c"sqlite3_libversion_number").is_null() => unsafe { Api::from_symbols(find) }.map_err(NoApi::Unfit),
        _ => Err(NoApi::Nothing),
    }
}

/// Returns a function that is `true` while a search may go on. The limit is a number of pages, and on a very busy machine the time.
fn within_bounds() -> impl FnMut() -> bool {
    let start = monotonic_ns();
    let mut left = PAGES;
    move || {
        left = left.saturating_sub(1);
        left > 0 && (!left.is_multiple_of(64) || monotonic_ns().saturating_sub(start) < TIME_NS)
    }
}
