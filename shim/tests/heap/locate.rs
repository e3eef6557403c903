//! The search for SQLites in this process: the linked one, and the system's while it is loaded.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common;
use crate::heap;
use locktrace::api::Api;
use locktrace::locate::{self, Found, Module, Refused};
use std::ffi::{CStr, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What `scan` visits is the process's; other tests load and unload.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn scan() -> Vec<(Module, Result<Found, Refused>)> {
    let mut found = Vec::new();
    locate::scan(&mut |_| true, &mut |module, result| found.push((*module, result)));
    found
}

fn own(found: &[(Module, Result<Found, Refused>)]) -> Vec<Found> {
    let here = scan as *const c_void as usize;
    let own = found.iter().filter(|(module, _)| module.contains(here));
    own.map(|(_, result)| result.unwrap()).collect()
}

fn assert_same(api: &Api, linked: &Api) {
    macro_rules! same {
        ($($field:ident)*) => { $(assert_eq!(api.$field as *const c_void, linked.$field as *const c_void, stringify!($field));)* };
    }
    same!(libversion libversion_number vfs_find vfs_register vfs_unregister mprintf next_stmt stmt_busy stmt_readonly sql);
    macro_rules! same {
        ($($field:ident)*) => {
            $(assert_eq!(api.$field.unwrap() as *const c_void, linked.$field.unwrap() as *const c_void, stringify!($field));)*
        };
    }
    same!(sourceid compileoption_get);
}

#[test]
fn the_linked_sqlite_is_found_once() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let [found] = own(&scan())[..] else { panic!("one in this program") };
    let mut at = found.vfs;
    for name in ["unix", "unix-none", "unix-dotfile", "unix-excl"] {
        assert_eq!(at, common::find(Some(name)));
        at = unsafe { at.add(1) };
    }
    assert!(found.alone);
    assert_same(&unsafe { locate::api(&found) }.unwrap(), &common::api());
}

#[test]
fn the_systems_sqlite_is_found_while_it_is_loaded() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let before = scan().len();
    let generation = locate::generation();
    let handle = unsafe { libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "libsqlite3-0 is needed");
    assert_ne!(locate::generation(), generation);

    let all = scan();
    assert_eq!(all.len(), before + 1);
    assert_eq!(own(&all).len(), 1);
    let symbol = |name: &CStr| unsafe { libc::dlsym(handle, name.as_ptr()) };
    let version = symbol(c"sqlite3_libversion");
    let (module, found) = all.iter().find(|(module, _)| module.contains(version as usize)).unwrap();
    let found = found.unwrap();
    assert!(unsafe { CStr::from_ptr(module.name) }.to_str().unwrap().ends_with("libsqlite3.so.0"));
    assert_eq!(module.build_id().len(), 20);
    assert_same(&unsafe { locate::api(&found) }.unwrap(), &unsafe { Api::from_symbols(symbol) }.unwrap());

    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
    assert_eq!(scan().len(), before);
}

#[test]
fn nothing_is_allocated_and_errno_is_kept() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let (mut found, mut functions) = (None, 0);
    unsafe { *libc::__errno_location() = 7 };
    let used = heap::used(|| {
        locate::scan(&mut |_| true, &mut |_, result| found = result.ok().or(found));
        if let Some(found) = found {
            functions = unsafe { locate::api(&found) }.map_or(0, |api| unsafe { (api.libversion_number)() });
        }
    });
    assert_eq!((used, unsafe { *libc::__errno_location() }), (0, 7));
    assert!(functions > 3_000_000);
}

#[test]
fn a_filter_leaves_modules_out() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let here = scan as *const c_void as usize;
    let mut found = 0;
    let seen = locate::scan(&mut |module| !module.contains(here), &mut |_, _| found += 1);
    assert_eq!((found, seen), (0, locate::generation()));
}

#[test]
fn another_namespace_is_looked_at_by_its_handle() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let before = scan().len();
    let handle = unsafe { libc::dlmopen(libc::LM_ID_NEWLM, c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    assert_eq!(scan().len(), before, "the loader's list is that of our namespace");
    let mut found = Vec::new();
    unsafe { locate::scan_namespace(handle.cast(), &mut |module, result| found.push((*module, result))) };
    let [(module, Ok(found))] = found[..] else { panic!("{found:?}") };
    let version = unsafe { libc::dlsym(handle, c"sqlite3_libversion".as_ptr()) };
    assert!(module.contains(version as usize));
    assert_eq!(unsafe { locate::api(&found) }.unwrap().libversion as *const c_void, version);
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
}

/// The loader unmaps a module only when nobody is in its list.
#[test]
fn modules_come_and_go_during_the_search() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let handle = unsafe { libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                    assert!(!handle.is_null());
                    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
                }
            });
        }
        let mut with = 0;
        for _ in 0..500 {
            let all = scan();
            // A module that is being loaded has its objects, and may not be relocated yet.
            assert!(all.iter().all(|(_, result)| matches!(result, Ok(_) | Err(Refused::NotRelocated))), "{all:?}");
            with += usize::from(all.len() > 1);
        }
        done.store(true, Ordering::Relaxed);
        println!("{with} of 500 scans met it");
    });
}

/// A child inherits the loader's list locked if another thread is in it; with the handlers, none is.
#[test]
fn children_forked_during_a_search_can_load_modules() {
    common::alone(|_| fork_during_searches(), common::quiet);
}

fn fork_during_searches() {
    let handlers = (locate::before_fork, locate::after_fork_in_parent, locate::after_fork_in_child);
    assert_eq!(unsafe { libc::pthread_atfork(Some(handlers.0), Some(handlers.1), Some(handlers.2)) }, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                locate::scan(&mut |_| true, &mut |_, _| ());
            }
        });
        let mut hung = 0;
        for _ in 0..100 {
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                unsafe { libc::alarm(5) };
                let mut modules = 0;
                locate::scan(&mut |_| true, &mut |_, _| modules += 1);
                let handle = unsafe { libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW) };
                unsafe { libc::_exit(i32::from(handle.is_null() || modules == 0)) };
            }
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            hung += i32::from(status != 0);
            if hung > 0 {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(hung, 0);
    });
}
