//! locktrace reads what its shim records.
pub mod analysis;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod report;
pub mod trace;
