//! A value of one process, which the child of a `fork` does not inherit: it makes its own.
//!
//! For state that contains locks: a thread that the child does not have may hold them for ever. Made once, never freed.

use std::sync::atomic::{AtomicPtr, Ordering};

/// A place for such a value.
#[derive(Debug)]
pub struct PerProcess<T: 'static>(AtomicPtr<(u32, T)>);

impl<T: Send + Sync> PerProcess<T> {
    /// An empty place.
    #[allow(clippy::new_without_default)] // for statics
    pub const fn new() -> PerProcess<T> {
        PerProcess(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// This process's value, if it has one. Makes a system call for the process id: not for the hot path.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or leaked and whole before it was published with Release.
        let held = unsafe { self.0.load(Ordering::Acquire).as_ref() }?;
        (held.0 == std::process::id()).then_some(&held.1)
    }

    /// This process's value, made now if there is none. Where two threads make one, the second one's is dropped.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> &'static T {
        let before = self.0.load(Ordering::Acquire);
        if let Some(value) = self.get() {
            return value;
        }
        let fresh = Box::into_raw(Box::new((std::process::id(), make())));
        match self.0.compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: leaked just now, and never freed.
            Ok(_) => unsafe { &(*fresh).1 },
            Err(theirs) => {
                // SAFETY: not published, so no other thread has it.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: only this process's threads replace what was there, and only once: leaked, whole, never null.
                unsafe { &(*theirs).1 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_for_all_threads() {
        static PLACE: PerProcess<u32> = PerProcess::new();
        assert_eq!(PLACE.get(), None);
        let seen: Vec<&u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || PLACE.get_or_make(|| i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|value| std::ptr::eq(*value, seen[0])));
        assert_eq!(PLACE.get(), Some(seen[0]));
    }
}
