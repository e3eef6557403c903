//! SQLite's contract at the method tables: what a VFS over the shim and a VFS under the shim see of it.
//!
//! The base is the probe of `common`; the files lie in memory that held 0xAA. <https://sqlite.org/c3ref/vfs.html>,
//! <https://sqlite.org/c3ref/io_methods.html>.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common;
use crate::common::probe::{self, Call, Opened};
use locktrace::ffi as ours;
use rusqlite::ffi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::LazyLock;

/// One trace directory for the process; every test here records.
static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn shim_over(name: &str, version: c_int) -> (*mut ffi::sqlite3_vfs, *mut ours::sqlite3_vfs) {
    let config = locktrace::recorder::config::Config { dir: DIR.path().join("trace"), ..Default::default() };
    locktrace::recorder::configure(config).unwrap();
    probe::shim_over(name, version)
}

/// A database opened through ours, over this table.
fn open(name: &str, methods: *const ffi::sqlite3_io_methods) -> Opened {
    let (_, shim) = shim_over(name, 3);
    probe::on_open(ffi::SQLITE_OK, methods);
    let opened = Opened::new(shim, &format!("/no/such/{name}.db"));
    assert_eq!(opened.rc, ffi::SQLITE_OK);
    probe::calls();
    opened
}

/// Which slots of ours are filled, in the order of the struct.
fn slots(table: &ours::sqlite3_io_methods) -> [bool; 18] {
    let words: [usize; 19] = unsafe { std::mem::transmute_copy(table) };
    std::array::from_fn(|i| words[i + 1] != 0)
}

#[test]
fn a_table_has_the_bases_version_and_its_null_slots() {
    // Slots past a version are filled in the base's memory; they must stay null in ours.
    for (version, expected, there) in [(1, 1, 12), (2, 2, 16), (3, 3, 18), (4, 3, 18), (99, 3, 18)] {
        let mut opened = open(&format!("version-{version}"), probe::methods(version, |_| {}));
        let table = opened.methods();
        assert_eq!(table.iVersion, expected);
        assert_eq!(slots(&table), std::array::from_fn(|slot| slot < there), "version {version}");
        assert_eq!(opened.close(), ffi::SQLITE_OK);
    }
}

#[test]
fn every_null_slot_stays_null() {
    for slot in 0..18usize {
        let methods = probe::methods(3, |table| {
            let start = std::ptr::from_mut(table).cast::<usize>();
            unsafe { *start.add(slot + 1) = 0 };
        });
        let mut opened = open(&format!("hole-{slot}"), methods);
        assert_eq!(slots(&opened.methods()), std::array::from_fn(|other| other != slot), "slot {slot}");
        assert_eq!(opened.methods().iVersion, 3);
    }
    let methods = probe::methods(2, |table| (table.xShmMap, table.xShmLock) = (None, None));
    let mut opened = open("no-shm", methods);
    let table = opened.methods();
    assert!(table.xShmMap.is_none() && table.xShmLock.is_none() && table.xShmBarrier.is_some() && table.xShmUnmap.is_some());
}

#[test]
fn each_file_has_a_table_of_its_own_whose_place_is_used_again() {
    let methods = probe::methods(3, |_| {});
    let (mut a, mut b) = (open("table-a", methods), open("table-b", methods));
    assert_ne!(a.table(), b.table());
    let place = a.table();
    assert_eq!(a.close(), ffi::SQLITE_OK);
    // Other tests may take the place before this one does.
    let mut files: Vec<_> = (0..64).map(|n| open(&format!("table-{n}"), methods)).collect();
    let mut tables: Vec<_> = files.iter_mut().map(|file| file.table()).chain([b.table()]).collect();
    tables.sort_unstable();
    tables.dedup();
    assert_eq!(tables.len(), 65);
    assert!(tables.iter().all(|table| (*table as usize).abs_diff(place as usize) < 8192 * 1024));
}

#[test]
fn a_program_may_put_a_table_of_its_own_before_ours() {
    let mut opened = open("table-copied", probe::methods(3, |_| {}));
    // As a VFS above may do that replaces some methods and keeps the rest.
    let copy = Box::leak(Box::new(opened.methods()));
    unsafe { (*opened.file()).pMethods = copy };
    let lock = copy.xLock.unwrap();
    probe::answer(4242, 0);
    assert_eq!(unsafe { lock(opened.file(), ffi::SQLITE_LOCK_SHARED) }, 4242);
    let call = probe::call();
    assert_eq!((call.method, call.arguments), ("xLock", vec![1]));
    probe::answer(ffi::SQLITE_OK, 0);
    assert_eq!(opened.close(), ffi::SQLITE_OK);
}

