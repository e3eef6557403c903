//! The preloaded library: `LD_PRELOAD=liblocktrace.so`, which `locktrace run` sets. The program needs no change.
//!
//! A SQLite inside the program or in any of its modules is found by the shape of its data ([`crate::locate`]) and covered in place
//! ([`crate::vfs::cover`]). No function of SQLite's is interposed, so it does not matter whether the program's SQLite has symbols.
//!
//! Modules are searched
//!
//! * when this library is initialised: the program and all that it links;
//! * after each `dlopen` and `dlmopen` ([`hooks`]);
//! * when code of the program calls `pthread_mutexattr_init` for the first time: SQLite does that when it is initialised and for each
//!   connection, before it opens a file. So a module that was loaded in another way is found in time.
//!
//! A search costs nothing where no module was loaded since the last one. It waits for no lock that a `dlopen` holds while it runs constructors: the
//! loader's list of modules has a lock of its own, held for moments.
//!
//! Built only with the feature `preload`.

mod hooks;

use crate::errno::SavedErrno;
use crate::locate::{self, Found, LinkMap, Module, Refused};
use crate::recorder::{self, notice};
use crate::vfs::cover;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The process is excluded, by `locktrace run --not`.
static EXCLUDED: AtomicBool = AtomicBool::new(false);
/// Modules may have been loaded since the last search.
static PENDING: AtomicBool = AtomicBool::new(true);
/// The process in which a thread is searching; 0 = none. It is a process number, so that the child of a fork during a search is not blocked.
static LOOKING: AtomicU32 = AtomicU32::new(0);
/// The loader's counters at the last search: modules loaded, modules unloaded.
static LOADED: AtomicU64 = AtomicU64::new(0);
static UNLOADED: AtomicU64 = AtomicU64::new(0);
/// The number of modules, from the first in the loader's list on, that were searched.
static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);
/// Mutexes that covered SQLites have made. A connection has one.
static MUTEXES: AtomicU64 = AtomicU64::new(0);

/// Code of the program that has called us, and whose module was searched.
static SITES: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// Runs when the loader has relocated the program and all that it links, before any of the program's own code.
extern "C" fn start() {
    silence();
    if is_excluded() {
        EXCLUDED.store(true, Ordering::Relaxed);
        return;
    }
    hooks::prepare();
    // A child must not find the loader's list locked by a thread that it does not have.
    // SAFETY: functions of this library, which is never unloaded.
    unsafe {
        libc::pthread_atfork(Some(locate::before_fork), Some(locate::after_fork_in_parent), Some(locate::after_fork_in_child));
    }
    look();
}

