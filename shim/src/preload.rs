//! The way in that needs no code: `LD_PRELOAD=liblocktrace.so`, which is what `locktrace run` sets.
//!
//! In come the calls of a program to `sqlite3_open`, `sqlite3_open_v2` and `sqlite3_open16`, because a preloaded library is searched
//! before SQLite's own. Each finds the function the program would have reached without us, installs our VFS into that SQLite library,
//! once, and calls it with the same arguments. Nothing else happens: no constructor, no thread, no file; a process that opens
//! no database never runs a line of this.
//!
//! **Which SQLite?** The one the dynamic linker would have taken. It searches the global scope first and then what the calling object
//! depends on; it found us in the global scope, so what comes next is `RTLD_NEXT` (a program that links libsqlite3), and after it
//! the caller's own dependencies (Python loads `_sqlite3`, and with it libsqlite3, into a scope of its own; `pysqlite3` is the
//! caller and the SQLite in one). The other order would be wrong where a plugin brings a SQLite of its own into a program
//! that links another: the linker binds all of the plugin's calls to the program's, and an open must not go elsewhere. What was found
//! for an object stays, as a bound symbol would. A copy of this library is never taken for a SQLite.
//!
//! The caller is known by its return address, which a naked function reads before anything moves the stack. This is done on
//! x86-64; elsewhere only `RTLD_NEXT` is looked at. (A caller that jumps instead of calling shows its own caller; that one's
//! dependencies hold the same SQLite unless it brings another.)
//!
//! A call that names a VFS reaches that VFS, untraced. Built only with the feature `preload`: a Rust program that links this
//! crate must not find its `sqlite3_open` here.

use crate::api::Api;
use crate::ffi::{self, sqlite3};
use crate::recorder::config::Config;
use crate::recorder::{Errno, configure, guarded, notice};
use crate::vfs::{Options, install};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

type Open = unsafe extern "C" fn(*const c_void, *mut *mut sqlite3) -> c_int;
type OpenV2 = unsafe extern "C" fn(*const c_char, *mut *mut sqlite3, c_int, *const c_char) -> c_int;

/// `SQLITE_CANTOPEN`
const CANTOPEN: c_int = 14;

#[cfg(target_arch = "x86_64")]
mod entry {
    use super::*;
    use std::arch::naked_asm;

    // Each loads the return address into the first argument register that the function itself does not use, and jumps on with the
    // stack as it was: what the inner function returns goes to the caller.

    /// `sqlite3_open`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open(name: *const c_char, db: *mut *mut sqlite3) -> c_int {
        naked_asm!("endbr64", "mov rdx, [rsp]", "jmp {}", sym open)
    }

    /// `sqlite3_open16`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open16(name: *const c_void, db: *mut *mut sqlite3) -> c_int {
        naked_asm!("endbr64", "mov rdx, [rsp]", "jmp {}", sym open16)
    }

    /// `sqlite3_open_v2`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open_v2(
        name: *const c_char,
        db: *mut *mut sqlite3,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int {
        naked_asm!("endbr64", "mov r8, [rsp]", "jmp {}", sym open_v2)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod entry {
    use super::*;

    /// `sqlite3_open`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open(name: *const c_char, db: *mut *mut sqlite3) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open(name, db, 0) }
    }

    /// `sqlite3_open16`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open16(name: *const c_void, db: *mut *mut sqlite3) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open16(name, db, 0) }
    }

    /// `sqlite3_open_v2`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open_v2(
        name: *const c_char,
        db: *mut *mut sqlite3,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open_v2(name, db, flags, vfs, 0) }
    }
}

pub use entry::{sqlite3_open, sqlite3_open_v2, sqlite3_open16};

unsafe extern "C" fn open(name: *const c_char, db: *mut *mut sqlite3, site: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { one_of_two(c"sqlite3_open", name.cast(), db, site) }
}

unsafe extern "C" fn open16(name: *const c_void, db: *mut *mut sqlite3, site: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { one_of_two(c"sqlite3_open16", name, db, site) }
}