#[test]
fn our_vfs_has_the_bases_version_and_its_null_slots() {
    for (version, expected, there) in [(1, 1, 12), (2, 2, 13), (3, 3, 16), (4, 3, 16)] {
        let (base, shim) = shim_over(&format!("vfs-version-{version}"), version);
        let (base, shim) = unsafe { (&*base, &*shim) };
        assert_eq!(shim.iVersion, expected);
        assert_eq!(shim.mxPathname, base.mxPathname);
        assert!(shim.szOsFile > base.szOsFile);
        assert_eq!(shim.szOsFile % 8, 0, "the base's file starts aligned");
        let filled = [
            shim.xOpen.is_some(),
            shim.xDelete.is_some(),
            shim.xAccess.is_some(),
            shim.xFullPathname.is_some(),
            shim.xDlOpen.is_some(),
            shim.xDlError.is_some(),
            shim.xDlSym.is_some(),
            shim.xDlClose.is_some(),
            shim.xRandomness.is_some(),
            shim.xSleep.is_some(),
            shim.xCurrentTime.is_some(),
            shim.xGetLastError.is_some(),
            shim.xCurrentTimeInt64.is_some(),
            shim.xSetSystemCall.is_some(),
            shim.xGetSystemCall.is_some(),
            shim.xNextSystemCall.is_some(),
        ];
        assert_eq!(filled, std::array::from_fn(|slot| slot < there), "version {version}");
    }
    // A VFS without loadable extensions, say.
    common::find(None);
    let base = probe::vfs("base-no-dl", 3);
    unsafe { ((*base).xDlOpen, (*base).xGetLastError) = (None, None) };
    assert_eq!(unsafe { ffi::sqlite3_vfs_register(base, 0) }, ffi::SQLITE_OK);
    common::install_as("shim-no-dl", Some("base-no-dl"), false).unwrap();
    let shim = unsafe { *common::find(Some("shim-no-dl")) };
    assert!(shim.xDlOpen.is_none() && shim.xGetLastError.is_none() && shim.xDlSym.is_some());
}

#[test]
fn open_reaches_the_base_with_its_own_object_and_its_answers_come_back() {
    let (base, shim) = shim_over("open", 3);
    probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
    let mut opened = Opened::new(shim, "/no/such/open.db");
    let call = probe::call();
    assert_eq!((call.method, call.object), ("xOpen", base as usize));
    let flags = ours::OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
    let [name, file, got, _] = call.arguments[..] else { panic!("{call:?}") };
    assert_eq!((name, got), (opened.name.as_ptr() as i64, flags.into()));
    // The base's file lies behind ours, and there is room for all of it.
    let start = opened.file() as i64;
    let (size, base_size) = unsafe { ((*shim).szOsFile, (*base).szOsFile) };
    assert_eq!(file - start, i64::from(size - base_size));
    assert_eq!(opened.out_flags, flags | 0x4000_0000);
    assert_eq!(opened.close(), ffi::SQLITE_OK);
    assert_eq!(probe::call(), Call { method: "xClose", object: file as usize, arguments: vec![] });
}

#[test]
fn a_failed_open_that_set_no_methods_is_not_open() {
    let (_, shim) = shim_over("open-fails", 3);
    for rc in [ffi::SQLITE_CANTOPEN, ffi::SQLITE_NOMEM, ffi::SQLITE_IOERR | 3 << 8] {
        probe::on_open(rc, std::ptr::null());
        let mut opened = Opened::new(shim, "/no/such/open-fails.db");
        assert_eq!(opened.rc, rc);
        assert!(opened.table().is_null(), "SQLite would call xClose on a file that never was");
    }
    // Even an "OK" without methods is not a file.
    probe::on_open(ffi::SQLITE_OK, std::ptr::null());
    assert!(Opened::new(shim, "/no/such/open-fails.db").table().is_null());
    assert!(probe::calls().iter().all(|call| call.method == "xOpen"));
}

