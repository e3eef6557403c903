//! Standing in for a VFS that a program names, or has made its default: a VFS of ours over it, registered **under the same name**.
//!
//! In comes a name; out goes a [`Cover`], to be held while the program's `sqlite3_open_v2` runs. Called by `preload`, before each open.
//!
//! SQLite looks a VFS up by name, from the default one on, and takes the first that fits (main.c, `sqlite3_vfs_find`; os.c,
//! `sqlite3_vfs_register`: a new default goes to the front of the list, any other right behind the front). So ours is found first, whether
//! the name came as an argument or in a URI (`vfs=`); and names and URIs reach SQLite as the program wrote them. A name that nobody has
//! stays SQLite's own error.
//!
//! * SQLite's own default VFS (`unix`) is there for ever, and so is what covers it.
//! * Any other is covered only for the length of the open: afterwards the list is as the program made it. Its order decides who is the
//!   default when the program takes its own away; and a program's own VFS may be freed after that. The connection keeps using ours, as it
//!   would have kept using theirs. (What it attaches later is looked up by name again, and is not traced unless the default VFS opens it.)
//! * `memdb` is left alone: SQLite recognises its files by their methods.

use super::{any_copys, wrap};
use crate::api::Api;
use crate::ffi::sqlite3_vfs;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The most covers ever made in a process: they are not freed. Past it, opens that name yet another VFS are not traced.
const MOST: u32 = 256;

/// A cover that was made: which VFS it is for, as that was.
#[derive(Debug)]
struct Node {
    /// The function that finds VFSes in this one's library.
    find: usize,
    base: *mut sqlite3_vfs,
    like: sqlite3_vfs,
    vfs: *mut sqlite3_vfs,
    /// Opens that need it registered now.
    users: AtomicU32,
    next: *mut Node,
}

static NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
static MADE: AtomicU32 = AtomicU32::new(0);

/// Keeps a VFS covered until it is dropped.
#[derive(Debug)]
pub struct Cover {
    api: Api,
    node: &'static Node,
}

impl Drop for Cover {
    fn drop(&mut self) {
        if self.node.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: null asks for the default VFS. The base is registered: the open that has just returned went through it. Ours is never
            // freed; a thread that registers it again just now only loses its trace.
            unsafe {
                // What comes behind the front is not the default of before, if any VFS was registered meanwhile.
                if ptr::eq((self.api.vfs_find)(ptr::null()), self.node.vfs) {
                    (self.api.vfs_register)(self.node.base, 1);
                }
                (self.api.vfs_unregister)(self.node.vfs)
            };
        }
    }
}

/// Sees to it that an open that names this VFS (`None`: the default one) meets ours. `own` tells whether an object is SQLite's own.
///
/// # Safety
/// `api` is the table of one SQLite library, and the code of this library stays loaded as long as that one may call it.
pub unsafe fn cover(api: &Api, name: Option<&CStr>, own: impl Fn(*const sqlite3_vfs) -> bool) -> Option<Cover> {
    // SAFETY: sqlite3_vfs_find takes a NUL-terminated name, or null for the default VFS.
    let find = |name: Option<&CStr>| unsafe { (api.vfs_find)(name.map_or(ptr::null(), CStr::as_ptr)) };
    let base = find(name);
    if base.is_null() || any_copys(base) {
        return None;
    }
    // SAFETY: a registered VFS has a NUL-terminated name.
    let its_name = unsafe { CStr::from_ptr((*base).zName) };
    if its_name == c"memdb" {
        return None;
    }
    let default = ptr::eq(find(None), base);
    let for_ever = default && its_name.to_bytes().starts_with(b"unix") && own(base);
    // SAFETY: it is registered.
    let node = unsafe { node(api, base, its_name) }?;
    if !for_ever {
        node.users.fetch_add(1, Ordering::AcqRel);
    }
    // SAFETY: a leaked VFS of ours, whole; registering one again only moves it.
    unsafe { (api.vfs_register)(node.vfs, c_int::from(default)) };
    (!for_ever).then(|| Cover { api: *api, node })
}

/// The cover of this VFS, made if it has none.
///
/// # Safety
/// `base` is a registered VFS of the library `api` belongs to.
unsafe fn node(api: &Api, base: *mut sqlite3_vfs, name: &CStr) -> Option<&'static Node> {
    // SAFETY: a registered VFS has the fields of version 1, and those are copied.
    let like = unsafe { super::tables::mirror_vfs(base) };
    let find = api.vfs_find as usize;
    let mut at = NODES.load(Ordering::Acquire);
    // SAFETY: nodes are leaked, and published whole.
    while let Some(known) = unsafe { at.as_ref() } {
        // SAFETY: a VFS of ours has a name.
        let same_name = || unsafe { CStr::from_ptr((*known.vfs).zName) } == name;
        if known.find == find && known.base == base && is_like(&known.like, &like) && same_name() {
            return Some(known);
        }
        at = known.next;
    }
    if MADE.fetch_add(1, Ordering::Relaxed) >= MOST {
        MADE.store(MOST, Ordering::Relaxed);
        return None;
    }
    // SAFETY: as the caller says.
    let vfs = unsafe { wrap(*api, base, name, c"locktrace", base, false) }?;
    let next = NODES.load(Ordering::Acquire);
    let fresh = Box::leak(Box::new(Node { find, base, like, vfs, users: AtomicU32::new(0), next }));
    // Two threads may make one each: then there are two, which is harmless.
    while let Err(now) = NODES.compare_exchange_weak(fresh.next, &raw mut *fresh, Ordering::AcqRel, Ordering::Acquire) {
        fresh.next = now;
    }
    Some(fresh)
}

/// Whether a VFS at the same address is still of the same kind: another may have been made where one was freed.
fn is_like(one: &sqlite3_vfs, other: &sqlite3_vfs) -> bool {
    let slots = |vfs: &sqlite3_vfs| {
        [
            vfs.xOpen.is_some(),
            vfs.xDelete.is_some(),
            vfs.xAccess.is_some(),
            vfs.xSleep.is_some(),
            vfs.xCurrentTimeInt64.is_some(),
            vfs.xSetSystemCall.is_some(),
        ]
    };
    (one.iVersion, one.szOsFile, one.mxPathname, slots(one)) == (other.iVersion, other.szOsFile, other.mxPathname, slots(other))
}
