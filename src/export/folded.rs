//! Folded stacks, weighted by the time waited: the waiting statement above, the blocking statement below.
//!
//! One line for each distinct stack, `process;thread;statement;lock;blocking process;its statement microseconds`, in the format of flame-graph tools
//! (`inferno`, `flamegraph.pl`, speedscope). If several connections blocked one incident, they share its time by the attempts that each refused.
#![forbid(unsafe_code)]

use super::{Export, incidents, labels};
use crate::analysis::{Analysis, Blocker, Incident, Observer};
use crate::report::words;
use crate::trace::text::Clean;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// See the module.
pub struct Folded<W> {
    out: W,
}

impl<W: Write> Folded<W> {
    /// An export that writes to `out` after the pass.
    pub fn new(out: W) -> Folded<W> {
        Folded { out }
    }
}

impl<W> Observer for Folded<W> {}

impl<W: Write> Export for Folded<W> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        let mut stacks: BTreeMap<String, u64> = BTreeMap::new();
        let (mut untimed, mut instant) = (0u64, 0u64);
        for (_, incident) in incidents::listed(analysis) {
            match analysis.ns(incident.who.log, incident.first, incident.until) {
                None => untimed += 1,
                Some(ns) if ns < 1_000 => instant += 1,
                Some(ns) => {
                    for (stack, us) in of(analysis, incident, ns / 1_000) {
                        *stacks.entry(stack).or_default() += us;
                    }
                }
            }
        }
        for (stack, us) in stacks {
            writeln!(self.out, "{stack} {us}")?;
        }
        self.out.flush()?;
        let mut left_out = Vec::new();
        if instant > 0 {
            left_out.push(format!("{instant} incidents that took less than a microsecond"));
        }
        if untimed > 0 {
            left_out.push(format!(
                "{untimed} incidents: how long they took is not known (a log without a usable pair of clock anchors)"
            ));
        }
        Ok(left_out)
    }
}

/// The stacks of one incident, each with its share of these microseconds.
fn of(analysis: &Analysis<'_>, incident: &Incident, us: u64) -> Vec<(String, u64)> {
    let trace = analysis.trace;
    let statement = |who, hash| labels::sql(trace, who, hash).unwrap_or_else(|| "statement not known".to_owned());
    let victim = [
        labels::process(trace, incident.who.log),
        labels::thread(trace, incident.who, incident.tid),
        statement(incident.who, incident.sql),
        format!("waits for {} ({})", incident.request, incident.cause.id()),
    ];
    let stack = |rest: [String; 2]| joined(&victim.iter().chain(&rest).map(|frame| framed(frame)).collect::<Vec<_>>());
    let known: Vec<(&Blocker, _)> =
        incident.blockers.iter().filter_map(|blocker| Some((blocker, incidents::holding(analysis, blocker)?))).collect();
    if known.is_empty() {
        let untraced = words::untraced_holders(analysis, incident).next();
        let whose = untraced.map_or_else(|| "nobody in the trace".to_owned(), |holder| format!("outside the trace: {holder}"));
        return vec![(stack([whose, "statement not known".to_owned()]), us)];
    }
    let attempts = |blocker: &Blocker| u64::from(blocker.attempts.max(1));
    let all: u64 = known.iter().map(|(blocker, _)| attempts(blocker)).sum();
    let share = |blocker| u64::try_from(u128::from(us) * u128::from(attempts(blocker)) / u128::from(all)).unwrap_or(us);
    // The remainder of the division goes to the first.
    let mut over = us - known.iter().map(|(blocker, _)| share(blocker)).sum::<u64>();
    let mut stacks = Vec::new();
    for (blocker, holding) in known {
        let us = share(blocker) + std::mem::take(&mut over);
        stacks.push((stack([labels::process(trace, holding.who.log), statement(holding.who, holding.sql)]), us));
    }
    stacks
}

/// A frame's name on one line, without `;`, which separates frames.
fn framed(name: &str) -> String {
    let name = Clean(name).to_string().replace(';', ",");
    let name = name.trim();
    if name.is_empty() { "?".to_owned() } else { name.to_owned() }
}

/// Frames as a stack.
///
/// The last blank of a line separates the weight. If a number stands before it, as in `LIMIT 1 500`, flame-graph tools read that as a second
/// weight, of a profile to compare with. So the blank before such a number becomes a no-break space.
fn joined(frames: &[String]) -> String {
    let stack = frames.join(";");
    match stack.rsplit_once(' ') {
        Some((rest, last)) if last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => format!("{rest}\u{a0}{last}"),
        _ => stack,
    }
}

#[cfg(test)]
mod tests {
    use super::{framed, joined};

    #[test]
    fn a_frame_is_one_line_without_semicolons() {
        assert_eq!(framed("a;b\n c\t7"), "a,b c 7");
        assert_eq!(framed(" \n"), "?");
        assert_eq!(framed("\u{1b}[2J<script>"), "\\u{1b}[2J<script>");
    }

    #[test]
    fn a_number_at_the_end_is_no_weight() {
        let stack = |frames: [&str; 2]| joined(&frames.map(str::to_owned));
        assert_eq!(stack(["app 100", "LIMIT 1"]), "app 100;LIMIT\u{a0}1");
        assert_eq!(stack(["a", "v = 1.5"]), "a;v =\u{a0}1.5");
        assert_eq!(stack(["app 7", "1"]), "app 7;1");
        assert_eq!(stack(["app 7", "t 1x"]), "app 7;t 1x");
    }
}