unsafe fn one_of_two(function: &'static CStr, name: *const c_void, db: *mut *mut sqlite3, site: usize) -> c_int {
    match prepare(function, site) {
        // SAFETY: the caller's arguments for the function of that name, and `sqlite3_open` and `sqlite3_open16` have the same type but
        // for what the first pointer points to.
        Some(real) => unsafe { std::mem::transmute::<*mut c_void, Open>(real.as_ptr())(name, db) },
        // SAFETY: as for SQLite's own: `db` is where the connection goes.
        None => unsafe { nowhere(function, db) },
    }
}

unsafe extern "C" fn open_v2(name: *const c_char, db: *mut *mut sqlite3, flags: c_int, vfs: *const c_char, site: usize) -> c_int {
    match prepare(c"sqlite3_open_v2", site) {
        // SAFETY: the caller's arguments for the function of that name, whose type this is.
        Some(real) => unsafe { std::mem::transmute::<*mut c_void, OpenV2>(real.as_ptr())(name, db, flags, vfs) },
        // SAFETY: as for SQLite's own: `db` is where the connection goes.
        None => unsafe { nowhere(c"sqlite3_open_v2", db) },
    }
}

/// There is no such function to call. SQLite's contract allows a failed open that leaves no connection, and every caller must be
/// ready for one; anything else (an abort, a made-up connection) would be worse.
///
/// # Safety
/// `db` is null or valid for a write.
#[cold]
unsafe fn nowhere(function: &CStr, db: *mut *mut sqlite3) -> c_int {
    notice::once(format_args!(
        "{} was called, and neither the caller nor the program has a SQLite with it. Start the program without `locktrace run`",
        function.to_string_lossy()
    ));
    if !db.is_null() {
        // SAFETY: as the caller says.
        unsafe { *db = ptr::null_mut() };
    }
    CANTOPEN
}

/// A place of the program that calls one of the three functions, and what it reaches. Written once: `state` goes from 0 through [`WRITING`] to [`WRITTEN`].
struct Site {
    state: AtomicU32,
    /// The return address.
    address: AtomicUsize,
    /// The length of the function's name, which tells the three apart: one place can call all of them (libffi does).
    function: AtomicUsize,
    /// Where the object that holds it begins.
    object: AtomicUsize,
    library: AtomicPtr<Sqlite>,
    real: AtomicPtr<c_void>,
}

const WRITING: u32 = 1;
const WRITTEN: u32 = 2;

/// Call sites known; more than these are looked up each time. A program has a few.
static SITES: [Site; 64] = [const {
    Site {
        state: AtomicU32::new(0),
        address: AtomicUsize::new(0),
        function: AtomicUsize::new(0),
        object: AtomicUsize::new(0),
        library: AtomicPtr::new(ptr::null_mut()),
        real: AtomicPtr::new(ptr::null_mut()),
    }
}; 64];

/// One SQLite library, for the life of the process: it is kept loaded, and so its addresses stay its own.
struct Sqlite {
    handle: *mut c_void,
    /// Null: it cannot be traced.
    api: Option<Api>,
    initialize: Option<unsafe extern "C" fn() -> c_int>,
    /// The process that is installing, or [`INSTALLED`]. A process number, so that the child of a fork in the middle of it goes on.
    installing: AtomicU32,
    next: *mut Sqlite,
}

const INSTALLED: u32 = u32::MAX;

/// Every SQLite library met so far. Only ever grows, at its head.
static LIBRARIES: AtomicPtr<Sqlite> = AtomicPtr::new(ptr::null_mut());

/// The function the caller meant, its SQLite being traced from now on if it can be.
fn prepare(function: &'static CStr, site: usize) -> Option<ptr::NonNull<c_void>> {
    let _errno = Errno::save();
    let same = |known: &&Site| {
        known.address.load(Ordering::Relaxed) == site && known.function.load(Ordering::Relaxed) == function.count_bytes()
    };
    let known = if site == 0 { None } else { written().find(same) };
    let (library, real) = match known {
        Some(known) => (known.library.load(Ordering::Relaxed), known.real.load(Ordering::Relaxed)),
        None => look_up(function, site)?,
    };
    // SAFETY: never freed.
    if let Some(library) = unsafe { library.as_ref() } {
        guarded(|| library.install());
    }
    ptr::NonNull::new(real)
}

