//! An observer: what a Rust program in this process hears of each record, on the thread that wrote it.
//!
//! Every record that reached a log, with its number, is one call of the function that is set, if one is. `sqlite_locktrace`'s subscriptions and
//! its `tracing` bridge set it. Where none is set the price is one relaxed load a record.
//!
//! What the observer may do is bounded here, because it runs inside a call that SQLite made and is waiting for:
//!
//! * It may use SQLite, on connections other than the one that is being traced. Records of such calls reach it, too, marked as
//!   [`Observed::nested`], so that none is missed; but those made while it handles one of *these* do not, so that nothing is endless.
//! * It may panic: that ends with this record.
//! * `errno`, and what the recorder remembers of the thread, are as they were when it returns.
//! * In the child of a `fork` no observer is set. The threads it worked with are gone, and locks it needs may be held for ever.

use super::guard::guarded;
use super::log::Log;
use super::process_state::STATE;
use super::thread;
use crate::errno::SavedErrno;
use crate::format::record::Record;
use std::fmt;
use std::sync::atomic::Ordering;

/// A record, as its observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The record; its thread is the one that calls.
    pub record: Record,
    /// Its number in its log.
    pub number: u64,
    /// The log it was written to, which knows its names.
    pub log: &'static Log,
    /// The observer itself made this call on this thread, while it handled another record.
    pub nested: bool,
}

/// A function to call with each record, and what it captured.
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

/// Sets the observer of this process, in place of any that is set; `None`: there is none from now on. A thread that is writing a
/// record at this moment may call the former one once more.
pub fn observe(observer: Option<&'static Observer>) {
    let observer = observer.map_or(std::ptr::null_mut(), |observer| std::ptr::from_ref(observer).cast_mut());
    // Release: whoever finds the pointer finds what it points to.
    STATE.observer.store(observer, Ordering::Release);
}

/// Tells the observer of a record that was just written, if there is one.
#[inline(always)]
pub(super) fn notify(log: &'static Log, words: &[u64; 7], number: u64) {
    // Relaxed: this decides only whether to look.
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
    let Some(aside) = thread::Aside::step() else { return };
    let seen = Observed { record: Record::from_words(words), number, log, nested: aside.nested() };
    guarded(|| (observer.0)(&seen));
}
