//! The uninstallation: a VFS of ours is removed from SQLite's list, and the one it displaced is the default again.
//!
//! For Rust programs: an extension stays loaded. The VFS object itself is kept, so that a connection that another thread
//! is opening at this moment works, and is traced, like any other.

use super::install::is_ours;
use super::live;
use super::shim::Shim;
use crate::api::{Api, VfsRegister};
use crate::ffi::{self, sqlite3_vfs};
use std::ffi::{CStr, c_int};
use std::fmt;
use std::ptr;
use std::sync::atomic::Ordering;

/// `sqlite3_vfs_unregister`.
pub type VfsUnregister = unsafe extern "C" fn(*mut sqlite3_vfs) -> c_int;

/// Why a VFS was not uninstalled. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UninstallError {
    /// No VFS of ours has this name in this SQLite.
    NotInstalled(&'static CStr),
    /// Connections use it.
    InUse {
        /// Its name.
        name: &'static CStr,
        /// How many databases are open through it, attached ones included.
        open: usize,
    },
    /// SQLite refused, with this result code.
    Refused(c_int),
}

impl fmt::Display for UninstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UninstallError::NotInstalled(name) => write!(f, "no VFS of this locktrace is installed as {name:?}"),
            UninstallError::InUse { name, open: 1 } => {
                write!(f, "1 database is open through the VFS {name:?}; close its connection first")
            }
            UninstallError::InUse { name, open } => {
                write!(f, "{open} databases are open through the VFS {name:?}; close their connections first")
            }
            UninstallError::Refused(rc) => write!(f, "sqlite3_vfs_unregister failed with result code {rc}"),
        }
    }
}

impl std::error::Error for UninstallError {}

/// Unregisters the VFS of this name, if it is ours and no connection uses it. Where it was the default, the former default replaces it
/// at once. It may be installed again.
///
/// # Safety
/// `api` and `unregister` belong to one SQLite library.
pub unsafe fn uninstall(api: &Api, unregister: VfsUnregister, name: &'static CStr) -> Result<(), UninstallError> {
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name, or null for the default VFS.
    let find = |name: Option<&CStr>| unsafe { (api.vfs_find)(name.map_or(ptr::null(), CStr::as_ptr)) };
    let there = find(Some(name));
    if there.is_null() || !is_ours(there) {
        return Err(UninstallError::NotInstalled(name));
    }
    // SAFETY: it has our methods.
    let Some(shim) = (unsafe { Shim::behind(there) }) else { return Err(UninstallError::NotInstalled(name)) };
    if shim.vfs.load(Ordering::Relaxed) != there {
        // An application's copy of ours stays registered.
        return Err(UninstallError::NotInstalled(name));
    }
    let mut open = 0;
    live::each(&mut |row| open += usize::from(ptr::eq(row.vfs, shim.name)));
    if open > 0 {
        return Err(UninstallError::InUse { name, open });
    }
    if find(None) == there {
        // Unregistering alone would make the next in the list the default, which may be any that was registered since. The displaced one is found by
        // its name: it may have been freed.
        let before = shim.displaced_name.map(|name| find(Some(name)));
        if let Some(displaced) = before.filter(|&found| !found.is_null() && found == shim.displaced) {
            let register: VfsRegister = api.vfs_register;
            // SAFETY: registered, under the name it had; registering it again only moves it to the front.
            match unsafe { register(displaced, 1) } {
                ffi::OK => {}
                rc => return Err(UninstallError::Refused(rc)),
            }
        }
    }
    // SAFETY: a registered VFS.
    match unsafe { unregister(there) } {
        ffi::OK => Ok(()),
        rc => Err(UninstallError::Refused(rc)),
    }
}
