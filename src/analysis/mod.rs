//! What happened: per database, who held which lock for how long, who was refused and by whom, who waited.
//!
//! In comes a [`Trace`]; out goes an [`Analysis`], which the reports render. Pure and streaming: one pass over the records, and memory
//! that grows with the number of connections that are open at a time but not with the length of the trace, nor with how much was refused.
//!
//! [`timeline`] follows each connection's locks, `blockers` finds the holders behind each refusal, [`waits`] joins refusals to
//! runs, [`database`] counts. [`holding`] watches over the holds that refused somebody, `decide` puts runs and holds together to an [`incident`], [`cause`] says
//! why, `settle` says when: [`totals`] counts them all, `listed` keeps those worth listing. [`hazard`] what else can go wrong. [`watch`] tells others of every hold as it goes by; [`now`] is for programs that are running. Nothing is guessed: what is not proven is called possible, unseen, unknown or unexplained.
#![forbid(unsafe_code)]

pub mod audit;
pub mod causes;
pub mod current;
mod findings;
pub mod incidents;
pub mod locks;
pub mod observer;
pub(crate) mod order;
mod pass;
pub mod waits;

pub use causes::cause::{Cause, Contributing, Evidence, Role};
pub use causes::hazards::{Hazard, HazardKind};
pub use findings::{Analysis, Options};
pub use incidents::incident::{Blocker, Incident, IncidentEnd, State};
pub use incidents::totals::Totals;
pub use locks::blocking_holds::BlockingHold;
pub use locks::databases::{Database, Distribution, LockStats, LongHold};
pub use locks::lock::{LockId, Request};
pub use locks::state::{ConnId, HoldEnd};
pub use observer::Observer;
pub use order::instants::Instant;
pub use waits::harmless::Harmless;
pub use waits::refusal::{Asked, Candidate, Refusal};
pub use waits::refusal_stats::RefusalStats;
pub use waits::wait::{Wait, WaitEnd};
