//! The pass-through VFS: it wraps another VFS, hands every call on unchanged, and records what happens to locks.
//!
//! Who calls: SQLite, through the tables of `tables`. What goes out: SQLite's own results, and records. The rule over all others:
//! **the traced program must not be able to tell.**
//!
//! | file | idea |
//! | --- | --- |
//! | `mod` | installing: wrap a base, register, find ourselves again |
//! | `cover` | standing in for a VFS under its own name: for programs that name one |
//! | `uninstall` | taken off again, with what was there before in place |
//! | `tables` | method tables with the base's version and the base's null slots |
//! | `open` | the VFS's methods: open, delete, sleep, and those that pass |
//! | `file` | a file's methods, and what we know of its locks |
//! | `lock` | the lock of the main database file |
//! | `live` | what every connection holds right now, for anybody who asks |
//! | `shm` | the wal-index |
//! | `control` | file controls |
//! | `statement` | which SQL is running |
//! | `outside` | which refusals the kernel is asked about |

mod control;
mod cover;
mod file;
pub mod live;
mod lock;
mod open;
mod outside;
mod shm;
mod statement;
mod tables;
mod uninstall;

pub use uninstall::{UninstallError, VfsUnregister, uninstall};

use crate::api::Api;
use crate::ffi::{self, sqlite3_vfs};
use crate::recorder::{Library, guarded};
use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// What one registered VFS of ours knows: SQLite's functions in its library, and the VFS it wraps. Never freed.
#[derive(Debug)]
struct Shim {
    api: Api,
    base: *mut sqlite3_vfs,
    /// The VFS that was the default when this one was installed.
    displaced: *mut sqlite3_vfs,
    /// Its name; `None`: there was no default.
    displaced_name: Option<CString>,
    name: CString,
    /// What is registered; written once, before it is.
    vfs: AtomicPtr<sqlite3_vfs>,
    /// What we are called where SQLite lists a stack of VFSes: our name, or `locktrace` where that is the base's.
    label: CString,
    library: Library,
    /// Built with `SQLITE_ENABLE_API_ARMOR`, or cannot tell: asking a closing connection for its statements would log a misuse.
    armored: bool,
    /// The one that was made before this one.
    older: AtomicPtr<Shim>,
}

/// The newest. They only ever grow in number, which is one for each SQLite library, name and place they were installed in.
static NEWEST: AtomicPtr<Shim> = AtomicPtr::new(ptr::null_mut());

// SAFETY: everything in it is written before it is registered and only read after; the base VFS is SQLite's, shared by contract.
unsafe impl Sync for Shim {}
// SAFETY: as above.
unsafe impl Send for Shim {}

impl Shim {
    /// The one behind a VFS that has our methods.
    ///
    /// Which need not be a VFS of ours: an application may copy the default VFS, put data of its own into the copy, replace some
    /// methods and keep the rest (`xRandomness`, `xSleep`, …). With SQLite's unix VFS that works, because those never look at the object
    /// they are called on, and so it has to work with us. The oldest is then as good as any, and
    /// better than one that lies over that very copy.
    ///
    /// # Safety
    /// `vfs` is a VFS, and [`install`] has registered one.
    unsafe fn behind(vfs: *const sqlite3_vfs) -> &'static Shim {
        // SAFETY: SQLite, or the application, calls a method with a VFS.
        let data = unsafe { (*vfs).pAppData }.cast::<Shim>();
        let mut at = NEWEST.load(Ordering::Acquire);
        let mut oldest = at;
        // SAFETY: never freed, and published whole with Release.
        while let Some(shim) = unsafe { at.as_ref() } {
            if ptr::eq(at, data) {
                return shim;
            }
            oldest = at;
            at = shim.older.load(Ordering::Relaxed);
        }
        // SAFETY: as above; there is one since the first registration, and without one nobody has our methods.
        unsafe { &*oldest }
    }

    /// The VFS that was once installed under this name, over this base and in this default's place, and is not any more.
    fn once(api: &Api, name: &CStr, base: *mut sqlite3_vfs, default: *mut sqlite3_vfs) -> Option<*mut sqlite3_vfs> {
        // SAFETY: null, or leaked and whole before it was published with Release.
        let next = |shim: &'static Shim| unsafe { shim.older.load(Ordering::Acquire).as_ref() };
        // SAFETY: as above.
        let newest = unsafe { NEWEST.load(Ordering::Acquire).as_ref() };
        let same = |shim: &&Shim| {
            let place = (shim.base, shim.displaced) == (base, default) && shim.name.as_c_str() == name;
            place && ptr::fn_addr_eq(shim.api.vfs_find, api.vfs_find)
        };
        let vfs = std::iter::successors(newest, |shim| next(shim)).find(same)?.vfs.load(Ordering::Relaxed);
        // At the base's address there may be another VFS by now.
        // SAFETY: ours is leaked, and the base registered.
        let (ours, base) = unsafe { (&*vfs, &*base) };
        let size = base.szOsFile.saturating_add(size_of::<file::File>() as c_int);
        (ours.szOsFile == size && ours.iVersion == base.iVersion.min(3)).then_some(vfs)
    }

    /// Makes it known to [`Shim::behind`].
    fn publish(&'static self) {
        let mut newest = NEWEST.load(Ordering::Relaxed);
        loop {
            self.older.store(newest, Ordering::Relaxed);
            let this = ptr::from_ref(self).cast_mut();
            match NEWEST.compare_exchange_weak(newest, this, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
    }
}

/// How to install the VFS into one SQLite library.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name to register under.
    pub name: CString,
    /// The VFS to wrap; `None`: the one that is the default now.
    pub base: Option<CString>,
    /// Whether connections that name no VFS use ours.
    pub default: bool,
    /// The program itself installs it, in the SQLite that it links (the Rust way in): told in the trace.
    pub linked: bool,
}

