//! An open file of SQLite's: the base's file, the method table that SQLite calls, and the connection it belongs to.
//!
//! SQLite's calls go to the base unchanged, and its results come back unchanged. Only a main database, a rollback journal or a WAL is ever a
//! [`File`].
//!
//! There are two layouts, and the same code serves both:
//!
//! * **wrapped**: a VFS of ours is registered over another one. SQLite's file is a [`Head`] of ours with the base's file behind it.
//! * **in place**: SQLite's own VFS opened its own file. Only its method table is exchanged, for a copy that leads to us. The base's table is
//!   put back before the file is closed.

use super::connection::{Connection, Opened};
use super::pool::{self, Claim, Entry};
use crate::event::{FileKind, Kind};
use crate::ffi::{sqlite3_file, sqlite3_io_methods};
use crate::format::record::Record;
use std::ptr;

/// What precedes the base's file in the memory SQLite gives us for a wrapped one. 16 bytes, so that the base's file is aligned as
/// `malloc` would align it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Head {
    head: sqlite3_file,
    _room: usize,
}

/// An open file, in an entry of the [`pool`].
#[repr(C)]
pub(super) struct File {
    /// What SQLite calls. `pMethods` points here, so it is the first field: the address of the table is that of the entry.
    methods: sqlite3_io_methods,
    /// The base's file.
    inner: *mut sqlite3_file,
    /// The pointer to the base's methods for it: in the base's file (wrapped), or `original` (in place).
    base: *const *const sqlite3_io_methods,
    /// In place: the table the base gave its file.
    original: *const sqlite3_io_methods,
    /// The file as SQLite knows it.
    outer: *mut sqlite3_file,
    pub(super) kind: FileKind,
    /// The main database that this journal or WAL belongs to, and the generation of its entry then; `None` for a database, or where it is not known.
    database: Option<(&'static File, u32)>,
    pub(super) connection: Connection,
}

const _: () = assert!(size_of::<File>() <= pool::CONTENT && align_of::<File>() <= align_of::<Entry>());

/// How a file was opened; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// The base's file lies behind a [`Head`].
    Wrapped,
    /// It is the base's own file.
    InPlace,
}

/// What there is to make a file of.
pub(super) struct Parts {
    pub(super) layout: Layout,
    /// SQLite's file.
    pub(super) outer: *mut sqlite3_file,
    pub(super) kind: FileKind,
    pub(super) database: Option<&'static File>,
    /// Makes our method table from the base's.
    pub(super) table: unsafe fn(*const sqlite3_io_methods) -> sqlite3_io_methods,
}

