//! Programs that are killed, starved, stopped and multiplied while they are recorded.
//!
//! | file | idea |
//! | --- | --- |
//! | `kill` | `kill -9` at any instant |
//! | `stop` | a process that is stopped wherever it happens to be |
//! | `many` | thousands of short processes and threads |
//! | `misfortunes` | no descriptor, no memory, no room, no directory |
//! | `ways` | ways to start programs and to load libraries |
//! | `victim`, `counters` | the program that is killed, and what it had done by then |
#![allow(clippy::unwrap_used)]
#![allow(clippy::undocumented_unsafe_blocks)] // Tests of C interfaces; each call is the documented one.
#![cfg(feature = "cli")]

#[path = "../live/mod.rs"]
mod live;
#[path = "../place/mod.rs"]
mod place;

mod counters;
mod kill;
mod many;
mod misfortunes;
mod stop;
mod victim;
mod ways;

/// Knuth's MMIX generator, seeded with the time: random enough for instants.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new() -> Random {
        Random(std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64)
    }

    /// A number below this one.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
