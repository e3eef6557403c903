//! Covering in place: methods of SQLite's own VFS objects are exchanged for ours.
//!
//! The four objects of SQLite's unix layer ([`crate::locate`]) are writable data. [`cover`] exchanges four methods of each, with one atomic
//! store each: `xOpen`, `xDelete` and `xSleep`, which are recorded, and `xGetSystemCall`, by which another copy of this library recognises us.
//! Nothing else of SQLite changes: its list of VFSes, their names and sizes, and the memory of its files are its own. A file that is opened
//! this way stays in SQLite's memory and gets a method table of ours ([`super::file`]).
//!
//! Each SQLite gets functions of its own, numbered at compile time: the object that SQLite calls them with may be a copy that the program
//! has made, and does not show which SQLite it is.
//!
//! A module can be unloaded, and another one loaded at its address. A search of all modules is enclosed in [`begin`] and [`end`], which forgets the
//! SQLites that were not seen in between.

use super::copies::{LINKED, SIGNATURE, x_get_system_call_here};
use super::file::Layout;
use super::open::{Inside, Wanted, deleting, sleeping};
use super::pool;
use super::shim::{Shim, Sqlite};
use crate::api::Api;
use crate::clock;
use crate::ffi::{self, DlSymbol, sqlite3_file, sqlite3_vfs};
use crate::locate::{self, Found, Module, NoApi};
use crate::memory;
use crate::recorder::notice;
use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// SQLites that can be covered at the same time. A program has one or two.
const MOST: usize = 32;
/// The objects of one SQLite.
const OBJECTS: usize = 4;

type Open = unsafe extern "C-unwind" fn(*mut sqlite3_vfs, *const c_char, *mut sqlite3_file, c_int, *mut c_int) -> c_int;
type Delete = unsafe extern "C-unwind" fn(*mut sqlite3_vfs, *const c_char, c_int) -> c_int;
type Sleep = unsafe extern "C-unwind" fn(*mut sqlite3_vfs, c_int) -> c_int;
type GetSystemCall = unsafe extern "C-unwind" fn(*mut sqlite3_vfs, *const c_char) -> DlSymbol;

/// A SQLite that is covered, or a free entry.
struct Covered {
    /// The address of its first object; 0 = the entry is free.
    first: AtomicUsize,
    /// Its own methods.
    methods: AtomicPtr<Methods>,
    shim: AtomicPtr<Shim>,
    /// Whether it was seen since [`begin`].
    seen: AtomicBool,
}

/// SQLite's own methods, and the module they are in.
struct Methods {
    open: Open,
    delete: Delete,
    sleep: Sleep,
    get_system_call: Option<GetSystemCall>,
    found: Found,
}

static COVERED: [Covered; MOST] = [const {
    Covered {
        first: AtomicUsize::new(0),
        methods: AtomicPtr::new(ptr::null_mut()),
        shim: AtomicPtr::new(ptr::null_mut()),
        seen: AtomicBool::new(false),
    }
}; MOST];

impl Covered {
    /// # Safety
    /// This entry was filled.
    #[inline(always)]
    unsafe fn methods(&self) -> &'static Methods {
        // SAFETY: kept for the life of the process, and stored before SQLite's objects led to us.
        unsafe { &*self.methods.load(Ordering::Acquire) }
    }

    /// # Safety
    /// This entry was filled.
    #[inline(always)]
    unsafe fn shim(&self) -> &'static Shim {
        // SAFETY: as above.
        unsafe { &*self.shim.load(Ordering::Acquire) }
    }

    /// Identifies this SQLite, when it opens its first database. Programs without databases are spared the search.
    #[cold]
    fn learn(&self) {
        // SAFETY: one of our methods was called, so this entry was filled.
        let (methods, shim) = unsafe { (self.methods(), self.shim()) };
        if shim.sqlite().is_some() {
            return;
        }
        // SAFETY: its own code has called us, so its module is loaded, and stays loaded while it has open files.
        let api = unsafe { locate::api(&methods.found) };
        if let Err(why) = &api {
            say_without_sql(&methods.found.module, why);
        }
        learn(shim, api.ok());
    }
}

/// Sets the functions of a SQLite that is covered. It has no VFS of ours.
fn learn(shim: &Shim, api: Option<Api>) {
    shim.set_sqlite(Sqlite::new(api, c"", shim.name, false));
}

/// Writes a note that locks are recorded without the text of statements.
#[cold]
fn say_without_sql(module: &Module, why: &NoApi) {
    // SAFETY: null, or the loader's own name of a module that is loaded: its code has just called us.
    let name = if module.name.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(module.name) }.to_bytes() };
    notice::note(notice::Kind::Covered, name, format_args!("no functions: {why:?}"));
}

