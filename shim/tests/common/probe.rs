//! A foreign VFS, written against SQLite's own headers (`rusqlite::ffi`). It records every call and answers as the test has set it up.
//!
//! Its state is kept for each thread apart, so that tests in one process do not meet.

use locktrace::ffi as ours;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_double, c_int, c_void};

/// What a call arrived with: the method, its VFS or file, and its plain arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub method: &'static str,
    /// The `sqlite3_vfs*` or `sqlite3_file*`.
    pub object: usize,
    pub arguments: Vec<i64>,
}

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    static ANSWER: Cell<c_int> = const { Cell::new(0) };
    static OUT: Cell<i64> = const { Cell::new(0) };
    static ERRNO: Cell<c_int> = const { Cell::new(0) };
    static OPEN: Cell<Open> = const { Cell::new(Open { rc: 0, methods: std::ptr::null() }) };
}

/// What the next `xOpen` does.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub rc: c_int,
    /// Null: `pMethods` is left as it was found.
    pub methods: *const sqlite3_io_methods,
}

/// What every method but `xOpen` returns from now on, and what it writes where it has somewhere to write to.
pub fn answer(rc: c_int, out: i64) {
    ANSWER.set(rc);
    OUT.set(out);
}

/// What every method leaves in `errno` from now on; 0 = it leaves it alone.
pub fn leave_errno(errno: c_int) {
    ERRNO.set(errno);
}

pub fn on_open(rc: c_int, methods: *const sqlite3_io_methods) {
    OPEN.set(Open { rc, methods });
}

/// The calls since this was last asked.
pub fn calls() -> Vec<Call> {
    CALLS.take()
}

/// The one call since this was last asked.
pub fn call() -> Call {
    let mut calls = calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

fn note<T>(method: &'static str, object: *mut T, arguments: &[i64]) -> c_int {
    CALLS.with_borrow_mut(|calls| calls.push(Call { method, object: object as usize, arguments: arguments.to_vec() }));
    if ERRNO.get() != 0 {
        unsafe { *libc::__errno_location() = ERRNO.get() };
    }
    ANSWER.get()
}

/// Bytes of this VFS's own file object, past `pMethods`.
pub const FILE_SIZE: usize = 56;

/// The mark in `pAppData`: it proves that a method got *this* VFS's object and not that of a shim around it.
pub const MARK: usize = 0x7072_6f62;

fn check(vfs: *mut sqlite3_vfs) {
    assert_eq!(unsafe { (*vfs).pAppData } as usize, MARK, "the base's method got somebody else's sqlite3_vfs");
}

unsafe extern "C" fn x_open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    check(vfs);
    note("xOpen", vfs, &[name as i64, file as i64, flags.into(), out as i64]);
    let open = OPEN.get();
    unsafe {
        if !open.methods.is_null() {
            // The whole object, as a real VFS fills it.
            std::slice::from_raw_parts_mut(file.cast::<u8>(), FILE_SIZE).fill(0x5b);
            (*file).pMethods = open.methods;
        }
        if !out.is_null() {
            *out = flags | 0x4000_0000;
        }
    }
    open.rc
}
unsafe extern "C" fn x_delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    check(vfs);
    note("xDelete", vfs, &[name as i64, sync.into()])
}
unsafe extern "C" fn x_access(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    check(vfs);
    unsafe { *out = OUT.get() as c_int };
    note("xAccess", vfs, &[name as i64, flags.into(), out as i64])
}
unsafe extern "C" fn x_full_pathname(vfs: *mut sqlite3_vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    check(vfs);
    note("xFullPathname", vfs, &[name as i64, size.into(), out as i64])
}
unsafe extern "C" fn x_dl_open(vfs: *mut sqlite3_vfs, name: *const c_char) -> *mut c_void {
    check(vfs);
    note("xDlOpen", vfs, &[name as i64]);
    OUT.get() as *mut c_void
}
unsafe extern "C" fn x_dl_error(vfs: *mut sqlite3_vfs, size: c_int, out: *mut c_char) {
    check(vfs);
    note("xDlError", vfs, &[size.into(), out as i64]);
}
unsafe extern "C" fn x_dl_sym(
    vfs: *mut sqlite3_vfs,
    handle: *mut c_void,
    symbol: *const c_char,
) -> Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)> {
    check(vfs);
    note("xDlSym", vfs, &[handle as i64, symbol as i64]);
    None
}
unsafe extern "C" fn x_dl_close(vfs: *mut sqlite3_vfs, handle: *mut c_void) {
    check(vfs);
    note("xDlClose", vfs, &[handle as i64]);
}
unsafe extern "C" fn x_randomness(vfs: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    check(vfs);
    note("xRandomness", vfs, &[size.into(), out as i64])
}
unsafe extern "C" fn x_sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    check(vfs);
    note("xSleep", vfs, &[microseconds.into()])
}
unsafe extern "C" fn x_current_time(vfs: *mut sqlite3_vfs, out: *mut c_double) -> c_int {
    check(vfs);
    unsafe { *out = OUT.get() as c_double };
    note("xCurrentTime", vfs, &[out as i64])
}
unsafe extern "C" fn x_get_last_error(vfs: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    check(vfs);
    note("xGetLastError", vfs, &[size.into(), out as i64])
}
unsafe extern "C" fn x_current_time_int64(vfs: *mut sqlite3_vfs, out: *mut i64) -> c_int {
    check(vfs);
    unsafe { *out = OUT.get() };
    note("xCurrentTimeInt64", vfs, &[out as i64])
}
unsafe extern "C" fn x_set_system_call(vfs: *mut sqlite3_vfs, name: *const c_char, call: ffi::sqlite3_syscall_ptr) -> c_int {
    check(vfs);
    note("xSetSystemCall", vfs, &[name as i64, call.map_or(0, |call| call as usize as i64)])
}
unsafe extern "C" fn x_get_system_call(vfs: *mut sqlite3_vfs, name: *const c_char) -> ffi::sqlite3_syscall_ptr {
    check(vfs);
    note("xGetSystemCall", vfs, &[name as i64]);
    None
}
unsafe extern "C" fn x_next_system_call(vfs: *mut sqlite3_vfs, name: *const c_char) -> *const c_char {
    check(vfs);
    note("xNextSystemCall", vfs, &[name as i64]);
    OUT.get() as *const c_char
}

