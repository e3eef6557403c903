//! What is known of one SQLite whose files reach us: its functions, its version, and how it was met.
//!
//! A [`Shim`] is made for each VFS of ours that is registered over another, and for each SQLite that is covered in place. It is never freed:
//! connections may use it to the last moment.

use super::{file, live};
use crate::api::Api;
use crate::ffi::sqlite3_vfs;
use crate::memory;
use crate::recorder::Library;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// One SQLite, and the VFS of it that calls us.
#[derive(Debug)]
pub(crate) struct Shim {
    /// The VFS that is called in the end. In place: the first of SQLite's own objects.
    pub(super) base: *mut sqlite3_vfs,
    /// The name of our VFS; in place, of SQLite's.
    pub(super) name: &'static CStr,
    /// The VFS that was the default when this one was installed.
    pub(super) displaced: *mut sqlite3_vfs,
    /// Its name; `None`: there was no default.
    pub(super) displaced_name: Option<&'static CStr>,
    /// What is registered; in place: null.
    pub(super) vfs: AtomicPtr<sqlite3_vfs>,
    /// Null until it has been found out.
    known: AtomicPtr<Known>,
    /// The one that was published before this one.
    older: AtomicPtr<Shim>,
}

/// What a SQLite is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Its functions; `None`: they cannot be reached, and its statements are not known.
    pub(super) api: Option<Api>,
    pub(super) library: Library,
    /// Built with `SQLITE_ENABLE_API_ARMOR`, or does not say: asking a closing connection for its statements would log a misuse.
    pub(super) armored: bool,
}

impl Known {
    /// What this SQLite says of itself.
    pub(crate) fn new(api: Option<Api>, vfs: &'static CStr, base: &'static CStr, linked: bool) -> Known {
        static LIBRARIES: AtomicU32 = AtomicU32::new(0);
        let text = |text: &'static CStr| text.to_str().unwrap_or("?");
        let library = Library {
            number: LIBRARIES.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            sqlite: api.as_ref().map_or("", Api::version),
            source_id: api.as_ref().map_or("", Api::source_id),
            options: api.as_ref().and_then(|api| api.compileoption_get),
            vfs: text(vfs),
            base: text(base),
            linked,
        };
        let armored = api.as_ref().and_then(|api| api.has_option(c"ENABLE_API_ARMOR")).unwrap_or(true);
        Known { api, library, armored }
    }
}

/// The newest that is published. They only ever grow in number, which is one for each SQLite library, name and place they were installed in.
static NEWEST: AtomicPtr<Shim> = AtomicPtr::new(ptr::null_mut());

// SAFETY: what is not atomic is written before it is published and only read after; the base VFS is SQLite's, shared by contract.
unsafe impl Sync for Shim {}
// SAFETY: as above.
unsafe impl Send for Shim {}

impl Shim {
    /// A new one, kept; `None` without memory for it.
    pub(super) fn new(
        name: &'static CStr,
        base: *mut sqlite3_vfs,
        known: Option<Known>,
        displaced: *mut sqlite3_vfs,
        displaced_name: Option<&'static CStr>,
    ) -> Option<&'static Shim> {
        live::start();
        let known = match known {
            Some(known) => ptr::from_mut(memory::keep(known)?),
            None => ptr::null_mut(),
        };
        memory::keep(Shim {
            base,
            name,
            displaced,
            displaced_name,
            vfs: AtomicPtr::default(),
            known: AtomicPtr::new(known),
            older: AtomicPtr::default(),
        })
        .map(|shim| &*shim)
    }

    /// What is known of its SQLite; `None` before its first database is opened.
    #[inline(always)]
    pub(super) fn known(&self) -> Option<&'static Known> {
        // SAFETY: null, or kept and whole before it was stored with Release.
        unsafe { self.known.load(Ordering::Acquire).as_ref() }
    }

    /// Fixes what is known. Where two threads do this, the first one's stays.
    #[cfg(feature = "preload")]
    pub(super) fn learn(&self, known: Known) {
        if let Some(known) = memory::keep(known) {
            let _ = self.known.compare_exchange(ptr::null_mut(), known, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The program itself links this SQLite, and has the crate in it. A log that has named the library before does not name it again.
    #[cfg(feature = "preload")]
    pub(super) fn is_linked(&self) {
        if let Some(known) = self.known().filter(|known| !known.library.linked) {
            let library = Library { linked: true, ..known.library };
            if let Some(known) = memory::keep(Known { library, ..*known }) {
                self.known.store(known, Ordering::Release);
            }
        }
    }

    /// The functions that show which statement is running.
    #[inline(always)]
    pub(super) fn statements(&self) -> Option<&'static Api> {
        self.known()?.api.as_ref()
    }

    /// See [`Known::armored`].
    #[inline(always)]
    pub(super) fn armored(&self) -> bool {
        self.known().is_none_or(|known| known.armored)
    }

    /// The version of its SQLite, where it is known.
    pub(super) fn version(&self) -> &'static str {
        self.known().map_or("", |known| known.library.sqlite)
    }

    /// The one behind a VFS that has our methods; `None` before the first is published.
    ///
    /// Which need not be a VFS of ours: an application may copy the default VFS, put data of its own into the copy, replace some
    /// methods and keep the rest (`xRandomness`, `xSleep`, …). With SQLite's unix VFS that works, because those never look at the object
    /// they are called on, and so it has to work with us. The oldest is then as good as any, and
    /// better than one that lies over that very copy.
    ///
    /// # Safety
    /// `vfs` is a VFS.
    pub(super) unsafe fn behind(vfs: *const sqlite3_vfs) -> Option<&'static Shim> {
        // SAFETY: SQLite, or the application, calls a method with a VFS.
        let data = unsafe { (*vfs).pAppData }.cast::<Shim>();
        let mut oldest = None;
        for shim in Shim::published() {
            if ptr::eq(shim, data) {
                return Some(shim);
            }
            oldest = Some(shim);
        }
        oldest
    }

    /// All that are published, the newest first.
    fn published() -> impl Iterator<Item = &'static Shim> {
        // SAFETY: null, or kept and whole before it was published with Release.
        let at = |shim: *mut Shim| -> Option<&'static Shim> { unsafe { shim.as_ref() } };
        std::iter::successors(at(NEWEST.load(Ordering::Acquire)), move |shim| at(shim.older.load(Ordering::Acquire)))
    }

    /// The VFS that was once installed under this name, over this base and in this default's place, and is not any more.
    pub(super) fn once(api: &Api, name: &CStr, base: *mut sqlite3_vfs, default: *mut sqlite3_vfs) -> Option<*mut sqlite3_vfs> {
        let same = |shim: &&Shim| {
            let place = (shim.base, shim.displaced) == (base, default) && shim.name == name;
            place && shim.statements().is_some_and(|theirs| ptr::fn_addr_eq(theirs.vfs_find, api.vfs_find))
        };
        let vfs = Shim::published().find(same)?.vfs.load(Ordering::Relaxed);
        // At the base's address there may be another VFS by now.
        // SAFETY: ours is kept, and the base registered.
        let (ours, base) = unsafe { (vfs.as_ref()?, &*base) };
        let size = base.szOsFile.saturating_add(size_of::<file::Head>() as c_int);
        (ours.szOsFile == size && ours.iVersion == base.iVersion.min(3)).then_some(vfs)
    }

    /// Makes it known to [`Shim::behind`], as the one of this VFS.
    pub(super) fn publish(&'static self, vfs: *mut sqlite3_vfs) {
        self.vfs.store(vfs, Ordering::Relaxed);
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