/// Before a search of all modules.
pub(crate) fn begin() {
    COVERED.iter().for_each(|covered| covered.seen.store(false, Ordering::Relaxed));
}

/// During the search: this module is loaded.
pub(crate) fn is_loaded(module: &Module) {
    for covered in &COVERED {
        let first = covered.first.load(Ordering::Relaxed);
        if first != 0 && module.contains(first) && is_ours(first, covered) {
            covered.seen.store(true, Ordering::Relaxed);
        }
    }
}

/// After the search: SQLites that were not seen are unloaded.
pub(crate) fn end() {
    for covered in COVERED.iter().filter(|covered| !covered.seen.load(Ordering::Relaxed)) {
        covered.first.store(0, Ordering::Relaxed);
    }
}

/// Whether the object at this address still leads to us. Another module may have been loaded in place of the one that did.
fn is_ours(first: usize, covered: &Covered) -> bool {
    let number = (ptr::from_ref(covered) as usize).wrapping_sub(COVERED.as_ptr() as usize) / size_of::<Covered>();
    let ours = OURS.get(number).map(|ours| ours.open as usize);
    locate::word(first.wrapping_add(offset_of!(sqlite3_vfs, xOpen))) == ours
}

/// How many SQLites are covered now.
pub(crate) fn count() -> usize {
    COVERED.iter().filter(|covered| covered.first.load(Ordering::Relaxed) != 0).count()
}

/// Whether an address is in the module of a SQLite that is covered.
pub(crate) fn has(address: usize) -> bool {
    COVERED.iter().filter(|covered| covered.first.load(Ordering::Relaxed) != 0).any(|covered| {
        // SAFETY: a place that has a first object was filled.
        unsafe { covered.methods() }.found.module.contains(address)
    })
}

/// Whether this VFS is covered by this copy of the library.
pub(super) fn covers(vfs: *const sqlite3_vfs) -> bool {
    // SAFETY: a VFS that SQLite handed out has the fields of version 1.
    let open = unsafe { (*vfs).xOpen };
    open.is_some_and(|open| OURS.iter().any(|ours| ptr::fn_addr_eq(open, ours.open)))
}

/// Covers a SQLite: from here on its opens reach us. `None`: there is no entry or memory left.
///
/// # Safety
/// It was found by this search, in a module that cannot be unloaded meanwhile, and by one thread at a time.
pub(crate) unsafe fn cover(found: &Found) -> Option<()> {
    // SAFETY: the first of four objects, each with the fields of version 3, in this module.
    let first = unsafe { &*found.vfs };
    let methods = Methods {
        open: first.xOpen?,
        delete: first.xDelete?,
        sleep: first.xSleep?,
        get_system_call: first.xGetSystemCall,
        found: *found,
    };
    let here = found.vfs as usize;
    let is_free = |covered: &Covered, at: usize| covered.first.load(Ordering::Relaxed) == at;
    let number = COVERED.iter().position(|covered| is_free(covered, here));
    // An entry that was never filled is preferred: a program's copy of an object of an unloaded SQLite may still use a former one.
    let unused = || COVERED.iter().position(|covered| is_free(covered, 0) && covered.methods.load(Ordering::Relaxed).is_null());
    let number = number.or_else(unused).or_else(|| COVERED.iter().position(|covered| is_free(covered, 0)))?;
    let (covered, ours) = (COVERED.get(number)?, OURS.get(number)?);

    let before = covered.methods.load(Ordering::Relaxed);
    // SAFETY: null, or kept for the life of the process.
    let again = unsafe { before.as_ref() }.is_some_and(|before| is_same(&before.found, found));
    if !again {
        // SAFETY: it has a NUL-terminated name, by which it was found.
        let name = memory::keep_c_str(unsafe { CStr::from_ptr(first.zName) })?;
        let shim = Shim::new(name, found.vfs, None, ptr::null_mut(), None)?;
        pool::prepare();
        let methods = memory::keep(methods)?;
        // SAFETY: its module is loaded, by the caller's promise, and its objects lead to us only as long as it is.
        if let Some(api) = unsafe { locate::exported(found) } {
            learn(shim, api.ok());
        }
        covered.shim.store(ptr::from_ref(shim).cast_mut(), Ordering::Release);
        covered.methods.store(methods, Ordering::Release);
    }
    covered.first.store(here, Ordering::Relaxed);
    covered.seen.store(true, Ordering::Relaxed);
    for n in 0..OBJECTS {
        // SAFETY: one of the four objects, in writable data; a function pointer is stored whole, so that a thread that calls at this
        // moment reaches the one or the other. Release: a thread that sees ours sees what it uses.
        unsafe {
            let object = found.vfs.add(n);
            store(&raw mut (*object).xOpen, ours.open as usize);
            store(&raw mut (*object).xDelete, ours.delete as usize);
            store(&raw mut (*object).xSleep, ours.sleep as usize);
            if methods_of(covered).get_system_call.is_some() {
                store(&raw mut (*object).xGetSystemCall, ours.get_system_call as usize);
            }
        }
    }
    Some(())
}

