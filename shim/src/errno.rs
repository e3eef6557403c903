//! `errno`, which SQLite's unix VFS reads after its own calls have returned (`xGetLastError`, `sqlite3_system_errno`).

/// The `errno` of this thread, which is put back when this is dropped.
pub(crate) struct SavedErrno(pub(crate) libc::c_int);

impl SavedErrno {
    /// Remembers it.
    pub(crate) fn save() -> SavedErrno {
        // SAFETY: the location is this thread's own and always valid.
        SavedErrno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for SavedErrno {
    fn drop(&mut self) {
        // SAFETY: as in `save`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
