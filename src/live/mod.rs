//! What a running program hears of its own locks, while they are taken.
//!
//! Input: records from the shim's observer, on the thread that SQLite called. Output: [`Event`]s through bounded channels
//! ([`subscribe`]), and, with the feature `tracing`, events under the application's current span (the `bridge`).
//!
//! On the locking thread nothing waits for a receiver: a channel that is full loses the event and counts it. The lists and names in
//! here belong to one process: a forked child starts without subscriptions, and may make its own.
#![forbid(unsafe_code)]

#[cfg(feature = "tracing")]
mod bridge;
mod clock;
mod event;
#[cfg(feature = "tracing")]
mod holders;
mod locks;
mod names;
mod subscription;

pub use event::Event;
pub use locks::{LiveHold, LiveLock, current_locks};
pub use subscription::{Subscription, subscribe};

use clock::LiveClock;
use names::LiveNames;
use shim::recorder::observer::{Observed, Observer, observe};
use shim::recorder::per_process::PerProcess;
use std::fmt;
#[cfg(feature = "tracing")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use subscription::Subscriber;

/// This process's listeners, and what they need to understand what they hear.
struct Hub {
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    observer: OnceLock<&'static Observer>,
    /// Events go to `tracing`, too.
    #[cfg(feature = "tracing")]
    bridged: AtomicBool,
    clock: LiveClock,
    names: LiveNames,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

static HUB: PerProcess<Hub> = PerProcess::new();

/// The hub of this process.
fn hub() -> &'static Hub {
    HUB.get_or_make(|| Hub {
        subscribers: RwLock::default(),
        observer: OnceLock::new(),
        #[cfg(feature = "tracing")]
        bridged: AtomicBool::new(false),
        clock: LiveClock::start(),
        names: LiveNames::default(),
    })
}

/// Sends events to `tracing` from now on, or no more.
#[cfg(feature = "tracing")]
pub(crate) fn bridge(on: bool) {
    let hub = hub();
    hub.change(|_| hub.bridged.store(on, Ordering::Relaxed));
}

impl Hub {
    /// Changes who listens, and has the shim call us only while somebody does.
    fn change(&'static self, change: impl FnOnce(&mut Vec<Arc<Subscriber>>)) {
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut subscribers);
        let observer = || {
            let observer = Observer::new(|seen| self.seen(seen));
            &*Box::leak(Box::new(observer))
        };
        let needed = !subscribers.is_empty() || self.is_bridged();
        observe(needed.then(|| *self.observer.get_or_init(observer)));
    }

    /// On the locking thread: hands a record on.
    fn seen(&self, seen: &Observed) {
        let event = Event { seen: *seen };
        for subscriber in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            subscriber.send(event);
        }
        // With no lock of ours held. An application's layer may use SQLite: what it does there is no news to it.
        #[cfg(feature = "tracing")]
        if !seen.nested && self.is_bridged() {
            bridge::emit(&event);
        }
    }

    #[cfg(feature = "tracing")]
    fn is_bridged(&self) -> bool {
        self.bridged.load(Ordering::Relaxed)
    }

    #[cfg(not(feature = "tracing"))]
    fn is_bridged(&self) -> bool {
        false
    }
}