impl Default for Options {
    /// Named `locktrace`, over the default VFS, and itself the default from then on.
    fn default() -> Options {
        Options { name: c"locktrace".to_owned(), base: None, default: true, linked: false }
    }
}

/// What an installation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Installed {
    /// The VFS is registered.
    Fresh,
    /// It was there already, and nothing was done.
    Already,
    /// It was there but no longer the default (`sqlite3_shutdown` and `sqlite3_initialize` do that), and is the default again.
    Again,
}

/// Why the VFS could not be installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstallError {
    /// No VFS of this name is registered; `None`: there is not even a default one.
    NoBase(Option<CString>),
    /// A VFS of this name is registered, and it is not ours.
    NameTaken(CString),
    /// SQLite refused the registration, with this result code.
    Register(c_int),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::NoBase(Some(name)) => write!(f, "no VFS named {name:?} is registered with this SQLite"),
            InstallError::NoBase(None) => write!(f, "this SQLite has no default VFS to wrap"),
            InstallError::NameTaken(name) => write!(f, "a VFS named {name:?} is registered already, and it is not locktrace's"),
            InstallError::Register(rc) => write!(f, "sqlite3_vfs_register failed with result code {rc}"),
        }
    }
}

impl std::error::Error for InstallError {}

pub use cover::{Cover, cover};

/// Whether a VFS is ours, and of this copy of the library.
fn ours(vfs: *const sqlite3_vfs) -> bool {
    // SAFETY: a VFS that SQLite handed out has at least the fields of version 1.
    let open = unsafe { (*vfs).xOpen };
    open.is_some_and(|open| ptr::fn_addr_eq(open, open::x_open as unsafe extern "C" fn(_, _, _, _, _) -> _))
}

/// The name by which another copy of this library knows us: we answer it as a system call, which no other VFS has.
const SIGNATURE: &CStr = c"locktrace";

/// Whether a VFS belongs to any copy of this library: this one, or one that was linked in or loaded beside it.
fn any_copys(vfs: *mut sqlite3_vfs) -> bool {
    // SAFETY: a VFS that SQLite handed out has the fields its version declares, and `xGetSystemCall` is from version 3; it takes
    // any name and answers null to one it does not know (https://sqlite.org/c3ref/vfs.html).
    ours(vfs) || unsafe { (*vfs).iVersion >= 3 && (*vfs).xGetSystemCall.is_some_and(|get| get(vfs, SIGNATURE.as_ptr()).is_some()) }
}

