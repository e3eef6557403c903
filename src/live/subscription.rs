//! Subscriptions: bounded channels of events, each with a count of the events that it had no room for.
#![forbid(unsafe_code)]

use super::{Event, HUB, Hub, hub};
use crossbeam_channel::{Receiver, Sender, bounded, never};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The locking threads' end of a channel.
#[derive(Debug)]
pub(super) struct Subscriber {
    sender: Sender<Event>,
    dropped: AtomicU64,
}

impl Subscriber {
    /// Sends if there is room, and never waits.
    pub(super) fn send(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A bounded channel of [`Event`]s: a [`crossbeam_channel::Receiver`], and a count of the events that it had no room for.
///
/// Dropping it ends the subscription. A clone of its receiver then still receives what is in the channel, and then the end. In the child of a
/// `fork` it receives nothing: subscribe again there.
#[derive(Debug)]
pub struct Subscription {
    receiver: Receiver<Event>,
    subscriber: Arc<Subscriber>,
    hub: &'static Hub,
}

/// Subscribes to every call that this process records from now on: lock calls, and all others that `locktrace cat` shows.
///
/// The channel holds at most `capacity` events (at least 1; about 120 bytes each, allocated at once). One more is dropped and
/// [counted](Subscription::dropped): the lock path never waits for a receiver. Any number of subscriptions can be open, and each receives every
/// event. Events of one thread keep their order. Between threads, [`Event::number`] is the order of the log.
///
/// It can be called before [`Builder::install`](crate::Builder::install). Calls that are not recorded (of an untraced connection, or without a
/// usable trace directory) send no events. Receive on a thread of your own. A receiver that waits in `recv` costs the locking thread a wake-up (a
/// system call) for each event that finds the channel empty. One that polls with [`try_iter`](Receiver::try_iter) costs none. A receiver that
/// writes to a traced database receives its own calls; give such a connection another VFS (`file:log.db?vfs=unix`).
///
/// ```
/// use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let (trace, db) = (dir.path().join("trace"), dir.path().join("app.db"));
/// sqlite_locktrace::Builder::new().dir(&trace).install()?;
/// let events = sqlite_locktrace::subscribe(1024);
///
/// let app = rusqlite::Connection::open(&db)?;
/// app.execute_batch("CREATE TABLE t(x)")?;
///
/// let refused = events.try_iter().filter(|event| event.is_refusal()).count();
/// assert_eq!((refused, events.dropped()), (0, 0));
///
/// let other = rusqlite::Connection::open(&db)?;
/// app.execute_batch("BEGIN IMMEDIATE")?;
/// other.busy_timeout(Duration::ZERO)?;
/// assert!(other.execute_batch("INSERT INTO t VALUES (1)").is_err());
///
/// let refusal = events.try_iter().find(|event| event.is_refusal()).expect("one");
/// assert_eq!(refusal.to_string(), "xLock RESERVED = BUSY");
/// assert_eq!(refusal.sql_text().as_deref(), Some("INSERT INTO t VALUES (1)"));
/// assert_eq!(refusal.database(), Some(db));
/// # Ok(())
/// # }
/// ```
pub fn subscribe(capacity: usize) -> Subscription {
    let (sender, receiver) = bounded(capacity.max(1));
    let subscriber = Arc::new(Subscriber { sender, dropped: AtomicU64::new(0) });
    let hub = hub();
    hub.change(|subscribers| subscribers.push(Arc::clone(&subscriber)));
    Subscription { receiver, subscriber, hub }
}

impl Subscription {
    /// The receiving end of the channel, for `select!` or to be cloned.
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// How many events found the channel full.
    pub fn dropped(&self) -> u64 {
        self.subscriber.dropped.load(Ordering::Relaxed)
    }
}

impl Deref for Subscription {
    type Target = Receiver<Event>;

    fn deref(&self) -> &Receiver<Event> {
        &self.receiver
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if HUB.get().is_some_and(|hub| std::ptr::eq(hub, self.hub)) {
            self.hub.change(|subscribers| subscribers.retain(|other| !Arc::ptr_eq(other, &self.subscriber)));
        } else {
            // A fork copied it while another thread may have been inside the channel; in the child, that thread never leaves it.
            std::mem::forget(std::mem::replace(&mut self.receiver, never()));
            std::mem::forget(Arc::clone(&self.subscriber));
        }
    }
}