/// The call sites that are known. Acquire pairs with the Release in [`remember`], so their fields may be read relaxed.
fn written() -> impl Iterator<Item = &'static Site> {
    SITES.iter().filter(|site| site.state.load(Ordering::Acquire) == WRITTEN)
}

#[cold]
fn look_up(function: &'static CStr, site: usize) -> Option<(*mut Sqlite, *mut c_void)> {
    let caller = object(site as *const c_void);
    // What was found for this object stays, whatever has been loaded since.
    if let Some(base) = caller.map(|caller| caller.dli_fbase as usize)
        && let Some(known) = written().find(|known| known.object.load(Ordering::Relaxed) == base)
    {
        let library = known.library.load(Ordering::Relaxed);
        // SAFETY: never freed, and only published whole.
        let real = unsafe { library.as_ref() }.map_or(ptr::null_mut(), |library| symbol(library.handle, function));
        if !real.is_null() {
            remember(function, site, base, library, real);
            return Some((library, real));
        }
    }
    let next = symbol(libc::RTLD_NEXT, function);
    if let Some(library) = library_of(next) {
        if let Some(caller) = caller {
            hold(&caller);
            remember(function, site, caller.dli_fbase as usize, library, next);
        }
        return Some((library, next));
    }
    let caller = caller?;
    let handle = hold(&caller)?;
    let own = symbol(handle, function);
    let library = library_of(own)?;
    remember(function, site, caller.dli_fbase as usize, library, own);
    Some((library, own))
}

/// The loaded object an address is in.
fn object(address: *const c_void) -> Option<libc::Dl_info> {
    let mut info =
        libc::Dl_info { dli_fname: ptr::null(), dli_fbase: ptr::null_mut(), dli_sname: ptr::null(), dli_saddr: ptr::null_mut() };
    // SAFETY: dladdr takes any address and fills the structure if it answers other than 0.
    let found = !address.is_null() && unsafe { libc::dladdr(address, &raw mut info) } != 0;
    (found && !info.dli_fname.is_null()).then_some(info)
}

