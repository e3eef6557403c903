//! Names in the file of this test program.

use crate::locate::memory::Process;
use crate::locate::{file, loader};
use std::ffi::{c_int, c_void};

/// Not exported: only the file names it.
#[unsafe(no_mangle)]
extern "C" fn sqlite3_locktrace_is_no_function() -> c_int {
    7
}

/// The addresses that the file of this test's module gives to some names.
fn find(names: &mut file::Names<'_>, go_on: bool) -> Option<()> {
    let memory = Process::default();
    let mut found = None;
    loader::each(&mut |_, info| {
        if let Some((module, image)) =
            loader::module(&memory, info).filter(|(module, _)| module.contains(find as *const c_void as usize))
        {
            found = file::find(&memory, &module, &image, names, &mut || go_on);
        }
        true
    });
    found
}

#[test]
fn a_function_has_the_address_its_file_gives() {
    let mut names = [(&b"sqlite3_locktrace_is_no_function\0"[..], 0), (b"sqlite3_locktrace_is_no\0", 0), (b"sqlite3_sql\0", 0)];
    assert_eq!(find(&mut names, true), Some(()));
    assert_eq!(names.map(|(_, address)| address), [sqlite3_locktrace_is_no_function as *const c_void as usize, 0, 0]);
    assert_eq!(find(&mut names, false), None, "out of time");
}

#[test]
fn the_file_of_another_program_is_not_read() {
    let memory = Process::default();
    loader::each(&mut |_, info| {
        if let Some((mut module, image)) =
            loader::module(&memory, info).filter(|(module, _)| module.contains(find as *const c_void as usize))
        {
            for path in [c"/bin/true", c"/nowhere", c"/dev/null", c"/proc/self/cmdline", c"/usr"] {
                module.name = path.as_ptr();
                assert_eq!(file::find(&memory, &module, &image, &mut [(b"sqlite3_sql\0", 0)], &mut || true), None, "{path:?}");
            }
        }
        true
    });
}