fn methods_of(covered: &Covered) -> &'static Methods {
    // SAFETY: called after it was filled.
    unsafe { covered.methods() }
}

/// Whether the same module was loaded again at the same address, by its build id. Then its entry stays valid.
fn is_same(one: &Found, other: &Found) -> bool {
    let place = |found: &Found| (found.vfs as usize, found.module.bias, found.module.start, found.module.end);
    place(one) == place(other) && !one.module.build_id().is_empty() && one.module.build_id() == other.module.build_id()
}

/// # Safety
/// `slot` is a function pointer in writable memory.
unsafe fn store<F>(slot: *mut Option<F>, function: usize) {
    // SAFETY: aligned, as large as a word, and written by atomic stores only from here on.
    unsafe { &*slot.cast::<AtomicUsize>() }.store(function, Ordering::Release);
}

/// Our functions for one SQLite's objects.
struct Ours {
    open: Open,
    delete: Delete,
    sleep: Sleep,
    get_system_call: GetSystemCall,
}

macro_rules! ours {
    ($($n:literal)*) => {
        [$(Ours { open: x_open::<$n>, delete: x_delete::<$n>, sleep: x_sleep::<$n>, get_system_call: x_get_system_call::<$n> }),*]
    };
}

static OURS: [Ours; MOST] = ours!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

unsafe extern "C-unwind" fn x_open<const N: usize>(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let covered = &COVERED[N];
    // SAFETY: this function was stored in SQLite's objects after its place was filled.
    let (open, shim) = unsafe { (covered.methods().open, covered.shim()) };
    if shim.sqlite().is_none() && flags & ffi::OPEN_MAIN_DB != 0 {
        covered.learn();
    }
    // SAFETY: SQLite's own arguments.
    let Some(wanted) = (unsafe { Wanted::new(shim, name, flags) }) else {
        // SAFETY: SQLite's own method and arguments.
        return unsafe { open(vfs, name, file, flags, out_flags) };
    };
    let start = clock::now();
    // SAFETY: SQLite's own method and arguments.
    let rc = Inside::of(name, || unsafe { open(vfs, name, file, flags, out_flags) });
    let end = clock::now();
    // SAFETY: SQLite's memory for the file, which its own xOpen has filled if it succeeded.
    unsafe {
        if rc == ffi::OK && !(*file).pMethods.is_null() && (*(*file).pMethods).iVersion <= 3 {
            wanted.opened(shim, (Layout::InPlace, vfs), file, (name, flags), (rc, start, end));
        } else {
            wanted.failed(shim, (name, flags), (rc, start, end));
        }
    }
    rc
}

unsafe extern "C-unwind" fn x_delete<const N: usize>(vfs: *mut sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: as in `x_open`.
    let (delete, shim) = unsafe { (COVERED[N].methods().delete, COVERED[N].shim()) };
    // SAFETY: SQLite's own method and arguments.
    unsafe { deleting(shim, name, || delete(vfs, name, sync_dir)) }
}

unsafe extern "C-unwind" fn x_sleep<const N: usize>(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `x_open`.
    let sleep = unsafe { COVERED[N].methods().sleep };
    // SAFETY: SQLite's own method and arguments.
    sleeping(microseconds, || unsafe { sleep(vfs, microseconds) })
}

unsafe extern "C-unwind" fn x_get_system_call<const N: usize>(vfs: *mut sqlite3_vfs, name: *const c_char) -> DlSymbol {
    // SAFETY: a name is NUL-terminated.
    if !name.is_null() && unsafe { CStr::from_ptr(name) } == SIGNATURE {
        return Some(x_get_system_call_here);
    }
    // SAFETY: a name is NUL-terminated.
    if !name.is_null() && unsafe { CStr::from_ptr(name) } == LINKED {
        COVERED[N].learn();
        // SAFETY: as in `x_open`.
        unsafe { COVERED[N].shim() }.set_linked();
        return Some(x_get_system_call_here);
    }
    // SAFETY: as in `x_open`; it was stored only where SQLite has one.
    let get = unsafe { COVERED[N].methods().get_system_call }?;
    // SAFETY: SQLite's own method and arguments.
    unsafe { get(vfs, name) }
}
