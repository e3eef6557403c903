//! What this process's recorder shows to SQL once the extension is loaded: `locktrace_locks`, `locktrace_events`, `locktrace_status`.
//!
//! Three eponymous virtual tables, on the connection that loads the extension and, through `sqlite3_auto_extension`, on every later one of the
//! same SQLite library. Their rows are copies of [`crate::vfs::live`] and [`crate::recorder`]. Only the extension registers them: a program
//! that was not told of us (`locktrace run`) has no new tables, and one that links the crate asks in Rust.
//!
//! Reading them takes no lock of ours that a transition could wait for, and calls nothing of SQLite's on another connection. SQLite
//! itself begins a read transaction on the database `main` of the connection that asks, as for every table-valued function; so a
//! connection on `:memory:` can always ask.
//!
//! Nothing here uses the program's heap. What SQLite owns is in SQLite's memory, a query's rows are in a mapping of their own, and where
//! memory is short the query fails with `SQLITE_NOMEM`.
//!
//! | file | idea |
//! | --- | --- |
//! | `mod` | SQLite's functions for it, and registering |
//! | `module` | the methods of a virtual table, for SQLite |
//! | `tables` | the columns of each, and one cell |
//! | `locks`, `events`, `status` | the rows of each |
//! | `snapshot` | memory for rows |
//! | `text` | times and locks in words |

mod events;
mod locks;
mod module;
mod snapshot;
mod status;
mod tables;
mod text;

use crate::api::slot;
use crate::ffi::{OK, sqlite3, sqlite3_context, sqlite3_module};
use crate::memory;
use std::ffi::{c_char, c_double, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use tables::{TABLES, Table};

type Destructor = Option<unsafe extern "C" fn(*mut c_void)>;
/// What `sqlite3_auto_extension` takes: an extension's entry point, in disguise.
type Entry = unsafe extern "C" fn(*mut sqlite3, *mut *mut c_char, *const c_void) -> c_int;

/// The functions of one SQLite library that virtual tables need.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each field is the SQLite function of that name: https://sqlite.org/c3ref/funclist.html
pub struct Functions {
    pub create_module_v2:
        unsafe extern "C" fn(*mut sqlite3, *const c_char, *const sqlite3_module, *mut c_void, Destructor) -> c_int,
    pub declare_vtab: unsafe extern "C" fn(*mut sqlite3, *const c_char) -> c_int,
    pub result_double: unsafe extern "C" fn(*mut sqlite3_context, c_double),
    pub result_int64: unsafe extern "C" fn(*mut sqlite3_context, i64),
    pub result_null: unsafe extern "C" fn(*mut sqlite3_context),
    pub result_text: unsafe extern "C" fn(*mut sqlite3_context, *const c_char, c_int, Destructor),
    pub auto_extension: unsafe extern "C" fn(Entry) -> c_int,
    pub malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void),
}

impl Functions {
    /// From the table an extension's entry point is handed; `None` where the library was built without virtual tables.
    ///
    /// # Safety
    /// `routines` is the `pApi` argument that a SQLite of 3.17 or later passes to an extension's entry point.
    pub unsafe fn from_routines(routines: *const c_void) -> Option<Functions> {
        let table = routines.cast::<*const c_void>();
        /// A function of the type at hand, from a slot of `sqlite3_api_routines`.
        macro_rules! function {
            ($slot:expr) => {
                // SAFETY: all these slots are older than 3.17; one holds null or a function of the type that sqlite3ext.h gives it,
                // and `Option<fn>` has the same layout as a nullable pointer.
                unsafe { std::mem::transmute::<*const c_void, Option<_>>(*table.add($slot)) }?
            };
        }
        Some(Functions {
            create_module_v2: function!(slot::CREATE_MODULE_V2),
            declare_vtab: function!(slot::DECLARE_VTAB),
            result_double: function!(slot::RESULT_DOUBLE),
            result_int64: function!(slot::RESULT_INT64),
            result_null: function!(slot::RESULT_NULL),
            result_text: function!(slot::RESULT_TEXT),
            auto_extension: function!(slot::AUTO_EXTENSION),
            malloc: function!(slot::MALLOC),
            free: function!(slot::FREE),
        })
    }
}

/// One SQLite library's functions, for the life of the process; known by its table.
#[derive(Debug)]
struct Known {
    routines: *const c_void,
    functions: Functions,
    /// What SQLite hands back to the methods of each table.
    own: [Own; TABLES.len()],
    next: *mut Known,
}

/// Which table, of which library.
#[derive(Debug)]
struct Own {
    table: &'static Table,
    functions: Functions,
}

/// As many as there are SQLite libraries in the process.
static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());

/// # Safety
/// As [`Functions::from_routines`].
unsafe fn known(routines: *const c_void) -> Option<&'static Known> {
    let mut head = KNOWN.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: never freed, and published whole with Release.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.routines == routines {
            return Some(known);
        }
        at = known.next;
    }
    // SAFETY: the caller's promise.
    let functions = unsafe { Functions::from_routines(routines) }?;
    // Two threads may both add the same library: then there are two equal entries, which is harmless.
    let own = TABLES.each_ref().map(|table| Own { table, functions });
    let fresh: *mut Known = memory::keep(Known { routines, functions, own, next: head })?;
    while let Err(now) = KNOWN.compare_exchange_weak(head, fresh, Ordering::AcqRel, Ordering::Acquire) {
        head = now;
        // SAFETY: nobody else has seen it yet.
        unsafe { (*fresh).next = now };
    }
    // SAFETY: kept for ever.
    Some(unsafe { &*fresh })
}

/// Gives this connection the tables, and every one that this SQLite opens from now on. What fails is left out: a connection without
/// them is no worse than before.
///
/// # Safety
/// `db` and `routines` are what SQLite passes to an extension's entry point; the code of this library stays loaded.
pub unsafe fn register(db: *mut sqlite3, routines: *const c_void) {
    // SAFETY: the caller's promise.
    if let Some(known) = unsafe { known(routines) } {
        // SAFETY: as above. Registering it again changes nothing.
        unsafe {
            add_tables(db, known);
            (known.functions.auto_extension)(entry);
        }
    }
}

/// SQLite calls this for every new connection. Its result is success whatever happens: another one would fail the open.
unsafe extern "C" fn entry(db: *mut sqlite3, _error: *mut *mut c_char, routines: *const c_void) -> c_int {
    if !routines.is_null() {
        // SAFETY: SQLite's own arguments, to the entry point of an extension.
        if let Some(known) = unsafe { known(routines) } {
            // SAFETY: as above.
            unsafe { add_tables(db, known) };
        }
    }
    OK
}

/// # Safety
/// `db` is null or an open connection of the library that is meant.
unsafe fn add_tables(db: *mut sqlite3, known: &'static Known) {
    if db.is_null() {
        return;
    }
    for own in &known.own {
        let data = ptr::from_ref(own).cast_mut().cast();
        // SAFETY: the module is static, and `own` is never freed.
        unsafe { (known.functions.create_module_v2)(db, own.table.name.as_ptr(), &module::MODULE, data, None) };
    }
}
