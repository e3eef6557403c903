//! The current state of running programs: which connection holds what at this moment, and which waits for which.
//!
//! [`Current`] takes the records of a trace that is being written ([`crate::trace::follow`]), in time order or, to begin with, log by log. It gives a [`Snapshot`]
//! whenever it is asked for. It is pure: the clock is a parameter ([`When`]). Memory grows with the connections that are open, the databases and the processes,
//! never with the number of records. `locktrace top` shows it.
//!
//! Every record carries its connection's whole lock state. So one record of a connection shows what it holds, even if the record of the call that took it is gone.
//! Three things are not known. Connections without any record left in the ring of their process do not show. A hold whose beginning was not seen has lasted at
//! least as long as its age says. Where records were lost, a connection without a record since then may no longer hold what it held ([`Row::doubted`]).
#![forbid(unsafe_code)]

mod live_state;
mod meter;
mod snapshot;

pub use live_state::{Current, LAG_NS, When};
pub use meter::Meter;
pub use snapshot::{DatabaseRow, HeldLock, ProcessRow, Row, Snapshot, Want};
