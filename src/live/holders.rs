//! A text for the `tracing` bridge that names the connections of this process that blocked a refused attempt.
//!
//! A connection is named only if it certainly held a conflicting lock.
#![forbid(unsafe_code)]

use super::event::Event;
use super::hub;
use crate::analysis::locks::lock::LockId;
use crate::report::human::duration;
use shim::event::Level;
use shim::recorder::thread_name;
use shim::vfs::live::connections;
use std::fmt::Write as _;

/// The connections of this process that certainly blocked this refused attempt, in words; `None` if there are none.
///
/// A connection that holds a conflicting lock *now* held it at the attempt if it took it before the attempt began. If a connection holds several
/// slots exclusively, only the time of the first is known: the connection was there, but perhaps not yet with this lock.
pub(super) fn blockers(event: &Event) -> Option<String> {
    let (request, path) = (event.request()?, event.database()?);
    let rows = connections();
    // Measured after the rows are read: a hold that is older than this began before the attempt.
    let elapsed = hub().clock.ns(shim::clock::now().saturating_sub(event.record().start));
    let mut words = String::new();
    for row in rows {
        if Some(row.number) == event.connection() || row.path != path {
            continue;
        }
        let held = LockId::held(row.level, row.shared, row.exclusive);
        let Some(&lock) = held.iter().find(|&&lock| lock.refuses(request)) else { continue };
        let writes = lock.is_exclusive_slot() || lock.level().is_some_and(|level| level > Level::SHARED);
        let since = if writes { row.writing } else { row.reading };
        let Some((since, ago)) = since.and_then(|since| Some((since, since.ago_ns?))).filter(|&(_, ago)| ago > elapsed + MARGIN_NS)
        else {
            continue;
        };
        let several = if writes { row.exclusive.count_ones() > 1 } else { row.shared.count_ones() > 1 };
        if !words.is_empty() {
            words.push_str("; ");
        }
        let _ = write!(words, "{}connection {}", if several { "perhaps " } else { "" }, row.number);
        if since.tid != 0 {
            let name = thread_name(since.tid).unwrap_or_else(|| "ended".to_owned());
            let _ = write!(words, " (thread {} {name})", since.tid);
        }
        let _ = write!(words, ", {lock} for {}", duration(ago));
        let text = hub().names.find(event.call.log, |names| Some(names.sql(since.sql)?.text.text.clone()));
        if let Some(text) = text {
            let _ = write!(words, ", {text}");
        }
    }
    (!words.is_empty()).then_some(words)
}

/// By how much two conversions of ticks to nanoseconds may differ.
const MARGIN_NS: u64 = 1_000;
