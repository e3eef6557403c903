//! What the survival tests have in common: programs that are killed, starved and stopped while they are recorded.
#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses its own part.
#![allow(clippy::undocumented_unsafe_blocks)] // Tests of C interfaces; each call is the documented one.

pub mod counters;
pub mod victim;

/// Knuth's MMIX generator, seeded with the time: random enough for instants.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        Random(std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64)
    }

    /// A number below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
