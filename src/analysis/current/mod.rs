//! How things stand in running programs: who holds what at this moment, and who waits for whom.
//!
//! In come the records of a trace that is being written ([`crate::trace::follow`]), in time order or, to begin with, log by log; out goes a
//! [`Snapshot`] whenever it is asked for. Pure: the clock is a parameter ([`When`]). Memory grows with the connections that are open, the
//! databases and the processes, never with the number of records. Called by `locktrace top`.
//!
//! Every record carries its connection's whole lock state, so one record of a connection is enough to know what it holds, even if
//! the record of the call that took it is gone. Not known are: holds of connections that have no record left at all in the ring of their
//! process; since when a hold lasts whose beginning was not seen (its age is a lower bound); and, where records were lost, whether a connection without a record
//! since then still holds what it held ([`Row::doubted`]).
#![forbid(unsafe_code)]

mod live_state;
mod meter;
mod snapshot;

pub use live_state::{Current, LAG_NS, When};
pub use meter::Meter;
pub use snapshot::{DatabaseRow, HeldLock, ProcessRow, Row, Snapshot, Want};
