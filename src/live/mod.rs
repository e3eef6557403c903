//! What a running program hears of its own locks, while they are taken.
//!
//! In come records from the shim's observer, on the thread that SQLite called; out go [`Event`]s through bounded channels
//! ([`subscribe`]), and, with the feature `tracing`, events under the application's current span (the `bridge`).
//!
//! On the locking thread nothing waits for a receiver: a channel that is full loses the event and counts it. The lists and names in
//! here belong to one process: a forked child starts without subscriptions, and may make its own.
#![forbid(unsafe_code)]

mod clock;
mod event;
mod locks;
mod names;
mod subscription;

pub use event::Event;
pub use locks::{LiveHold, LiveLock, current_locks};
pub use subscription::{Subscription, subscribe};

use clock::LiveClock;
use locktrace::recorder::observer::{Observer, Seen, observe};
use locktrace::recorder::own::Own;
use names::LiveNames;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use subscription::Subscriber;

/// This process's listeners, and what they need to understand what they hear.
struct Hub {
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    observer: OnceLock<&'static Observer>,
    clock: LiveClock,
    names: LiveNames,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

static HUB: Own<Hub> = Own::new();

/// The hub of this process.
fn hub() -> &'static Hub {
    HUB.get_or_make(|| Hub {
        subscribers: RwLock::default(),
        observer: OnceLock::new(),
        clock: LiveClock::start(),
        names: LiveNames::default(),
    })
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
        let needed = !subscribers.is_empty();
        observe(needed.then(|| *self.observer.get_or_init(observer)));
    }

    /// On the locking thread: hands a record on.
    fn seen(&self, seen: &Seen) {
        let event = Event { seen: *seen };
        for subscriber in self.subscribers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            subscriber.send(event);
        }
    }
}
