//! One cause for each incident: small scenarios for every rule, and the look-alikes that it must not take for one.
//!
//! | file | idea |
//! | --- | --- |
//! | `cases`, `cases/*.case` | what happened, and what must be found: most scenarios, as text, and their runner |
//! | `judge` | what is found in a trace, a line an incident |
//! | `header` | how often a reader may ask again for a half-written wal-index header |
//! | `proof` | the records that prove an incident, who waits for whom |
//! | `losses` | what becomes of a cause when records are missing |
//! | `mixed` | traces of several hosts, hazards |
//! | `report` | what the report says of all that, and what to change |
//!
//! What happened is known because the scenario was written so; random ones are in `tests/analysis/causes.rs`, real programs in `tests/scenarios`.

mod cases;
mod header;
mod judge;
mod losses;
mod mixed;
mod proof;
mod report;
