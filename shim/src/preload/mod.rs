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
//! A call that names a VFS, as an argument or in a URI, reaches that VFS through one of ours of the same name (`vfs::cover`); its
//! arguments go to SQLite as they came. (A URI in UTF-16 is not looked into.) Built only with the feature `preload`: a Rust program that links this
//! crate must not find its `sqlite3_open` here.

use crate::api::Api;
use crate::ffi::{self, sqlite3, sqlite3_vfs};
use crate::recorder::config::Config;
use crate::recorder::{Errno, configure, guarded, notice};
use crate::uri;
use crate::vfs::{Cover, cover};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

type Open = unsafe extern "C" fn(*const c_void, *mut *mut sqlite3) -> c_int;
type OpenV2 = unsafe extern "C" fn(*const c_char, *mut *mut sqlite3, c_int, *const c_char) -> c_int;

/// `SQLITE_CANTOPEN`
const CANTOPEN: c_int = 14;

mod entry;

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
    // SAFETY: of these two, only the first has a name in UTF-8.
    let uri = if function == c"sqlite3_open" { unsafe { uri_vfs(name.cast()) } } else { None };
    match prepare(function, site, [None, uri.as_deref()]) {
        // SAFETY: the caller's arguments for the function of that name, and `sqlite3_open` and `sqlite3_open16` have the same type but
        // for what the first pointer points to.
        Some((real, _covers)) => unsafe { std::mem::transmute::<*mut c_void, Open>(real.as_ptr())(name, db) },
        // SAFETY: as for SQLite's own: `db` is where the connection goes.
        None => unsafe { nowhere(function, db) },
    }
}

unsafe extern "C" fn open_v2(name: *const c_char, db: *mut *mut sqlite3, flags: c_int, vfs: *const c_char, site: usize) -> c_int {
    // SAFETY: null, or NUL-terminated, as are all names that SQLite is given.
    let (uri, named) = unsafe { (uri_vfs(name), (!vfs.is_null()).then(|| CStr::from_ptr(vfs))) };
    match prepare(c"sqlite3_open_v2", site, [named, uri.as_deref()]) {
        // SAFETY: the caller's arguments for the function of that name, whose type this is.
        Some((real, _covers)) => unsafe { std::mem::transmute::<*mut c_void, OpenV2>(real.as_ptr())(name, db, flags, vfs) },
        // SAFETY: as for SQLite's own: `db` is where the connection goes.
        None => unsafe { nowhere(c"sqlite3_open_v2", db) },
    }
}

/// The VFS that a name names, if it is a URI that does.
///
/// # Safety
/// `name` is null or NUL-terminated.
unsafe fn uri_vfs(name: *const c_char) -> Option<CString> {
    // SAFETY: as the caller says; compared only up to the first difference.
    if name.is_null() || unsafe { libc::strncmp(name, c"file:".as_ptr(), 5) } != 0 {
        return None;
    }
    let _errno = Errno::save();
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    guarded(|| CString::new(uri::vfs(name)?).ok())
}

/// There is no such function to call. SQLite's contract allows a failed open that leaves no connection, and every caller must be
/// ready for one; anything else (an abort, a made-up connection) would be worse.
///
/// # Safety
/// `db` is null or valid for a write.
#[cold]
unsafe fn nowhere(function: &CStr, db: *mut *mut sqlite3) -> c_int {
    notice::once(
        notice::Kind::NotRecording,
        format_args!(
            "{} was called, and neither the caller nor the program has a SQLite with it. Start the program without `locktrace run`",
            function.to_string_lossy()
        ),
    );
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

/// The function the caller meant, its SQLite being traced from now on if it can be; and what covers the VFSes that the open may reach, the
/// default one and these, to be held until it has returned.
fn prepare(function: &'static CStr, site: usize, names: [Option<&CStr>; 2]) -> Option<(ptr::NonNull<c_void>, [Option<Cover>; 3])> {
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
    let covers = unsafe { library.as_ref() }.map_or_else(Default::default, |library| guarded(|| library.cover(names)));
    Some((ptr::NonNull::new(real)?, covers))
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
            notice::once(notice::Kind::NotRecording, format_args!("not recording: {why}. The application runs on untraced"));
        }
        // SAFETY: null, or `sqlite3_initialize`, whose type this is.
        let initialize = unsafe { std::mem::transmute::<*mut c_void, Option<_>>(symbol(handle, c"sqlite3_initialize")) };
        Sqlite { handle, api: api.ok(), initialize, installing: AtomicU32::new(0), next: ptr::null_mut() }
    }

    /// Puts a VFS of ours over the default one and those of these names, where there is none (any more: `sqlite3_shutdown` takes it away).
    fn cover(&self, names: [Option<&CStr>; 2]) -> [Option<Cover>; 3] {
        let (Some(api), Some(initialize)) = (self.api, self.initialize) else { return Default::default() };
        if !self.begin() {
            return Default::default();
        }
        // The list of VFSes is empty before. The open that follows does the same, and meets the same failure if there is one.
        // SAFETY: it may be called at any time, by any thread, any number of times.
        let covers = if configured() && unsafe { initialize() } == ffi::OK {
            let home = object(api.vfs_find as *const c_void).map(|home| home.dli_fbase);
            let own = |vfs: *const sqlite3_vfs| home.is_some() && object(vfs.cast()).map(|place| place.dli_fbase) == home;
            // SAFETY: one library's own functions; we were preloaded and stay, or SQLite was told to keep us.
            let over = |name| unsafe { cover(&api, name, own) };
            let default = over(None);
            let [first, second] = names.map(|name| name.and_then(|name| over(Some(name))));
            [default, first, second]
        } else {
            Default::default()
        };
        self.installing.store(INSTALLED, Ordering::Release);
        covers
    }

    /// Waits for its turn, within bounds; `false`: another thread holds us up, and this open goes untraced unless that one is done by then.
    fn begin(&self) -> bool {
        let me = std::process::id();
        // What another thread is at takes well under a millisecond. Never stand in the way.
        for _ in 0..10_000 {
            let installing = self.installing.load(Ordering::Acquire);
            if installing != me && self.installing.compare_exchange(installing, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// Whether the recorder knows what the environment says; once it does, that stays.
fn configured() -> bool {
    static CONFIGURED: AtomicBool = AtomicBool::new(false);
    if !CONFIGURED.load(Ordering::Relaxed) {
        match Config::from_env() {
            Ok(config) => {
                CONFIGURED.store(configure(config).is_ok(), Ordering::Relaxed);
            }
            Err(why) => {
                notice::once(notice::Kind::NotRecording, format_args!("not recording: {why}. The application runs on untraced"))
            }
        }
    }
    CONFIGURED.load(Ordering::Relaxed)
}