impl File {
    /// Takes an open file over: from here on SQLite calls us.
    ///
    /// # Safety
    /// `parts.outer` is SQLite's file. The base has opened it ([`Layout::InPlace`]), or the one behind the [`Head`] that it is ([`Layout::Wrapped`]).
    /// `parts.table` takes the table of a file that the base has opened.
    pub(super) unsafe fn open(claim: Claim, parts: &Parts, opened: &Opened) -> &'static File {
        let outer = parts.outer;
        let inner = match parts.layout {
            // SAFETY: our `szOsFile` has room for a `Head` and the base's file.
            Layout::Wrapped => unsafe { outer.cast::<Head>().add(1).cast::<sqlite3_file>() },
            Layout::InPlace => outer,
        };
        // SAFETY: the base opened it.
        let original = unsafe { (*inner).pMethods };
        let entry = claim.fill(|content| {
            let file = content.cast::<File>();
            // SAFETY: memory for one file, which this thread alone writes; addresses of its fields are taken without reading them. The lock state is
            // written by atomic stores: another thread may still read that of the file that was here before.
            unsafe {
                let base = match parts.layout {
                    Layout::Wrapped => &raw const (*inner).pMethods,
                    Layout::InPlace => &raw const (*file).original,
                };
                (&raw mut (*file).methods).write((parts.table)(original));
                (&raw mut (*file).inner).write(inner);
                (&raw mut (*file).base).write(base);
                (&raw mut (*file).original).write(original);
                (&raw mut (*file).outer).write(outer);
                (&raw mut (*file).kind).write(parts.kind);
                (&raw mut (*file).database).write(parts.database.map(|database| (database, database.entry().generation())));
                Connection::begin(&raw mut (*file).connection, opened);
            }
        });
        let file = File::in_entry(entry);
        // SAFETY: SQLite's own memory for the file.
        unsafe { (*outer).pMethods = &raw const file.methods };
        file
    }

    /// Ours, from SQLite's pointer to it.
    ///
    /// # Safety
    /// `file` is the argument of a method of ours.
    #[inline(always)]
    pub(super) unsafe fn of(file: *mut sqlite3_file) -> Option<&'static File> {
        // SAFETY: SQLite calls methods with open files.
        let table = unsafe { (*file).pMethods } as usize;
        if !pool::has(table) {
            return File::by_address(file);
        }
        // SAFETY: the pool has it.
        Some(File::in_entry(unsafe { pool::at(table) }))
    }

    /// The file, where a program has put a table of its own before ours, with methods of ours in it.
    #[cold]
    #[inline(never)]
    fn by_address(outer: *mut sqlite3_file) -> Option<&'static File> {
        File::open_files().map(|(file, _)| file).find(|file| file.outer == outer)
    }

    /// Every open file, with the generation of its entry.
    pub(super) fn open_files() -> impl Iterator<Item = (&'static File, u32)> {
        pool::in_use().map(|(entry, generation)| (File::in_entry(entry), generation))
    }

    #[inline(always)]
    fn in_entry(entry: &'static Entry) -> &'static File {
        // SAFETY: the pool is of files, and an address of an entry comes from a file that was made in it. It is never unmapped, and what changes in
        // a file are cells and atomics.
        unsafe { &*entry.content().cast::<File>() }
    }

    #[inline(always)]
    fn entry(&self) -> &Entry {
        // SAFETY: files exist in entries only (`open` makes them), and an entry begins with its content.
        unsafe { &*ptr::from_ref(self).cast::<Entry>() }
    }

    /// Whether the file is still the one that was copied, for a thread that does not use it.
    pub(super) fn is_still(&self, generation: u32) -> bool {
        self.entry().is_still_in(generation)
    }

    /// Gives the entry back. The file is closed.
    pub(super) fn end(&'static self) {
        self.entry().end();
    }

    /// How it was opened.
    pub(super) fn layout(&self) -> Layout {
        if ptr::eq(self.base, &raw const self.original) { Layout::InPlace } else { Layout::Wrapped }
    }

    /// Puts the base's method table back where the file is the base's own: the base closes its file as it left it.
    pub(super) fn restore(&self) {
        if self.layout() == Layout::InPlace {
            // SAFETY: SQLite's own memory for the file.
            unsafe { (*self.inner).pMethods = self.original };
        }
    }

    /// The base's file behind ours.
    #[inline(always)]
    pub(super) fn inner(&self) -> *mut sqlite3_file {
        self.inner
    }

    /// The base's methods for it. In a wrapped file they are read each time: a base may exchange them.
    #[inline(always)]
    pub(super) fn base(&self) -> &sqlite3_io_methods {
        // SAFETY: the base set `pMethods` when it opened the file, and a table outlives its files. A slot that the base's version
        // does not have is not read: our own table has null there, so SQLite does not call us.
        unsafe { &**self.base }
    }

    /// The connection whose database, journal or WAL this file is.
    #[inline(always)]
    pub(super) fn owner(&self) -> &Connection {
        match self.database {
            // SQLite closes a connection's journal and WAL before its database file.
            Some((database, generation)) if database.entry().is_in(generation) => &database.connection,
            _ => &self.connection,
        }
    }

    /// A record about this file, with its connection's present state; for calls that are rare enough to be written in full.
    pub(super) fn record(&self, kind: Kind, start: u64, end: u64) -> Record {
        self.owner().record(kind, self.kind, start, end)
    }
}

/// Calls a method of the base that our table has because the base has it; `SQLITE_ERROR` if the base took it away since.
macro_rules! forward {
    ($file:expr, $method:ident $(, $argument:expr)*) => {
        match $file.base().$method {
            // SAFETY: the base's own method on the base's own file, with the arguments SQLite gave.
            Some(method) => unsafe { method($file.inner() $(, $argument)*) },
            None => $crate::ffi::ERROR,
        }
    };
}
pub(super) use forward;
