//! locktrace reads what its shim records.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod report;
pub mod trace;
