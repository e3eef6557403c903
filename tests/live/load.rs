//! Workloads of many threads and processes on one database.

/// A child of the load test.
pub fn child() {}
/// A child that is killed.
pub fn victim() {}
