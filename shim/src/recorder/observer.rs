//! The observer: a function of a Rust program in this process that gets each record, on the thread that wrote it.
//!
//! The function is called once for each record with its number, lost records included. `sqlite_locktrace`'s subscriptions and
//! its `tracing` bridge set it. Where none is set, it costs one relaxed load a record.
//!
//! The observer runs inside a call that SQLite made and waits for, so what it may do is bounded here:
//!
//! * It may use SQLite, on connections other than the one that is being traced. It gets the records of such calls, too, marked as
//!   [`Observed::nested`]. It does not get those made while it handles one of *these*, so that the nesting ends.
//! * It may panic: the panic ends with this record.
//! * When it returns, `errno` and the recorder's memory of the thread are restored.
//! * In the child of a `fork` no observer is set. The threads it worked with do not exist there, and locks it needs may be held for ever.

use super::guard::guarded;
use super::log::Log;
use super::process_state::STATE;
use super::thread;
use crate::errno::SavedErrno;
use crate::format::record::Record;
use std::fmt;
use std::sync::atomic::Ordering;

/// A record, as its observer gets it.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The record. Its thread is the calling one.
    pub record: Record,
    /// Its number in its log.
    pub number: u64,
    /// The log it was written to, which knows its names.
    pub log: &'static Log,
    /// Whether the observer itself made this call on this thread, while it handled another record.
    pub nested: bool,
}

/// A function to call with each record, and its captured values.
pub struct Observer(Box<dyn Fn(&Observed) + Send + Sync>);

impl Observer {
    /// An observer that calls this function, from any thread.
    pub fn new(call: impl Fn(&Observed) + Send + Sync + 'static) -> Observer {
        Observer(Box::new(call))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Sets the observer of this process instead of the former one; `None` removes it. A thread that is writing a
/// record at this moment may call the former one once more.
pub fn observe(observer: Option<&'static Observer>) {
    let observer = observer.map_or(std::ptr::null_mut(), |observer| std::ptr::from_ref(observer).cast_mut());
    // Release: a thread that reads the pointer can read what it points to.
    STATE.observer.store(observer, Ordering::Release);
}

/// Calls the observer, if there is one, with a record that was just written.
#[inline(always)]
pub(super) fn notify(log: &'static Log, words: &[u64; 7], number: u64) {
    // Relaxed: this only decides whether the pointer is loaded again.
    if !STATE.observer.load(Ordering::Relaxed).is_null() {
        notify_it(log, words, number);
    }
}

#[cold]
#[inline(never)]
fn notify_it(log: &'static Log, words: &[u64; 7], number: u64) {
    // Acquire: pairs with the Release in `observe`.
    let observer = STATE.observer.load(Ordering::Acquire);
    // SAFETY: null, or a reference that lives for ever.
    let Some(observer) = (unsafe { observer.as_ref() }) else { return };
    let _errno = SavedErrno::save();
    let Some(inside) = thread::InObserver::enter() else { return };
    let observed = Observed { record: Record::from_words(words), number, log, nested: inside.nested() };
    guarded(|| (observer.0)(&observed));
}