#[test]
fn a_failed_open_that_set_methods_is_closed_through_the_base() {
    let (_, shim) = shim_over("open-half", 3);
    probe::on_open(ffi::SQLITE_CANTOPEN, probe::methods(1, |_| {}));
    let mut opened = Opened::new(shim, "/no/such/open-half.db");
    assert_eq!(opened.rc, ffi::SQLITE_CANTOPEN);
    assert_eq!(opened.methods().iVersion, 1);
    probe::calls();
    probe::answer(77, 0);
    assert_eq!(opened.close(), 77);
    assert_eq!(probe::call().method, "xClose");
}

#[test]
fn other_kinds_of_files_are_the_bases_alone() {
    let (base, shim) = shim_over("temp", 3);
    let methods = probe::methods(3, |_| {});
    probe::on_open(ffi::SQLITE_OK, methods);
    let mut memory = vec![0xaaaa_aaaa_aaaa_aaaa_u64; unsafe { (*shim).szOsFile } as usize / 8 + 1];
    let flags = ffi::SQLITE_OPEN_TEMP_JOURNAL | ffi::SQLITE_OPEN_READWRITE;
    let rc = unsafe { (*shim).xOpen.unwrap()(shim, std::ptr::null(), memory.as_mut_ptr().cast(), flags, std::ptr::null_mut()) };
    assert_eq!(rc, ffi::SQLITE_OK);
    let call = probe::call();
    assert_eq!((call.object, call.arguments[1]), (base as usize, memory.as_ptr() as i64));
    assert_eq!(memory[0], methods as u64);
}

/// A VFS above ours may pass names of its own, and a super-journal's children are opened by names out of it. SQLite's own
/// `sqlite3_database_file_object` may not be asked about such a name: it reads what stands before it.
#[test]
fn a_name_that_is_not_the_pagers_own_is_not_looked_up() {
    let (_, shim) = shim_over("super", 3);
    probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
    // Eight bytes where the pager's pointer would be, four zeros, the name: what SQLite's look-up walks over.
    let mut before = [0xee_u8; 64];
    let name = b"/no/such/super.db-journal\0\0";
    before[8..12].fill(0);
    before[12..12 + name.len()].copy_from_slice(name);
    let mut memory = vec![0xaaaa_aaaa_aaaa_aaaa_u64; unsafe { (*shim).szOsFile } as usize / 8 + 1];
    let flags = ffi::SQLITE_OPEN_READONLY | ours::OPEN_MAIN_JOURNAL;
    let rc = unsafe {
        (*shim).xOpen.unwrap()(shim, before.as_ptr().add(12).cast(), memory.as_mut_ptr().cast(), flags, std::ptr::null_mut())
    };
    assert_eq!(rc, ffi::SQLITE_OK);
    let file = memory.as_mut_ptr().cast::<ours::sqlite3_file>();
    assert_eq!(unsafe { (*(*file).pMethods).xClose.unwrap()(file) }, ffi::SQLITE_OK);
}

#[test]
fn every_method_of_a_file_arrives_and_answers() {
    let mut opened = open("methods", probe::methods(3, |_| {}));
    let (file, m) = (opened.file(), opened.methods());
    let inner = {
        unsafe { m.xSectorSize.unwrap()(file) };
        probe::call().object
    };
    let mut out = 0i64;
    let p = &raw mut out;
    macro_rules! check {
        ($method:ident($($argument:expr),*) sees [$($seen:expr),*]) => {
            for rc in [0, 5, 10 | 8 << 8, 4242] {
                probe::answer(rc, 0);
                assert_eq!(unsafe { m.$method.unwrap()(file $(, $argument)*) }, rc, stringify!($method));
                let calls: Vec<Call> = probe::calls().into_iter().filter(|call| call.method == stringify!($method)).collect();
                let expected = Call { method: stringify!($method), object: inner, arguments: vec![$($seen as i64),*] };
                assert_eq!(calls, [expected]);
            }
        };
    }
    check!(xRead(p.cast(), 100, 1 << 40) sees [p, 100, 1i64 << 40]);
    check!(xWrite(p.cast_const().cast(), 100, 1 << 40) sees [p, 100, 1i64 << 40]);
    check!(xTruncate(1 << 41) sees [1i64 << 41]);
    check!(xSync(0x12) sees [0x12]);
    check!(xFileSize(p) sees [p]);
    check!(xSectorSize() sees []);
    check!(xDeviceCharacteristics() sees []);
    for level in 1..=4 {
        check!(xLock(level) sees [level]);
    }
    for level in [1, 0] {
        check!(xUnlock(level) sees [level]);
    }
    check!(xCheckReservedLock(p.cast()) sees [p]);
    check!(xShmLock(3, 5, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE) sees [3, 5, 10]);
    check!(xShmLock(3, 5, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE) sees [3, 5, 9]);
    check!(xShmLock(4, 1, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED) sees [4, 1, 6]);
    check!(xShmLock(4, 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED) sees [4, 1, 5]);
    // SQLite 3.54 sends 2, which is more than a yes; and a no stays a no.
    for extend in [0, 1, 2] {
        check!(xShmMap(7, 32768, extend, p.cast()) sees [7, 32768, extend, p]);
    }
    check!(xShmUnmap(0) sees [0]);
    check!(xShmUnmap(1) sees [1]);
    check!(xFetch(4096, 512, p.cast()) sees [4096, 512, p]);
    check!(xUnfetch(4096, p.cast()) sees [4096, p]);
    probe::calls();
    unsafe { m.xShmBarrier.unwrap()(file) };
    assert_eq!(probe::call(), Call { method: "xShmBarrier", object: inner, arguments: vec![] });
    opened.check_guard();
}

