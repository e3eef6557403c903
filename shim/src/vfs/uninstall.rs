//! Uninstalling: a VFS of ours is taken off SQLite's list, and the one it displaced is the default again.
//!
//! Called by Rust programs; an extension is loaded for good. The VFS object itself stays for ever, so that a connection that another thread
//! is opening at this moment is served (and traced) like any before.

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
        /// So many databases that are open through it; an attached one counts.
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

/// Unregisters the VFS of this name, if it is ours and no connection uses it. Where it was the default, the one that was it before is it
/// again, with no moment in between. It may be installed anew.
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
        // An application's copy of ours is the application's.
        return Err(UninstallError::NotInstalled(name));
    }
    let mut open = 0;
    live::each(&mut |row| open += usize::from(ptr::eq(row.vfs, shim.name)));
    if open > 0 {
        return Err(UninstallError::InUse { name, open });
    }
    if find(None) == there {
        // Unregistering alone would make the next in the list the default, which may be any that was registered since. One that is
        // gone by now is not asked for: its memory may be, too.
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
