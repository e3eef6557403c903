//! What happened in a trace: who held which lock for how long, which connection was refused, who blocked it, and why.
//!
//! [`Analysis::of`] reads a [`Trace`](crate::trace::Trace) and returns the findings, which the reports render. It is pure and streaming: one pass over
//! the records. Its memory grows with the number of connections open at a time, not with the length of the trace or the number of refusals.
//! Nothing is guessed: an unproven finding is called possible, unseen, unknown or unexplained.
//!
//! # Words
//!
//! | word | what it means |
//! | --- | --- |
//! | lock | one of SQLite's locks in one mode: a level of the database file, or a slot of the wal-index ([`LockId`]) |
//! | hold | the time for which one connection has one lock, from the call that took it to the call that released it |
//! | holder | the connection that holds a lock |
//! | blocking hold | a hold that refused an attempt, or may have ([`BlockingHold`]) |
//! | hold end | how a hold ended: released by a recorded call, ended unseen, or open at the end of the trace ([`HoldEnd`]) |
//! | request | the lock or slots that an attempt asked for ([`Request`]) |
//! | refusal | one attempt that was refused ([`Refusal`]) |
//! | candidate | a connection, or its hold, that may have refused an attempt; *certain* if it held the lock throughout ([`Candidate`]) |
//! | blocker | a candidate that an incident names ([`Blocker`]) |
//! | wait | the refused attempts of one statement for one lock, with the sleeps between them ([`Wait`]) |
//! | wait end | how a wait ended: the lock was acquired, the connection gave up or went on without it, or the trace ended ([`WaitEnd`]) |
//! | harmless | a wait that no application notices ([`Harmless`]) |
//! | incident | a wait that an application can notice, or an upgrade from a stale snapshot ([`Incident`]) |
//! | victim | the connection that was refused in an incident |
//! | cause | why the victim was refused: exactly one for each incident ([`Cause`]) |
//! | contributing | a contributing cause: what made the incident worse ([`Contributing`]) |
//! | evidence | a record that a conclusion rests on ([`Evidence`]) |
//! | hazard | what can go wrong, found even if nothing was refused ([`Hazard`]) |
//! | observer | code that gets every hold and every stretch of work as a pass finds them ([`Observer`]) |
//! | log | the records of one process |
//! | instant | a time that compares across logs ([`Instant`]) |
//!
//! # Floors
//!
//! A file uses files of its own room and of lower floors only, and no files use each other in a circle. `tests/analysis/floors.rs` checks that.
//!
//! | floor | room | file | what it holds |
//! | --- | --- | --- | --- |
//! | 1 | `order` | `instants` | instants, and the nanoseconds between them |
//! | | | `gaps` | missing record numbers of a log |
//! | | | `coverage` | what was read of a log |
//! | | | `window` | numbered items: the latest at hand, the first ones kept |
//! | 1 | `framework` | | which framework or driver a process uses |
//! | 2 | `locks` | `lock` | locks, requests, and which lock refuses which request |
//! | | | `state` | the lock state of a connection, record by record; holds and their ends |
//! | | | `reading` | the read lock of a connection that asks for a further lock |
//! | | | `journal_mode` | whether a connection is in WAL mode |
//! | | | `wal_sizes` | bytes written to each -wal |
//! | | | `activity` | what a connection does while it holds a lock |
//! | | | `commits` | commits to the WAL, and upgrades from a stale snapshot |
//! | | | `blocking_holds` | the holds that refused an attempt |
//! | | | `databases` | which files are one database, and its counts |
//! | 3 | `waits` | `wait` | a wait, and the state of its connection before it |
//! | | | `busy_handler` | the delays of SQLite's busy handler |
//! | | | `follow` | which records belong to a wait, and which end it |
//! | | | `harmless` | waits that no application notices |
//! | | | `refusal` | a refused attempt and its candidates |
//! | | | `refusal_stats` | sums over all refused attempts |
//! | | | `conflicts` | the candidates of each refused attempt |
//! | | | `pending` | the queue of waits until each is decided |
//! | 3 | `audit` | `mod`, `holds`, `ranges` | the lock audit: two processes with locks that exclude each other |
//! | 3 | `observer` | | what a pass reports to an observer |
//! | 4 | `causes` | `cause` | the table of causes |
//! | | | `decide` | the order in which causes are tried |
//! | | | `entry` | what an entry of that table is |
//! | | | `case` | what a rule looks at |
//! | | | `evidence` | the records that prove a conclusion |
//! | | | `checkpoint`, `lifecycle`, `recovery`, `rollback`, `timeout`, `unproven`, `untraced`, `upgrade` | the entries, by family |
//! | | | `remedy` | changes that every framework has a setting for |
//! | | | `exclusive_holder` | what a connection that locks all others out is doing |
//! | | | `contributing` | contributing causes: the table and its rules |
//! | | | `hazards` | hazards: the table and what finds them |
//! | | | `identifiers` | enumerations with a table |
//! | | | `sql` | what kind of statement a SQL text is |
//! | 4 | `current` | `live_state`, `snapshot`, `meter` | the state of running programs |
//! | 5 | `incidents` | `incident` | an incident, and its blockers |
//! | | | `build` | the incident that a wait becomes |
//! | | | `starved_checkpoints` | checkpoints that one reader keeps from finishing |
//! | | | `keep` | which incidents are kept one by one |
//! | | | `totals` | sums over all incidents |
//! | 6 | `findings` | | the findings, as the reports read them |
//! | 7 | `pass` | `mod` | the pass: it gives each record to the parts below |
//! | | | `tables`, `logs`, `connections` | the tables that every part uses |
//! | | | `holds` | the effects of a hold that began or ended |
//! | | | `refusals` | the effects of a refused attempt |
//! | | | `finalize` | the decision about each wait, once nothing changes it |
//! | | | `observed` | the reports to the observer |
//! | | | `read_trace` | the reading of a whole trace, in one pass or two |
#![forbid(unsafe_code)]

pub mod audit;
pub mod causes;
pub mod current;
mod findings;
pub mod framework;
pub mod incidents;
pub mod locks;
pub mod observer;
pub(crate) mod order;
mod pass;
pub mod waits;

pub use causes::cause::Cause;
pub use causes::contributing::Contributing;
pub use causes::evidence::{Evidence, Role};
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
pub use waits::refusal::{Candidate, KernelQuery, Refusal};
pub use waits::refusal_stats::RefusalStats;
pub use waits::wait::{Wait, WaitEnd};