/// Registers our VFS with the SQLite library behind `api`. Repeating it is harmless.
///
/// Where another copy of this library is there first, under our name or as the VFS to wrap, it does the recording: a second layer
/// would record everything twice. (A copy over a base older than version 3 cannot be recognised.)
///
/// # Safety
/// `api` is the table of one SQLite library, and the code of this library stays loaded as long as that one may call it.
pub unsafe fn install(api: Api, options: &Options) -> Result<Installed, InstallError> {
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name, or null for the default VFS.
    let find = |name: Option<&CStr>| unsafe { (api.vfs_find)(name.map_or(ptr::null(), CStr::as_ptr)) };
    let default = find(None);
    let there = find(Some(&options.name));
    if !there.is_null() {
        if !ours(there) {
            return if any_copys(there) { Ok(Installed::Already) } else { Err(InstallError::NameTaken(options.name.clone())) };
        }
        // SAFETY: it has our methods.
        let shim = unsafe { Shim::behind(there) };
        // The default of before in our place, or the base itself: SQLite was initialised anew, or we were not the default so far.
        // Any other default was put there on purpose.
        if options.default && (default == shim.displaced || default == shim.base) {
            return register(&api, there, true).map(|()| Installed::Again);
        }
        return Ok(Installed::Already);
    }
    let base = match &options.base {
        Some(name) => find(Some(name)),
        None => default,
    };
    if base.is_null() {
        return Err(InstallError::NoBase(options.base.clone()));
    }
    // Ours under another name: a second layer would record everything twice, so this one is another way to the same base.
    // SAFETY: it has our methods.
    let base = if ours(base) { unsafe { Shim::behind(base) }.base } else { base };
    if any_copys(base) {
        return Ok(Installed::Already);
    }

    if let Some(vfs) = Shim::once(&api, &options.name, base, default) {
        return register(&api, vfs, options.default).map(|()| Installed::Fresh);
    }
    // SAFETY: the base is registered.
    match unsafe { wrap(api, base, &options.name, &options.name, default, options.linked) } {
        Some(vfs) => register(&api, vfs, options.default).map(|()| Installed::Fresh),
        None => Err(InstallError::Register(ffi::ERROR)),
    }
}

/// A VFS of ours over a base, not registered yet. Leaked, like SQLite's own VFS objects: connections may use it to the last moment.
///
/// # Safety
/// `base` is a registered VFS of the library `api` belongs to.
unsafe fn wrap(
    api: Api,
    base: *mut sqlite3_vfs,
    name: &CStr,
    label: &CStr,
    displaced: *mut sqlite3_vfs,
    linked: bool,
) -> Option<*mut sqlite3_vfs> {
    static LIBRARIES: AtomicU32 = AtomicU32::new(0);
    guarded(|| {
        live::start();
        // SAFETY: a registered VFS has a NUL-terminated name.
        let base_name = crate::memory::keep_c_str(unsafe { CStr::from_ptr((*base).zName) })?.to_str().unwrap_or("?");
        let library = Library {
            number: LIBRARIES.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            sqlite: kept(&api.version())?,
            source_id: kept(&api.source_id())?,
            options: api.compileoption_get,
            vfs: kept(&label.to_string_lossy())?,
            base: base_name,
            linked,
        };
        let armored = api.options().is_none_or(|options| options.iter().any(|option| option == "ENABLE_API_ARMOR"));
        // SAFETY: null, or a registered VFS, which has a name.
        let displaced_name = (!displaced.is_null()).then(|| unsafe { CStr::from_ptr((*displaced).zName) }.to_owned());
        let shim = Shim {
            api,
            base,
            displaced,
            displaced_name,
            name: name.to_owned(),
            vfs: AtomicPtr::default(),
            label: label.to_owned(),
            library,
            armored,
            older: AtomicPtr::default(),
        };
        let shim: &'static Shim = Box::leak(Box::new(shim));
        // SAFETY: the base is registered.
        let mut vfs = unsafe { tables::mirror_vfs(base) };
        vfs.szOsFile = vfs.szOsFile.saturating_add(size_of::<file::File>() as c_int);
        vfs.zName = shim.name.as_ptr();
        vfs.pAppData = ptr::from_ref(shim).cast_mut().cast();
        let vfs = Box::into_raw(Box::new(vfs));
        shim.vfs.store(vfs, Ordering::Relaxed);
        shim.publish();
        Some(vfs)
    })
}

fn kept(text: &str) -> Option<&'static str> {
    std::str::from_utf8(crate::memory::keep_bytes(text.as_bytes())?).ok()
}

/// Whether the VFS named `locktrace` in this SQLite is of this copy of the library.
///
/// # Safety
/// `api` is the table of one SQLite library.
pub(crate) unsafe fn is_here(api: &Api) -> bool {
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name.
    let vfs = unsafe { (api.vfs_find)(Options::default().name.as_ptr()) };
    !vfs.is_null() && ours(vfs)
}

fn register(api: &Api, vfs: *mut sqlite3_vfs, default: bool) -> Result<(), InstallError> {
    // SAFETY: `vfs` is a leaked VFS of ours, whole; registering one again only moves it.
    match unsafe { (api.vfs_register)(vfs, c_int::from(default)) } {
        ffi::OK => Ok(()),
        rc => Err(InstallError::Register(rc)),
    }
}
