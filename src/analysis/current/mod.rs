//! The current state of running programs: which connection holds which lock, and which connection waits for which.
//!
//! [`Current`] takes the records of a trace that is being written ([`crate::trace::follow`]), first log by log, then in time order. It gives a
//! [`Snapshot`] on request. It is pure: the clock is a parameter ([`When`]). Memory grows with the open connections, the databases and the processes,
//! not with the number of records. `locktrace top` shows it.
//!
//! Every record carries its connection's whole lock state. So one record of a connection shows all its locks, even if the records of the calls that took
//! them are gone. Three things are unknown. A connection without any record left in the ring of its process does not show. A hold whose beginning was
//! not seen has lasted at least as long as its age. After lost records, a connection without a later record may have released its locks
//! ([`Row::doubted`]).
#![forbid(unsafe_code)]

mod live_state;
mod meter;
mod snapshot;

pub use live_state::{Current, LAG_NS, When};
pub use meter::Meter;
pub use snapshot::{DatabaseRow, HeldLock, ProcessRow, Row, Snapshot, Want};
