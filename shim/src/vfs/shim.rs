//! One SQLite whose files reach us: its functions, its version, and the VFS that calls us.
//!
//! A [`Shim`] is made for each VFS of ours that is registered over another, and for each SQLite that is covered in place. It is never freed:
//! connections may use it to the last moment.

use crate::api::Api;
use crate::clock;
use crate::ffi::sqlite3_vfs;
use crate::memory;
use crate::recorder::Library;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// One SQLite, and the VFS of it that calls us.
#[derive(Debug)]
pub(crate) struct Shim {
    /// The base: the VFS that does the work. In place: the first of SQLite's own objects.
    pub(super) base: *mut sqlite3_vfs,
    /// The name of our VFS; in place, of SQLite's.
    pub(super) name: &'static CStr,
    /// The VFS that was the default when this one was installed.
    pub(super) displaced: *mut sqlite3_vfs,
    /// Its name; `None`: there was no default.
    pub(super) displaced_name: Option<&'static CStr>,
    /// The VFS that is registered; in place: null.
    pub(super) vfs: AtomicPtr<sqlite3_vfs>,
    /// Null until it is known.
    sqlite: AtomicPtr<Sqlite>,
    /// The shim that was published before this one.
    older: AtomicPtr<Shim>,
}

/// A SQLite library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sqlite {
    /// Its functions; `None`: they cannot be reached, so its statements are not known.
    pub(super) api: Option<Api>,
    pub(super) library: Library,
    /// Whether it was built with `SQLITE_ENABLE_API_ARMOR`, or may have been: asking a closing connection for its statements would log a misuse.
    pub(super) armored: bool,
}

impl Sqlite {
    /// The library with these functions, reached through a VFS of ours named `vfs` over `base`.
    pub(crate) fn new(api: Option<Api>, vfs: &'static CStr, base: &'static CStr, linked: bool) -> Sqlite {
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
        Sqlite { api, library, armored }
    }
}

/// The newest that is published. There is one for each SQLite library, each name and each base, and none is ever removed.
static NEWEST: AtomicPtr<Shim> = AtomicPtr::new(ptr::null_mut());

// SAFETY: what is not atomic is written before it is published and only read after; the base VFS is SQLite's, shared by contract.
unsafe impl Sync for Shim {}
// SAFETY: as above.
unsafe impl Send for Shim {}

impl Shim {
    /// A new one, kept; `None` where there is no memory.
    pub(super) fn new(
        name: &'static CStr,
        base: *mut sqlite3_vfs,
        sqlite: Option<Sqlite>,
        displaced: *mut sqlite3_vfs,
        displaced_name: Option<&'static CStr>,
    ) -> Option<&'static Shim> {
        clock::measure_ticks();
        let sqlite = match sqlite {
            Some(sqlite) => ptr::from_mut(memory::keep(sqlite)?),
            None => ptr::null_mut(),
        };
        memory::keep(Shim {
            base,
            name,
            displaced,
            displaced_name,
            vfs: AtomicPtr::default(),
            sqlite: AtomicPtr::new(sqlite),
            older: AtomicPtr::default(),
        })
        .map(|shim| &*shim)
    }

    /// Its SQLite; `None`: no database was opened yet, and it is not known.
    #[inline(always)]
    pub(super) fn sqlite(&self) -> Option<&'static Sqlite> {
        // SAFETY: null, or kept and whole before it was stored with Release.
        unsafe { self.sqlite.load(Ordering::Acquire).as_ref() }
    }

    /// Sets the SQLite. Where two threads do this, the first one's stays.
    #[cfg(feature = "preload")]
    pub(super) fn set_sqlite(&self, sqlite: Sqlite) {
        if let Some(sqlite) = memory::keep(sqlite) {
            let _ = self.sqlite.compare_exchange(ptr::null_mut(), sqlite, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Notes that the program links this SQLite and the crate. A log that has named the library before does not name it again.
    #[cfg(feature = "preload")]
    pub(super) fn set_linked(&self) {
        if let Some(sqlite) = self.sqlite().filter(|sqlite| !sqlite.library.linked) {
            let library = Library { linked: true, ..sqlite.library };
            if let Some(sqlite) = memory::keep(Sqlite { library, ..*sqlite }) {
                self.sqlite.store(sqlite, Ordering::Release);
            }
        }
    }

    /// Its functions, where they can be reached.
    #[inline(always)]
    pub(super) fn api(&self) -> Option<&'static Api> {
        self.sqlite()?.api.as_ref()
    }

    /// See [`Sqlite::armored`].
    #[inline(always)]
    pub(super) fn armored(&self) -> bool {
        self.sqlite().is_none_or(|sqlite| sqlite.armored)
    }

    /// The version of its SQLite, where it is known.
    pub(super) fn version(&self) -> &'static str {
        self.sqlite().map_or("", |sqlite| sqlite.library.sqlite)
    }

    /// The one behind a VFS that has our methods; `None` before the first is published.
    ///
    /// The VFS may be another one: an application may copy the default VFS, put data of its own into the copy, replace some
    /// methods and keep the rest (`xRandomness`, `xSleep`, …). With SQLite's unix VFS that works, because those never use the object
    /// they are called on, and so it must work with ours. Then the oldest shim serves as well as any, and better than one that lies over that very
    /// copy.
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

    /// The VFS that was installed before under this name, over this base and in place of this default, and is not registered now. Its files take
    /// `size` bytes in front of the base's.
    pub(super) fn formerly(
        api: &Api,
        name: &CStr,
        base: *mut sqlite3_vfs,
        default: *mut sqlite3_vfs,
        size: usize,
    ) -> Option<*mut sqlite3_vfs> {
        let same = |shim: &&Shim| {
            let place = (shim.base, shim.displaced) == (base, default) && shim.name == name;
            place && shim.api().is_some_and(|theirs| ptr::fn_addr_eq(theirs.vfs_find, api.vfs_find))
        };
        let vfs = Shim::published().find(same)?.vfs.load(Ordering::Relaxed);
        // Another VFS may have the base's address by now.
        // SAFETY: ours is kept, and the base registered.
        let (ours, base) = unsafe { (vfs.as_ref()?, &*base) };
        let size = base.szOsFile.saturating_add(size as c_int);
        (ours.szOsFile == size && ours.iVersion == base.iVersion.min(3)).then_some(vfs)
    }

    /// Publishes it as the shim of this VFS, so that [`Shim::behind`] finds it.
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
