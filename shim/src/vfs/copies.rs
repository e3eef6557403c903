//! The signs by which another copy of this library, linked into the program or loaded beside this one, recognises our VFS: names that we answer as
//! system calls.

use std::ffi::CStr;

/// The name that we answer, and no other VFS does.
pub(super) const SIGNATURE: &CStr = c"locktrace";

/// The same, asked by a program that links the crate. Where another copy records in its place, the trace of that copy shows that.
pub(super) const LINKED: &CStr = c"locktrace-linked";

/// The answer: a system call that does nothing.
pub(super) unsafe extern "C" fn x_get_system_call_here() {}
