//! The state of a thing's name in a log: written once, and tried again where there was no room.
#![forbid(unsafe_code)]

use super::failure::Failure;
use std::sync::atomic::{AtomicU32, Ordering};

/// The state of one name. The serial numbers of logs begin with 1.
#[derive(Debug, Default)]
pub(super) struct NameState {
    /// The log it is named in, or is being named in.
    done: AtomicU32,
    /// The log it should be named in, but is not.
    missed: AtomicU32,
}

/// The outcome of an attempt to name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It has its name.
    Known,
    /// It has its name now, and was counted as missed before.
    Recovered,
    /// It has none, and is to be counted.
    Missed(Failure),
    /// It still has none.
    StillMissed(Failure),
}

impl NameState {
    /// Nothing is named.
    pub const fn new() -> NameState {
        NameState { done: AtomicU32::new(0), missed: AtomicU32::new(0) }
    }

    /// Names it in this log, unless it has its name there.
    pub fn name(&self, serial: u32, write: impl FnOnce() -> Result<(), Failure>) -> Outcome {
        if self.is_done(serial) || self.done.swap(serial, Ordering::Relaxed) == serial {
            return Outcome::Known;
        }
        match write() {
            Ok(()) if self.missed.swap(0, Ordering::Relaxed) == serial => Outcome::Recovered,
            Ok(()) => Outcome::Known,
            Err(failure) => {
                self.done.store(0, Ordering::Relaxed);
                match self.missed.swap(serial, Ordering::Relaxed) == serial {
                    true => Outcome::StillMissed(failure),
                    false => Outcome::Missed(failure),
                }
            }
        }
    }

    /// Whether it has its name in this log, or is being named.
    pub fn is_done(&self, serial: u32) -> bool {
        self.done.load(Ordering::Relaxed) == serial
    }

    /// Whether it should be named in this log, but is not.
    pub fn is_missed(&self, serial: u32) -> bool {
        self.missed.load(Ordering::Relaxed) == serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_once_and_counted_once() {
        let (thing, failure) = (NameState::new(), Failure::new("full"));
        assert_eq!(thing.name(1, || Err(failure)), Outcome::Missed(failure));
        assert!(thing.is_missed(1) && !thing.is_missed(2));
        assert_eq!(thing.name(1, || Err(failure)), Outcome::StillMissed(failure));
        assert_eq!(thing.name(1, || Ok(())), Outcome::Recovered);
        assert_eq!(thing.name(1, || panic!("it has its name")), Outcome::Known);
        assert_eq!(thing.name(2, || Ok(())), Outcome::Known);
        assert!(!thing.is_missed(1) && !thing.is_missed(2));
    }
}