/// Runs when the program exits normally. Writes a note where a SQLite was covered and nothing was recorded.
extern "C" fn end() {
    if EXCLUDED.load(Ordering::Relaxed) {
        notice::note(notice::Kind::Excluded, b"", format_args!("--not"));
        return;
    }
    if cover::count() == 0 || recorder::has_log() {
        return;
    }
    // Two or more: one when SQLite is initialised, and one for each connection.
    if MUTEXES.load(Ordering::Relaxed) >= 2 {
        notice::note(notice::Kind::Memory, b"", format_args!("connections were opened, but no database file"));
    } else {
        notice::note(notice::Kind::Covered, b"", format_args!("no database was opened"));
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

/// Keeps a panic of ours, which would be an error, off the program's standard error. This library has its own copy of the standard library, so
/// panics of the program are not affected.
pub(crate) fn silence() {
    // A function without captured values takes no memory.
    std::panic::set_hook(Box::new(|_| {}));
}

/// Whether the file name of this process's program is in `LOCKTRACE_NOT`, a list with colons.
fn is_excluded() -> bool {
    let Some(list) = recorder::variable(c"LOCKTRACE_NOT") else { return false };
    let mut room = [0; 1024];
    let Some(path) = crate::sys::read_link(c"/proc/self/exe", &mut room) else { return false };
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    list.to_bytes().split(|&byte| byte == b':').any(|excluded| excluded == name)
}

/// The code at `site` makes a mutex.
fn called_from(site: usize) {
    if EXCLUDED.load(Ordering::Relaxed) {
        return;
    }
    let place = SITES.get(site / 4 % SITES.len());
    if PENDING.load(Ordering::Relaxed) || place.is_none_or(|place| place.load(Ordering::Relaxed) != site) {
        look();
        if let Some(place) = place {
            place.store(site, Ordering::Relaxed);
        }
    }
    if cover::has(site) {
        MUTEXES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Searches the modules that were loaded since the last search.
fn look() {
    if EXCLUDED.load(Ordering::Relaxed) {
        return;
    }
    let (loaded, unloaded) = locate::generation();
    let same = (loaded, unloaded) == (LOADED.load(Ordering::Acquire), UNLOADED.load(Ordering::Acquire));
    if same && !PENDING.load(Ordering::Relaxed) {
        return;
    }
    let _errno = SavedErrno::save();
    one_at_a_time(|| {
        PENDING.store(false, Ordering::Relaxed);
        let all = unloaded != UNLOADED.load(Ordering::Relaxed);
        if all {
            cover::begin();
            SITES.iter().for_each(|site| site.store(0, Ordering::Relaxed));
        }
        let skipped = if all { 0 } else { LOOKED_AT.load(Ordering::Relaxed) };
        let (mut number, mut covered, mut unfinished, mut full) = (0, false, false, None);
        let mut wanted = |module: &Module| {
            number += 1;
            if all {
                cover::is_loaded(module);
            }
            number > skipped && !module.contains(look as *const () as usize)
        };
        // Shared with `visit`, which is called right after `wanted` for the same module.
        let mut refused = [(None, Refused::Unreadable); 4];
        let mut count = 0;
        // SAFETY: the loader's list is locked, so the module cannot be unloaded; `one_at_a_time` excludes other threads.
        let covers = |found: &Found| unsafe { cover::cover(found) }.is_some();
        let seen = locate::scan(&mut wanted, &mut |module, found| match found {
            Ok(found) if covers(&found) => covered = true,
            Ok(_) => full = Some(*module),
            Err(Refused::NotRelocated) => unfinished = true,
            Err(why) => {
                if let Some(free) = refused.get_mut(count) {
                    *free = (Some(*module), why);
                    count += 1;
                }
            }
        });
        if all {
            cover::end();
        }
        // A module that is being loaded is searched later.
        if unfinished {
            PENDING.store(true, Ordering::Relaxed);
        } else {
            LOOKED_AT.store(number, Ordering::Relaxed);
        }
        // Also for the note about a SQLite that is left alone.
        if covered || count > 0 || full.is_some() {
            configure();
        }
        LOADED.store(seen.0, Ordering::Release);
        UNLOADED.store(seen.1, Ordering::Release);
        for (module, why) in refused.iter().filter_map(|(module, why)| Some((module.as_ref()?, why))) {
            say_why_not(module, *why);
        }
        if let Some(module) = full {
            say(&module, "there is no memory left for another SQLite");
        }
    });
}

/// Searches the namespace of a handle that `dlmopen` returned.
///
/// # Safety
/// The handle is open.
unsafe fn look_beside(handle: *const LinkMap) {
    let _errno = SavedErrno::save();
    // A SQLite that is covered already counts as changed, and is left alone.
    one_at_a_time(|| {
        // SAFETY: passed on; the handle keeps the module loaded.
        unsafe {
            locate::scan_namespace(handle, &mut |_, found| {
                let _ = found.is_ok_and(|found| cover::cover(&found).is_some());
            });
        }
        configure();
    });
}

/// Has the recorder read its settings, while the program starts or loads its SQLite: later the environment may be gone.
fn configure() {
    if let Err(why) = recorder::configure_from_env() {
        notice::once(notice::Kind::Config, format_args!("{why}. The program runs on untraced"));
    }
}

/// Writes a note that a SQLite is left alone.
fn say_why_not(module: &Module, why: Refused) {
    let reason = match why {
        // Covered before, by us or by another copy of this library.
        Refused::Foreign => return,
        Refused::NotRelocated => return,
        Refused::Cfi | Refused::Name => "it is built with control-flow integrity, which would end the program",
        Refused::NotWritable => "its VFS objects cannot be written",
        Refused::Mismatch => "a function of its VFS objects was replaced",
        Refused::Unreadable => "its module cannot be read",
    };
    say(module, reason);
}

fn say(module: &Module, reason: &str) {
    // SAFETY: null, or the loader's own name of a module that was loaded a moment ago.
    let name = if module.name.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(module.name) }.to_bytes() };
    notice::note(notice::Kind::NotCovered, name, format_args!("{reason}"));
}

/// Runs this on one thread at a time. It does not run if another thread takes long.
fn one_at_a_time(work: impl FnOnce()) {
    let me = crate::recorder::pid();
    for _ in 0..10_000 {
        let looking = LOOKING.load(Ordering::Acquire);
        let free = looking == 0 || looking != me;
        if free && LOOKING.compare_exchange(looking, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            work();
            LOOKING.store(0, Ordering::Release);
            return;
        }
        std::thread::yield_now();
    }
}
