//! One cause for each incident: small scenarios for every rule, and the look-alikes that it must not take for one.
//!
//! | file | idea |
//! | --- | --- |
//! | `judge` | what is found in a scenario, a line an incident |
//! | `writers` | writers that meet writers: upgrades, waits, stale snapshots |
//! | `retries` | which attempts belong together, and what is the application's next try |
//! | `exclusive` | who keeps others out of the database file |
//! | `victims` | what the victim asked for, held and kept |
//! | `proof` | how it ended, the records that prove it, who was in the way |
//! | `worse` | what made it worse, up to each threshold |
//! | `checkpoints` | checkpoints, recovery, and what no application sees |
//! | `modes` | the journal mode changes, or the wal-index is out of order |
//! | `mixed` | traces of several hosts, holders outside the trace, hazards |
//! | `losses` | what becomes of a cause when records are missing |
//! | `told` | what the report says of all that, and what to change |
//!
//! What happened is known because the scenario was written so; random ones are in `tests/analysis/causes.rs`, real programs in `tests/scenarios`.

mod checkpoints;
mod exclusive;
mod judge;
mod losses;
mod mixed;
mod modes;
mod proof;
mod retries;
mod told;
mod victims;
mod worse;
mod writers;