/// A VFS of this version under this name: leaked, not registered. Slots past its version hold a method that must not be called:
/// a version 1 object really ends where version 1 ends, so these stand for whatever memory follows it.
pub fn vfs(name: &str, version: c_int) -> *mut sqlite3_vfs {
    let mut vfs: sqlite3_vfs = unsafe { std::mem::zeroed() };
    vfs.iVersion = version;
    vfs.szOsFile = FILE_SIZE as c_int;
    vfs.mxPathname = 333;
    vfs.zName = CString::new(name).unwrap().into_raw();
    vfs.pAppData = MARK as *mut c_void;
    vfs.xOpen = Some(x_open);
    vfs.xDelete = Some(x_delete);
    vfs.xAccess = Some(x_access);
    vfs.xFullPathname = Some(x_full_pathname);
    vfs.xDlOpen = Some(x_dl_open);
    vfs.xDlError = Some(x_dl_error);
    vfs.xDlSym = Some(x_dl_sym);
    vfs.xDlClose = Some(x_dl_close);
    vfs.xRandomness = Some(x_randomness);
    vfs.xSleep = Some(x_sleep);
    vfs.xCurrentTime = Some(x_current_time);
    vfs.xGetLastError = Some(x_get_last_error);
    vfs.xCurrentTimeInt64 = Some(x_current_time_int64);
    vfs.xSetSystemCall = Some(x_set_system_call);
    vfs.xGetSystemCall = Some(x_get_system_call);
    vfs.xNextSystemCall = Some(x_next_system_call);
    Box::leak(Box::new(vfs))
}

unsafe extern "C" fn x_close(file: *mut sqlite3_file) -> c_int {
    note("xClose", file, &[])
}
unsafe extern "C" fn x_read(file: *mut sqlite3_file, data: *mut c_void, amount: c_int, offset: i64) -> c_int {
    note("xRead", file, &[data as i64, amount.into(), offset])
}
unsafe extern "C" fn x_write(file: *mut sqlite3_file, data: *const c_void, amount: c_int, offset: i64) -> c_int {
    note("xWrite", file, &[data as i64, amount.into(), offset])
}
unsafe extern "C" fn x_truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    note("xTruncate", file, &[size])
}
unsafe extern "C" fn x_sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    note("xSync", file, &[flags.into()])
}
unsafe extern "C" fn x_file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    unsafe { *size = OUT.get() };
    note("xFileSize", file, &[size as i64])
}
unsafe extern "C" fn x_lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    note("xLock", file, &[level.into()])
}
unsafe extern "C" fn x_unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    note("xUnlock", file, &[level.into()])
}
unsafe extern "C" fn x_check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { *out = OUT.get() as c_int };
    note("xCheckReservedLock", file, &[out as i64])
}
unsafe extern "C" fn x_file_control(file: *mut sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    let rc = note("xFileControl", file, &[op.into(), argument as i64]);
    match op {
        ffi::SQLITE_FCNTL_VFSNAME if rc == ffi::SQLITE_OK => unsafe {
            *argument.cast::<*mut c_char>() = ffi::sqlite3_mprintf(c"%s".as_ptr(), c"probe".as_ptr());
        },
        ffi::SQLITE_FCNTL_LOCKSTATE | ffi::SQLITE_FCNTL_LOCK_TIMEOUT | ffi::SQLITE_FCNTL_BLOCK_ON_CONNECT => unsafe {
            *argument.cast::<c_int>() = OUT.get() as c_int;
        },
        _ => {}
    }
    rc
}
unsafe extern "C" fn x_sector_size(file: *mut sqlite3_file) -> c_int {
    note("xSectorSize", file, &[])
}
unsafe extern "C" fn x_device_characteristics(file: *mut sqlite3_file) -> c_int {
    note("xDeviceCharacteristics", file, &[])
}
unsafe extern "C" fn x_shm_map(file: *mut sqlite3_file, page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int {
    unsafe { *out = OUT.get() as *mut c_void };
    note("xShmMap", file, &[page.into(), size.into(), extend.into(), out as i64])
}
unsafe extern "C" fn x_shm_lock(file: *mut sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    note("xShmLock", file, &[offset.into(), n.into(), flags.into()])
}
unsafe extern "C" fn x_shm_barrier(file: *mut sqlite3_file) {
    note("xShmBarrier", file, &[]);
}
unsafe extern "C" fn x_shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    note("xShmUnmap", file, &[delete.into()])
}
unsafe extern "C" fn x_fetch(file: *mut sqlite3_file, offset: i64, amount: c_int, out: *mut *mut c_void) -> c_int {
    unsafe { *out = OUT.get() as *mut c_void };
    note("xFetch", file, &[offset, amount.into(), out as i64])
}
unsafe extern "C" fn x_unfetch(file: *mut sqlite3_file, offset: i64, page: *mut c_void) -> c_int {
    note("xUnfetch", file, &[offset, page as i64])
}