/// A handle on an object that is loaded. It is not given back: the addresses we remember must stay that object's.
///
/// The main program has none: the loader does not know it by the name `dladdr` gives (its `argv[0]`), and would go and open a file of
/// that name, which must not happen in a process that may hold locks on it.
fn hold(object: &libc::Dl_info) -> Option<*mut c_void> {
    // SAFETY: takes a number and answers 0 to one it does not know.
    let main = self::object(unsafe { libc::getauxval(libc::AT_PHDR) } as *const c_void);
    if main.is_none_or(|main| main.dli_fbase == object.dli_fbase) {
        return None;
    }
    // SAFETY: the name is the loader's own; RTLD_NOLOAD loads nothing.
    let handle = unsafe { libc::dlopen(object.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    (!handle.is_null()).then_some(handle)
}

/// What the loader finds under a name, or null.
fn symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: a handle of dlopen's that was never closed, or RTLD_NEXT; dlsym takes any name.
    unsafe { libc::dlsym(handle, name.as_ptr()) }
}

/// The SQLite library that holds a function; `None` where there is none, or it is a copy of this library.
fn library_of(real: *mut c_void) -> Option<*mut Sqlite> {
    let home = object(real)?;
    let own = object(prepare as *const c_void)?;
    if home.dli_fbase == own.dli_fbase {
        return None;
    }
    let handle = hold(&home)?;
    if !symbol(handle, c"sqlite3_locktrace_init").is_null() {
        return None;
    }
    let mut head = LIBRARIES.load(Ordering::Acquire);
    let mut fresh: Option<Box<Sqlite>> = None;
    loop {
        let mut at = head;
        // SAFETY: never freed, and published whole with Release.
        while let Some(library) = unsafe { at.as_ref() } {
            if library.handle == handle {
                return Some(at);
            }
            at = library.next;
        }
        let mut library = fresh.take().unwrap_or_else(|| Box::new(Sqlite::new(handle)));
        library.next = head;
        let library = Box::into_raw(library);
        match LIBRARIES.compare_exchange(head, library, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(library),
            Err(now) => {
                head = now;
                // SAFETY: from `Box::into_raw` above, and nobody else has seen it.
                fresh = Some(unsafe { Box::from_raw(library) });
            }
        }
    }
}

/// Keeps what a call site reaches, if there is room.
fn remember(function: &CStr, site: usize, object: usize, library: *mut Sqlite, real: *mut c_void) {
    if site == 0 {
        return;
    }
    let free = |place: &&Site| place.state.compare_exchange(0, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if let Some(place) = SITES.iter().find(free) {
        place.address.store(site, Ordering::Relaxed);
        place.function.store(function.count_bytes(), Ordering::Relaxed);
        place.object.store(object, Ordering::Relaxed);
        place.library.store(library, Ordering::Relaxed);
        place.real.store(real, Ordering::Relaxed);
        // A child forked before this line never sees it written: it has one place less, and nothing waits for it.
        place.state.store(WRITTEN, Ordering::Release);
    }
}

impl Sqlite {
    /// Its functions, from the object that `handle` stands for.
    fn new(handle: *mut c_void) -> Sqlite {
        // SAFETY: the symbols of one loaded SQLite, which `handle` keeps loaded.
        let api = unsafe { Api::from_symbols(|name| symbol(handle, name)) };
        if let Err(why) = &api {
            notice::once(format_args!("not recording: {why}. The application runs on untraced"));
        }
        // SAFETY: null, or `sqlite3_initialize`, whose type this is.
        let initialize = unsafe { std::mem::transmute::<*mut c_void, Option<_>>(symbol(handle, c"sqlite3_initialize")) };
        Sqlite { handle, api: api.ok(), initialize, installing: AtomicU32::new(0), next: ptr::null_mut() }
    }

    /// Puts our VFS in, if it is not there (any more: `sqlite3_shutdown` takes it away).
    fn install(&self) {
        let (Some(api), Some(initialize)) = (self.api, self.initialize) else { return };
        let me = std::process::id();
        let mut installing = self.installing.load(Ordering::Acquire);
        if installing == me {
            // Another thread is at it, which takes well under a millisecond. A bounded wait: never stand in the way.
            for _ in 0..10_000 {
                std::thread::yield_now();
                installing = self.installing.load(Ordering::Acquire);
                if installing != me {
                    break;
                }
            }
        }
        if installing == me {
            return;
        }
        if installing != INSTALLED
            && self.installing.compare_exchange(installing, me, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            // Somebody else was quicker by a moment; wait as above.
            return self.install();
        }
        static CONFIGURED: AtomicBool = AtomicBool::new(false);
        if !CONFIGURED.load(Ordering::Relaxed) {
            match Config::from_env() {
                Ok(config) => {
                    configure(config);
                    CONFIGURED.store(true, Ordering::Relaxed);
                }
                Err(why) => {
                    notice::once(format_args!("not recording: {why}. The application runs on untraced"));
                    self.installing.store(INSTALLED, Ordering::Release);
                    return;
                }
            }
        }
        // The list of VFSes is empty before. The open that follows does the same, and meets the same failure if there is one.
        // SAFETY: it may be called at any time, by any thread, any number of times.
        if unsafe { initialize() } == ffi::OK {
            // SAFETY: one library's own functions; we were preloaded and stay, or SQLite was told to keep us.
            if let Err(why) = unsafe { install(api, &Options::default()) } {
                notice::once(format_args!("not recording: {why}. The application runs on untraced"));
            }
        }
        self.installing.store(INSTALLED, Ordering::Release);
    }
}