#[test]
fn what_a_method_writes_comes_back() {
    let mut opened = open("outs", probe::methods(3, |_| {}));
    let (file, m) = (opened.file(), opened.methods());
    for (rc, value) in [(0, 0), (0, 1), (ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, 1), (ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, 0)] {
        probe::answer(rc, value);
        let mut reserved: c_int = -7;
        assert_eq!(unsafe { m.xCheckReservedLock.unwrap()(file, &mut reserved) }, rc);
        assert_eq!(i64::from(reserved), value, "xCheckReservedLock");
    }
    probe::answer(0, 0x1234_5678_9abc);
    let mut size = -1;
    assert_eq!(unsafe { m.xFileSize.unwrap()(file, &mut size) }, 0);
    assert_eq!(size, 0x1234_5678_9abc);
    for method in [0, 1] {
        let mut page: *mut c_void = std::ptr::null_mut();
        let rc = match method {
            0 => unsafe { m.xFetch.unwrap()(file, 0, 1, &mut page) },
            _ => unsafe { m.xShmMap.unwrap()(file, 0, 32768, 0, &mut page) },
        };
        assert_eq!((rc, page as i64), (0, 0x1234_5678_9abc));
    }
}

#[test]
fn every_file_control_is_the_bases_to_answer() {
    let mut opened = open("controls", probe::methods(3, |_| {}));
    let (file, m) = (opened.file(), opened.methods());
    let control = m.xFileControl.unwrap();
    // All that SQLite knows, and some it does not. PDB is last but for the unknown ones: it makes us ask that connection.
    let all = (1..=60).filter(|&op| op != ffi::SQLITE_FCNTL_VFSNAME && op != ffi::SQLITE_FCNTL_PDB).chain([1000, -1, i32::MAX]);
    for op in all {
        for rc in [ffi::SQLITE_NOTFOUND, ffi::SQLITE_OK, 4242] {
            probe::answer(rc, 0);
            let mut argument = [0i64; 4];
            let pointer = argument.as_mut_ptr();
            assert_eq!(unsafe { control(file, op, pointer.cast()) }, rc, "opcode {op}");
            assert_eq!(probe::call().arguments, [op.into(), pointer as i64], "opcode {op}");
        }
    }
}

#[test]
fn blocking_lock_controls_reach_the_base_and_its_answer_comes_back() {
    assert_eq!((ffi::SQLITE_FCNTL_LOCK_TIMEOUT, ffi::SQLITE_FCNTL_BLOCK_ON_CONNECT), (34, 44));
    let mut opened = open("setlk", probe::methods(3, |_| {}));
    let (file, m) = (opened.file(), opened.methods());
    for op in [ffi::SQLITE_FCNTL_LOCK_TIMEOUT, ffi::SQLITE_FCNTL_BLOCK_ON_CONNECT] {
        probe::answer(ffi::SQLITE_OK, 250);
        let mut milliseconds: c_int = 2000;
        let argument = (&raw mut milliseconds).cast::<c_void>();
        assert_eq!(unsafe { m.xFileControl.unwrap()(file, op, argument) }, ffi::SQLITE_OK);
        assert_eq!(probe::call().arguments, [op.into(), argument as i64]);
        assert_eq!(milliseconds, 250, "the base's old timeout comes back through the argument");
    }
}

