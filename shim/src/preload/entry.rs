//! The three functions as the dynamic linker finds them: they learn where they were called from, and go on in [`super`].

#[cfg(target_arch = "x86_64")]
mod arch {
    use crate::preload::*;
    use std::arch::naked_asm;

    // Each loads the return address into the first argument register that the function itself does not use, and jumps on with the
    // stack as it was: what the inner function returns goes to the caller.

    /// `sqlite3_open`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open(name: *const c_char, db: *mut *mut sqlite3) -> c_int {
        naked_asm!("endbr64", "mov rdx, [rsp]", "jmp {}", sym open)
    }

    /// `sqlite3_open16`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open16(name: *const c_void, db: *mut *mut sqlite3) -> c_int {
        naked_asm!("endbr64", "mov rdx, [rsp]", "jmp {}", sym open16)
    }

    /// `sqlite3_open_v2`, of the caller's own SQLite.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open_v2(
        name: *const c_char,
        db: *mut *mut sqlite3,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int {
        naked_asm!("endbr64", "mov r8, [rsp]", "jmp {}", sym open_v2)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    use crate::preload::*;

    /// `sqlite3_open`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open(name: *const c_char, db: *mut *mut sqlite3) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open(name, db, 0) }
    }

    /// `sqlite3_open16`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open16(name: *const c_void, db: *mut *mut sqlite3) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open16(name, db, 0) }
    }

    /// `sqlite3_open_v2`, of the SQLite that comes after us.
    ///
    /// # Safety
    /// As <https://sqlite.org/c3ref/open.html>.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sqlite3_open_v2(
        name: *const c_char,
        db: *mut *mut sqlite3,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { open_v2(name, db, flags, vfs, 0) }
    }
}

pub use arch::{sqlite3_open, sqlite3_open_v2, sqlite3_open16};
