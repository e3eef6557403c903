//! The functions of the C library that the dynamic linker finds here first. Each calls the C library's own.
//!
//! | function | why |
//! | --- | --- |
//! | `dlopen`, `dlmopen` | a new module may have a SQLite |
//! | `pthread_mutexattr_init` | SQLite calls it before it opens a file; its module may have been loaded in another way |
//! | `prctl`, `syscall` | a seccomp filter may forbid system calls: the recorder makes everything ready before |

use super::{PENDING, called_from, look, look_beside};
use crate::locate::{self, LinkMap};
use crate::recorder;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of the C library, looked up once.
struct Real {
    name: &'static CStr,
    function: AtomicPtr<c_void>,
}

impl Real {
    const fn new(name: &'static CStr) -> Real {
        Real { name, function: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address; null where there is none. [`prepare`] looks it up before the program runs, so that no lock of the loader's is taken here.
    fn get(&self) -> *mut c_void {
        let known = self.function.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a NUL-terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.function.store(found, Ordering::Relaxed);
        found
    }
}

static MUTEXATTR_INIT: Real = Real::new(c"pthread_mutexattr_init");
static DLOPEN: Real = Real::new(c"dlopen");
static DLMOPEN: Real = Real::new(c"dlmopen");
static PRCTL: Real = Real::new(c"prctl");
static SYSCALL: Real = Real::new(c"syscall");

/// Looks up the C library's functions.
pub(super) fn prepare() {
    for real in [&MUTEXATTR_INIT, &DLOPEN, &DLMOPEN, &PRCTL, &SYSCALL] {
        real.get();
    }
}

type MutexattrInit = unsafe extern "C" fn(*mut libc::pthread_mutexattr_t) -> c_int;
type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dlmopen = unsafe extern "C" fn(c_long, *const c_char, c_int) -> *mut c_void;

unsafe extern "C" fn mutexattr_init(attributes: *mut libc::pthread_mutexattr_t, site: usize) -> c_int {
    called_from(site);
    let real = MUTEXATTR_INIT.get();
    if real.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: the C library's function of this name, with the caller's argument.
    unsafe { std::mem::transmute::<*mut c_void, MutexattrInit>(real)(attributes) }
}

/// The function for a `dlopen` of this name by the code at `site`: [`open`], which searches the modules afterwards, or the C library's
/// own one.
///
/// For a name without a slash the loader searches in places that depend on the caller, and so does `$ORIGIN`: there the caller must stay the
/// program. Its modules are searched at the next call. A library that prefers its own dependencies (`RTLD_DEEPBIND`) never calls us, so there would
/// be no next call: we open it, where that makes no difference.
unsafe extern "C" fn route(name: *const c_char, flags: c_int, site: usize) -> *const c_void {
    // SAFETY: null, or NUL-terminated.
    let name = if name.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    let alike = || name.contains(&b'/') || flags & libc::RTLD_DEEPBIND != 0 && !name.is_empty() && locate::looks_alike(site);
    if !name.contains(&b'$') && alike() {
        return open as *const () as *const c_void;
    }
    PENDING.store(true, Ordering::Relaxed);
    DLOPEN.get()
}

unsafe extern "C" fn open(name: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: the C library's function of this name, with the caller's arguments.
    let handle = unsafe { std::mem::transmute::<*mut c_void, Dlopen>(DLOPEN.get())(name, flags) };
    if !handle.is_null() {
        look();
    }
    handle
}

/// The same for `dlmopen`.
unsafe extern "C" fn route_beside(namespace: c_long, name: *const c_char) -> *const c_void {
    let _ = namespace;
    // SAFETY: null, or NUL-terminated.
    let name = if name.is_null() { &b""[..] } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    if name.contains(&b'/') && !name.contains(&b'$') {
        return open_beside as *const () as *const c_void;
    }
    DLMOPEN.get()
}

unsafe extern "C" fn open_beside(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: the C library's function of this name, with the caller's arguments.
    let handle = unsafe { std::mem::transmute::<*mut c_void, Dlmopen>(DLMOPEN.get())(namespace, name, flags) };
    if !handle.is_null() {
        look();
        // SAFETY: opened just now.
        unsafe { look_beside(handle as *const LinkMap) };
    }
    handle
}

/// Runs before `prctl` with these first arguments. Browsers pass a null filter to test for support, which installs none.
unsafe extern "C" fn before_prctl(option: c_int, mode: c_ulong, filter: *const c_void) -> *const c_void {
    if option == libc::PR_SET_SECCOMP && !(mode == libc::SECCOMP_MODE_FILTER.into() && filter.is_null()) {
        recorder::seal();
    }
    PRCTL.get()
}

/// The same before `syscall` with this number and these first arguments.
unsafe extern "C" fn before_syscall(number: c_long, operation: c_uint, _flags: c_uint, filter: *const c_void) -> *const c_void {
    if number == libc::SYS_seccomp
        && (operation == libc::SECCOMP_SET_MODE_STRICT || operation == libc::SECCOMP_SET_MODE_FILTER && !filter.is_null())
    {
        recorder::seal();
    }
    SYSCALL.get()
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::*;
    use std::arch::naked_asm;

    /// The C library's `pthread_mutexattr_init`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn pthread_mutexattr_init(attributes: *mut libc::pthread_mutexattr_t) -> c_int {
        // The return address becomes the second argument.
        naked_asm!("endbr64", "mov rsi, [rsp]", "jmp {}", sym mutexattr_init)
    }

    /// The C library's `dlopen`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
        // A jump keeps the caller's return address, so that the C library sees the program as its caller.
        naked_asm!(
            "endbr64", "mov rdx, [rsp]", "push rdi", "push rsi", "sub rsp, 8", "call {}", "add rsp, 8", "pop rsi", "pop rdi",
            "jmp rax",
            sym route
        )
    }

