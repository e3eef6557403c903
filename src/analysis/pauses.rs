//! How long SQLite pauses between two attempts, and how often it tries.
//!
//! What tells a statement that still waits from the application's next one. Read by `waits`, `refused` and `decide`. Pure.
#![forbid(unsafe_code)]

/// An attempt that follows the last one by more than this, without a sleep of SQLite's in between, is the application's next try: no
/// busy handler in use waits that long between two attempts, and SQLite's own sleeps 100 ms at most.
pub(crate) const PATIENCE_NS: u64 = 200_000_000;

/// Who finds the wal-index out of order, and nobody at work on it, sleeps up to 323 ms between two attempts (wal.c: `walTryBeginRead`).
pub(crate) const RETRY_PATIENCE_NS: u64 = 650_000_000;

/// After so many attempts it answers `SQLITE_PROTOCOL`.
pub(crate) const RETRIES: u32 = 100;

/// What SQLite's own busy handler sleeps after the first refusals, and after all later ones, in microseconds (main.c:
/// `sqliteDefaultBusyCallback`). Where less is left of the timeout it sleeps that, and gives up after the next refusal.
const DELAYS_US: [u64; 12] = [1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 25_000, 25_000, 50_000, 50_000, 100_000];

/// Whether the sleep with this number, counted from 0, was cut short by the end of the timeout.
pub(crate) fn is_cut(number: u32, us: u64) -> bool {
    us < DELAYS_US[(number as usize).min(DELAYS_US.len() - 1)]
}