#[test]
fn the_vfs_name_has_ours_in_front_and_the_bases_is_freed() {
    let mut opened = open("name", probe::methods(3, |_| {}));
    let (file, m) = (opened.file(), opened.methods());
    let ask = |expected: Option<&str>| {
        let mut name: *mut c_char = std::ptr::null_mut();
        let rc = unsafe { m.xFileControl.unwrap()(file, ffi::SQLITE_FCNTL_VFSNAME, (&raw mut name).cast()) };
        assert_eq!(rc == ffi::SQLITE_OK, expected.is_some());
        match expected {
            Some(expected) => assert_eq!(unsafe { CStr::from_ptr(name) }.to_str().unwrap(), expected),
            None => assert!(name.is_null()),
        }
        unsafe { common::sqlite3_free(name) };
    };
    probe::answer(ffi::SQLITE_OK, 0);
    ask(Some("shim-name/probe"));
    probe::answer(ffi::SQLITE_NOTFOUND, 0);
    ask(None);
}

#[test]
fn every_method_of_the_vfs_arrives_with_the_bases_own_object() {
    let (base, shim) = shim_over("vfs-methods", 3);
    let v = unsafe { *shim };
    let mut out = [0i64; 8];
    let (p, name) = (out.as_mut_ptr(), c"/no/such/vfs-methods.db-journal".as_ptr());
    macro_rules! check {
        ($method:ident($($argument:expr),*) sees [$($seen:expr),*]) => {
            for rc in [0, 14, 10 | 10 << 8, 4242] {
                probe::answer(rc, 1);
                assert_eq!(unsafe { v.$method.unwrap()(shim $(, $argument)*) }, rc, stringify!($method));
                let seen = vec![$($seen as i64),*];
                assert_eq!(probe::call(), Call { method: stringify!($method), object: base as usize, arguments: seen });
            }
        };
    }
    check!(xDelete(name, 1) sees [name, 1]);
    check!(xDelete(name, 0) sees [name, 0]);
    check!(xAccess(name, 2, p.cast()) sees [name, 2, p]);
    check!(xFullPathname(name, 64, p.cast()) sees [name, 64, p]);
    check!(xRandomness(16, p.cast()) sees [16, p]);
    check!(xSleep(123) sees [123]);
    check!(xCurrentTime(p.cast()) sees [p]);
    check!(xGetLastError(64, p.cast()) sees [64, p]);
    check!(xCurrentTimeInt64(p) sees [p]);
    check!(xSetSystemCall(name, None) sees [name, 0]);
    // Those whose result is no code.
    probe::answer(0, 0x7000);
    assert_eq!(unsafe { v.xDlOpen.unwrap()(shim, name) } as i64, 0x7000);
    unsafe { v.xDlError.unwrap()(shim, 64, p.cast()) };
    assert!(unsafe { v.xDlSym.unwrap()(shim, p.cast(), name) }.is_none());
    unsafe { v.xDlClose.unwrap()(shim, p.cast()) };
    assert!(unsafe { v.xGetSystemCall.unwrap()(shim, name) }.is_none());
    assert_eq!(unsafe { v.xNextSystemCall.unwrap()(shim, name) } as i64, 0x7000);
    let calls = probe::calls();
    let names: Vec<_> = calls.iter().map(|call| call.method).collect();
    assert_eq!(names, ["xDlOpen", "xDlError", "xDlSym", "xDlClose", "xGetSystemCall", "xNextSystemCall"]);
    assert!(calls.iter().all(|call| call.object == base as usize));
    assert_eq!(calls[1].arguments, [64, p as i64]);
    assert_eq!(calls[2].arguments, [p as i64, name as i64]);
    assert_eq!(calls[3].arguments, [p as i64]);
    // What they write comes back.
    probe::answer(0, 1);
    let (mut exists, mut time): (c_int, i64) = (0, 0);
    unsafe { v.xAccess.unwrap()(shim, name, 0, &mut exists) };
    unsafe { v.xCurrentTimeInt64.unwrap()(shim, &mut time) };
    assert_eq!((exists, time), (1, 1));
}