    /// The C library's `dlmopen`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn dlmopen(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void {
        naked_asm!(
            "endbr64", "push rdi", "push rsi", "push rdx", "call {}", "pop rdx", "pop rsi", "pop rdi", "jmp rax",
            sym route_beside
        )
    }

    /// The C library's `prctl`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn prctl(option: c_int) -> c_int {
        // All registers that can hold an argument are restored before the C library's function begins.
        naked_asm!(
            "endbr64", "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "call {}", "pop r8", "pop rcx", "pop rdx",
            "pop rsi", "pop rdi", "jmp rax",
            sym before_prctl
        )
    }

    /// The C library's `syscall`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn syscall(number: c_long) -> c_long {
        naked_asm!(
            "endbr64", "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8", "call {}",
            "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi", "jmp rax",
            sym before_syscall
        )
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::*;
    use std::arch::naked_asm;

    /// The C library's `pthread_mutexattr_init`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn pthread_mutexattr_init(attributes: *mut libc::pthread_mutexattr_t) -> c_int {
        // The return address becomes the second argument.
        naked_asm!("mov x1, x30", "b {}", sym mutexattr_init)
    }

    /// The C library's `dlopen`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
        naked_asm!(
            "stp x29, x30, [sp, #-32]!", "stp x0, x1, [sp, #16]", "mov x2, x30", "bl {}", "mov x16, x0", "ldp x0, x1, [sp, #16]",
            "ldp x29, x30, [sp], #32", "br x16",
            sym route
        )
    }

    /// The C library's `dlmopen`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn dlmopen(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void {
        naked_asm!(
            "stp x29, x30, [sp, #-48]!", "stp x0, x1, [sp, #16]", "str x2, [sp, #32]", "bl {}", "mov x16, x0",
            "ldr x2, [sp, #32]", "ldp x0, x1, [sp, #16]", "ldp x29, x30, [sp], #48", "br x16",
            sym route_beside
        )
    }
}
