//! The causes of refusals: their table, the order of their rules, contributing causes, and hazards.
//!
//! A cause is one `entry`, in the file of its family. `decide` finds the cause of a wait.
#![forbid(unsafe_code)]

pub(crate) mod case;
pub mod cause;
mod checkpoint;
pub(crate) mod contributing;
pub(crate) mod decide;
pub(crate) mod entry;
pub(crate) mod evidence;
mod exclusive_holder;
pub mod hazards;
mod identifiers;
mod lifecycle;
mod recovery;
pub(crate) mod remedy;
mod rollback;
pub mod sql;
mod timeout;
mod unproven;
mod untraced;
mod upgrade;
