//! The log's clock: the cheapest one that every process of this host shares.
//!
//! On x86-64 its ticks are the time stamp counter, if the processor reports it as invariant *and* the
//! kernel itself keeps time by it, which it does only where the cores' counters agree. On AArch64 they are the virtual counter,
//! on which all cores agree by the architecture. Otherwise they are nanoseconds of `CLOCK_MONOTONIC`. Ticks of one kind and one boot compare across
//! processes. An [`Anchor`] relates them to wall time, for display only.

use crate::format::header::{Anchor, ClockKind};
use crate::memory;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// 0 = not chosen yet, 1 = the processor's counter, 2 = `CLOCK_MONOTONIC`.
static CHOICE: AtomicU8 = AtomicU8::new(0);

/// The processor's counter. Not ordered against the instructions around it: a few nanoseconds are below what a lock call takes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: rdtsc has no preconditions; `choose` uses it only where user space may (a kernel that forbids it has CR4.TSD set
    // and does not keep time by it either).
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets user space read CNTVCT_EL0 (it emulates the read where the hardware needs a workaround).
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn counter() -> u64 {
    gettime(libc::CLOCK_MONOTONIC)
}

/// The time now, in ticks.
#[inline(always)]
pub fn now() -> u64 {
    if CHOICE.load(Ordering::Relaxed) == 1 { counter() } else { slow_now() }
}

#[cold]
#[inline(never)]
fn slow_now() -> u64 {
    if kind() == ClockKind::Monotonic { gettime(libc::CLOCK_MONOTONIC) } else { counter() }
}

/// What a tick is in this process. The first call decides that for good; it reads one small file.
pub fn kind() -> ClockKind {
    if CHOICE.load(Ordering::Relaxed) == 0 {
        CHOICE.store(if counter_is_good() { 1 } else { 2 }, Ordering::Relaxed);
    }
    match (CHOICE.load(Ordering::Relaxed), cfg!(target_arch = "x86_64")) {
        (1, true) => ClockKind::Tsc,
        (1, false) => ClockKind::Cntvct,
        _ => ClockKind::Monotonic,
    }
}

#[cfg(target_arch = "x86_64")]
fn counter_is_good() -> bool {
    // CPUID leaf 0x8000_0007, EDX bit 8: invariant TSC.
    let invariant =
        std::arch::x86_64::__cpuid(0x8000_0000).eax >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx & (1 << 8) != 0;
    let mut room = [0; 32];
    let source = crate::sys::read_file(c"/sys/devices/system/clocksource/clocksource0/current_clocksource", &mut room);
    invariant && source.is_some_and(|name| name.trim_ascii() == b"tsc")
}

#[cfg(target_arch = "aarch64")]
fn counter_is_good() -> bool {
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_is_good() -> bool {
    false
}

/// One instant on all three clocks. Takes the tightest of three tries, so that a preemption between two readings does not skew it.
pub fn anchor() -> Anchor {
    let attempt = || {
        let before = now();
        let monotonic_ns = gettime(libc::CLOCK_MONOTONIC);
        let after = now();
        let real_ns = gettime(libc::CLOCK_REALTIME);
        (after.wrapping_sub(before), Anchor { ticks: before + after.wrapping_sub(before) / 2, monotonic_ns, real_ns })
    };
    let mut best = attempt();
    for _ in 0..2 {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    gettime(libc::CLOCK_MONOTONIC)
}

/// The processor time of the calling thread, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    gettime(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// A kernel clock, in nanoseconds; 0 if the kernel refuses.
fn gettime(clock: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(clock, &raw mut ts) };
    (ts.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(ts.tv_nsec as u64)
}

/// The anchor that the length of a tick is measured from.
static EARLY: AtomicPtr<Anchor> = AtomicPtr::new(ptr::null_mut());

/// Takes that anchor. Called when a SQLite is met. Where two threads do this, the first one's anchor stays.
pub(crate) fn measure_ticks() {
    if EARLY.load(Ordering::Acquire).is_null()
        && let Some(anchor) = memory::keep(anchor())
    {
        let _ = EARLY.compare_exchange(ptr::null_mut(), anchor, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The length of a tick and the present time, which turn ticks into nanoseconds and wall-clock times.
#[derive(Clone, Copy, Debug, Default)]
pub struct TickScale {
    now: Anchor,
    /// Ticks, and the nanoseconds they took.
    span: (u64, u64),
}

impl TickScale {
    /// As it is known now: the longer this process is traced, the better.
    pub fn now() -> TickScale {
        let now = anchor();
        if kind() == ClockKind::Monotonic {
            return TickScale { now, span: (1, 1) };
        }
        // SAFETY: null, or an anchor that was kept before it was published with Release.
        let early = unsafe { EARLY.load(Ordering::Acquire).as_ref() };
        let span = |early: &Anchor| Some((now.ticks.checked_sub(early.ticks)?, now.monotonic_ns.checked_sub(early.monotonic_ns)?));
        TickScale { now, span: early.and_then(span).unwrap_or_default() }
    }

    /// This number of ticks in nanoseconds; `None` where the length of a tick is not known.
    pub fn ns(&self, ticks: u64) -> Option<u64> {
        let (span, ns) = self.span;
        (span > 0).then(|| (u128::from(ticks) * u128::from(ns) / u128::from(span)) as u64)
    }

    /// How long ago these ticks were, in nanoseconds.
    pub fn ago_ns(&self, ticks: u64) -> Option<u64> {
        self.ns(self.now.ticks.saturating_sub(ticks))
    }

    /// The wall-clock time of these ticks, in nanoseconds since 1970.
    pub fn real_ns(&self, ticks: u64) -> Option<u64> {
        self.ago_ns(ticks).map(|ago| self.now.real_ns.saturating_sub(ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_forward_with_the_monotonic_clock() {
        let first = anchor();
        let mut last = first;
        while last.monotonic_ns < first.monotonic_ns + 1_000_000 {
            last = anchor();
        }
        assert!(last.ticks > first.ticks);
        if kind() == ClockKind::Monotonic {
            assert!(last.ticks - first.ticks < 1_000_000_000);
        }
    }
}
