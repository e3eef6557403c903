//! The installation: our VFS is registered over another one, as the default or beside it.

use super::copies::{LINKED, SIGNATURE};
#[cfg(feature = "preload")]
use super::cover::covers;
use super::file::Head;
use super::shim::{Shim, Sqlite};
use super::{pool, wrapped};
use crate::api::Api;
use crate::ffi::{self, sqlite3_vfs};
use crate::memory;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::ptr;

/// How to install the VFS into one SQLite library.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The name to register under.
    pub name: &'static CStr,
    /// The VFS to wrap; `None`: the one that is the default now.
    pub base: Option<&'static CStr>,
    /// Whether connections that name no VFS use ours.
    pub default: bool,
    /// The program itself installs it, in the SQLite that it links (a Rust program). The trace shows that.
    pub linked: bool,
}

impl Default for Options {
    /// Named `locktrace`, over the default VFS, and itself the default from then on.
    fn default() -> Options {
        Options { name: c"locktrace", base: None, default: true, linked: false }
    }
}

/// What an installation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Installed {
    /// The VFS is registered.
    Fresh,
    /// It was registered already, and nothing was done.
    Already,
    /// It was registered but no longer the default (`sqlite3_shutdown` and `sqlite3_initialize` do that), and is the default again.
    Again,
}

/// Why the VFS could not be installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstallError {
    /// No VFS of this name is registered; `None`: there is no default VFS.
    NoBase(Option<&'static CStr>),
    /// A VFS of this name is registered, and it is not ours.
    NameTaken(&'static CStr),
    /// There is no memory for it.
    NoMemory,
    /// SQLite refused the registration, with this result code.
    Register(c_int),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::NoBase(Some(name)) => write!(f, "no VFS named {name:?} is registered with this SQLite"),
            InstallError::NoBase(None) => write!(f, "this SQLite has no default VFS to wrap"),
            InstallError::NameTaken(name) => write!(f, "a VFS named {name:?} is registered already, and it is not locktrace's"),
            InstallError::NoMemory => write!(f, "there is no memory for a VFS"),
            InstallError::Register(rc) => write!(f, "sqlite3_vfs_register failed with result code {rc}"),
        }
    }
}

impl std::error::Error for InstallError {}

/// Whether a VFS is ours, and of this copy of the library.
pub(super) fn is_ours(vfs: *const sqlite3_vfs) -> bool {
    // SAFETY: a VFS that SQLite handed out has at least the fields of version 1.
    let open = unsafe { (*vfs).xOpen };
    open.is_some_and(|open| ptr::fn_addr_eq(open, wrapped::x_open as unsafe extern "C-unwind" fn(_, _, _, _, _) -> _))
}

/// Whether a VFS belongs to any copy of this library: this one, or one that was linked in or loaded beside it.
fn is_any_copys(vfs: *mut sqlite3_vfs) -> bool {
    // SAFETY: a VFS that SQLite handed out has the fields its version declares, and `xGetSystemCall` is from version 3; it takes
    // any name and answers null to one it does not know (https://sqlite.org/c3ref/vfs.html).
    is_ours(vfs)
        || unsafe { (*vfs).iVersion >= 3 && (*vfs).xGetSystemCall.is_some_and(|get| get(vfs, SIGNATURE.as_ptr()).is_some()) }
}

