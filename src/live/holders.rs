//! Who in this process stood in the way of a refused attempt.
//!
//! Input: the event of the refusal and the shim's live rows. Output: words for the `tracing` bridge, or nothing: a holder is named only
//! if it surely was one.
#![forbid(unsafe_code)]

use super::event::Event;
use super::hub;
use crate::analysis::locks::lock::LockId;
use crate::report::human::duration;
use shim::event::Level;
use shim::recorder::thread_name;
use shim::vfs::live::connections;
use std::fmt::Write as _;

/// The connections of this process that stood in the way of this refused attempt, in words; `None` where none surely did.
///
/// One that holds a conflicting lock *now* did so then if it had it before the attempt began. Of one that holds several slots exclusively
/// only the first one's beginning is known: it was there, but perhaps not yet with this lock.
pub(super) fn in_the_way(event: &Event) -> Option<String> {
    let (request, path) = (event.request()?, event.database()?);
    let rows = connections();
    // After the rows: what is older in them than this, had begun before the attempt.
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
        let text = hub().names.find(event.seen.log, |names| Some(names.sql(since.sql)?.text.text.clone()));
        if let Some(text) = text {
            let _ = write!(words, ", {text}");
        }
    }
    (!words.is_empty()).then_some(words)
}

/// What two conversions of ticks to nanoseconds may differ by.
const MARGIN_NS: u64 = 1_000;