/// Every method, in a table of this version. `cut` may take some away. Leaked. As with [`vfs`], the slots past the version are
/// filled: they must not be believed.
pub fn methods(version: c_int, cut: impl FnOnce(&mut sqlite3_io_methods)) -> *const sqlite3_io_methods {
    let mut table = sqlite3_io_methods {
        iVersion: version,
        xClose: Some(x_close),
        xRead: Some(x_read),
        xWrite: Some(x_write),
        xTruncate: Some(x_truncate),
        xSync: Some(x_sync),
        xFileSize: Some(x_file_size),
        xLock: Some(x_lock),
        xUnlock: Some(x_unlock),
        xCheckReservedLock: Some(x_check_reserved_lock),
        xFileControl: Some(x_file_control),
        xSectorSize: Some(x_sector_size),
        xDeviceCharacteristics: Some(x_device_characteristics),
        xShmMap: Some(x_shm_map),
        xShmLock: Some(x_shm_lock),
        xShmBarrier: Some(x_shm_barrier),
        xShmUnmap: Some(x_shm_unmap),
        xFetch: Some(x_fetch),
        xUnfetch: Some(x_unfetch),
    };
    cut(&mut table);
    Box::leak(Box::new(table))
}

/// A file of our shim over this VFS, in memory that held 0xAA before.
#[derive(Debug)]
pub struct Opened {
    pub memory: Vec<u64>,
    pub rc: c_int,
    pub out_flags: c_int,
    pub name: CString,
    size: usize,
}

const GUARD: usize = 8;

impl Opened {
    /// Calls our `xOpen` for a main database.
    pub fn new(shim: *mut ours::sqlite3_vfs, path: &str) -> Opened {
        let size = unsafe { (*shim).szOsFile } as usize;
        let mut memory = vec![0xaaaa_aaaa_aaaa_aaaa_u64; size.div_ceil(8) + GUARD];
        // Two NULs: no URI parameters.
        let name = CString::from_vec_with_nul([path.as_bytes(), b"\0"].concat()).unwrap();
        let flags = ours::OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
        let mut out_flags = 0;
        let open = unsafe { (*shim).xOpen }.unwrap();
        let rc = unsafe { open(shim, name.as_ptr(), memory.as_mut_ptr().cast(), flags, &mut out_flags) };
        let opened = Opened { memory, rc, out_flags, name, size };
        opened.check_guard();
        opened
    }

    /// Nothing was written past `szOsFile`.
    pub fn check_guard(&self) {
        assert!(self.memory[self.size.div_ceil(8)..].iter().all(|&word| word == 0xaaaa_aaaa_aaaa_aaaa));
    }

    pub fn file(&mut self) -> *mut ours::sqlite3_file {
        self.memory.as_mut_ptr().cast()
    }

    /// Our table, or null.
    pub fn table(&mut self) -> *const ours::sqlite3_io_methods {
        unsafe { (*self.file()).pMethods }
    }

    pub fn methods(&mut self) -> ours::sqlite3_io_methods {
        assert!(!self.table().is_null());
        unsafe { *self.table() }
    }

    pub fn close(mut self) -> c_int {
        let close = self.methods().xClose.unwrap();
        let file = self.file();
        unsafe { close(file) }
    }
}

/// Registers a base VFS of this version and ours over it; returns both.
pub fn shim_over(name: &str, version: c_int) -> (*mut sqlite3_vfs, *mut ours::sqlite3_vfs) {
    super::find(None); // initialises
    let base = vfs(&format!("base-{name}"), version);
    assert_eq!(unsafe { ffi::sqlite3_vfs_register(base, 0) }, ffi::SQLITE_OK);
    let installed = super::install_as(&format!("shim-{name}"), Some(&format!("base-{name}")), false);
    assert_eq!(installed, Ok(locktrace::vfs::Installed::Fresh));
    calls(); // installing asks the base whether it is another copy of us
    let shim = super::find(Some(&format!("shim-{name}")));
    assert_eq!(unsafe { CStr::from_ptr((*shim).zName) }.to_str().unwrap(), format!("shim-{name}"));
    (base, shim)
}
