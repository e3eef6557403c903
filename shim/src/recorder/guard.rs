//! A guard against panics, for cold paths that SQLite calls.

/// Runs this. A panic, which would be an error of ours, ends here: it must not unwind into SQLite's C. Then the value is the default one.
pub(super) fn guarded<R: Default>(f: impl FnOnce() -> R) -> R {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_default()
}