/// Registers our VFS with the SQLite library behind `api`. Repeating it is harmless.
///
/// Where another copy of this library was installed first, under our name or as the VFS to wrap, that copy records: a second layer
/// would record everything twice. A copy over a base older than version 3 cannot be recognised.
///
/// # Safety
/// `api` is the table of one SQLite library, and the code of this library stays loaded as long as that one may call it.
pub unsafe fn install(api: Api, options: &Options) -> Result<Installed, InstallError> {
    pool::prepare();
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name, or null for the default VFS.
    let find = |name: Option<&CStr>| unsafe { (api.vfs_find)(name.map_or(ptr::null(), CStr::as_ptr)) };
    let default = find(None);
    let there = find(Some(options.name));
    if !there.is_null() {
        if !is_ours(there) {
            return if is_any_copys(there) { Ok(Installed::Already) } else { Err(InstallError::NameTaken(options.name)) };
        }
        // SAFETY: it has our methods.
        let shim = unsafe { Shim::behind(there) }.ok_or(InstallError::NoMemory)?;
        // The default is the one we displaced, or the base: SQLite was initialised again, or ours was not the default so far.
        // Any other default was chosen on purpose.
        if options.default && (default == shim.displaced || default == shim.base) {
            return register(&api, there, true).map(|()| Installed::Again);
        }
        return Ok(Installed::Already);
    }
    let base = match options.base {
        Some(name) => find(Some(name)),
        None => default,
    };
    if base.is_null() {
        return Err(InstallError::NoBase(options.base));
    }
    // Ours under another name: a second layer would record everything twice, so this one is another way to the same base.
    // SAFETY: it has our methods.
    let base = if is_ours(base) { unsafe { Shim::behind(base) }.map_or(base, |shim| shim.base) } else { base };
    if is_any_copys(base) {
        // SAFETY: it has version 3, and so this method: it answered to another name a moment ago.
        let get = if options.linked { unsafe { (*base).xGetSystemCall } } else { None };
        if let Some(get) = get {
            // SAFETY: a VFS takes any name.
            unsafe { get(base, LINKED.as_ptr()) };
        }
        return Ok(Installed::Already);
    }
    let vfs = match Shim::formerly(&api, options.name, base, default, size_of::<Head>()) {
        Some(vfs) => vfs,
        // SAFETY: the base is registered.
        None => unsafe { wrap(api, base, options, default) }.ok_or(InstallError::NoMemory)?,
    };
    register(&api, vfs, options.default).map(|()| Installed::Fresh)
}

/// A VFS of ours over a base, not registered yet. Never freed, like SQLite's own VFS objects: connections may use it to the last moment.
///
/// # Safety
/// `base` is a registered VFS of the library `api` belongs to.
unsafe fn wrap(api: Api, base: *mut sqlite3_vfs, options: &Options, displaced: *mut sqlite3_vfs) -> Option<*mut sqlite3_vfs> {
    // SAFETY: a registered VFS has a NUL-terminated name.
    let base_name = memory::keep_c_str(unsafe { CStr::from_ptr((*base).zName) })?;
    let sqlite = Sqlite::new(Some(api), options.name, base_name, options.linked);
    // SAFETY: null, or a registered VFS, which has a name.
    let displaced_name = if displaced.is_null() { None } else { memory::keep_c_str(unsafe { CStr::from_ptr((*displaced).zName) }) };
    let shim = Shim::new(options.name, base, Some(sqlite), displaced, displaced_name)?;
    // SAFETY: the base is registered.
    let mut vfs = unsafe { wrapped::mirror(base) };
    vfs.szOsFile = vfs.szOsFile.saturating_add(size_of::<Head>() as c_int);
    vfs.zName = options.name.as_ptr();
    vfs.pAppData = ptr::from_ref(shim).cast_mut().cast();
    let vfs: *mut sqlite3_vfs = memory::keep(vfs)?;
    shim.publish(vfs);
    Some(vfs)
}

/// Whether this copy of the library records this SQLite's databases.
///
/// # Safety
/// `api` is the table of one SQLite library.
pub(crate) unsafe fn is_here(api: &Api) -> bool {
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name, or null for the default VFS.
    let find = |name: *const std::ffi::c_char| unsafe { (api.vfs_find)(name) };
    let (named, default) = (find(Options::default().name.as_ptr()), find(ptr::null()));
    let covered = |vfs: *mut sqlite3_vfs| cfg!(feature = "preload") && covers(vfs);
    (!named.is_null() && is_ours(named)) || (!default.is_null() && covered(default))
}

#[cfg(not(feature = "preload"))]
fn covers(_: *const sqlite3_vfs) -> bool {
    false
}

fn register(api: &Api, vfs: *mut sqlite3_vfs, default: bool) -> Result<(), InstallError> {
    // SAFETY: `vfs` is a leaked VFS of ours, whole; registering one again only moves it.
    match unsafe { (api.vfs_register)(vfs, c_int::from(default)) } {
        ffi::OK => Ok(()),
        rc => Err(InstallError::Register(rc)),
    }
}
