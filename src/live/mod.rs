//! The locks of the running process, reported while they are taken.
//!
//! The shim's observer passes each record on the thread that SQLite called. It goes into bounded channels as an [`Event`] ([`subscribe`]). With
//! the feature `tracing` it also becomes an event under the application's current span (`bridge`).
//!
//! The locking thread never waits for a receiver: a full channel loses the event and counts it. The lists and names in here belong to one
//! process. A forked child starts without subscriptions and can make its own.
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

/// This process's subscribers, with the clock and the names that explain their events.
struct Hub {
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    observer: OnceLock<&'static Observer>,
    /// Whether events go to `tracing`, too.
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

/// Starts or stops sending events to `tracing`.
#[cfg(feature = "tracing")]
pub(crate) fn bridge(on: bool) {
    let hub = hub();
    hub.change(|_| hub.bridged.store(on, Ordering::Relaxed));
}

impl Hub {
    /// Changes the subscribers. The shim calls the hub only while there is one, or the bridge is on.
    fn change(&'static self, change: impl FnOnce(&mut Vec<Arc<Subscriber>>)) {
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut subscribers);
        let observer = || {
            let observer = Observer::new(|call| self.observed(call));
            &*Box::leak(Box::new(observer))
        };
        let needed = !subscribers.is_empty() || self.is_bridged();
        observe(needed.then(|| *self.observer.get_or_init(observer)));
    }

    /// Passes a record on, on the locking thread.
    fn observed(&self, call: &Observed) {
        let event = Event { call: *call };
        for subscriber in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            subscriber.send(event);
        }
        // None of our locks is held here. A layer of the application may use SQLite: its own calls (nested) emit nothing.
        #[cfg(feature = "tracing")]
        if !call.nested && self.is_bridged() {
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
