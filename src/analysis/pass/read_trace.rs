//! The reading of a whole trace: one pass over its records, or two if the first rested on a wrong assumption.
#![forbid(unsafe_code)]

use super::Pass;
use super::finalize::Missing;
use crate::analysis::audit::{Audit, AuditPass};
use crate::analysis::causes::hazards;
use crate::analysis::findings::{Analysis, Options};
use crate::analysis::observer::Observer;
use crate::trace::{Error, Trace};

/// What one pass returns: the analysis, whether holds seemed to exclude each other, the audit, and the right assumption.
type Passed<'t> = (Analysis<'t>, bool, Option<AuditPass<'t>>, Option<Missing>);

impl<'t> Analysis<'t> {
    /// Reads a whole trace.
    ///
    /// # Errors
    /// The errors of [`Trace::events`].
    pub fn of(trace: &'t Trace, options: Options) -> Result<Analysis<'t>, Error> {
        Analysis::over(trace, options, None)
    }

    /// Reads a whole trace, and reports to `observer` on the way.
    ///
    /// # Errors
    /// The errors of [`Trace::events`].
    pub fn observed(trace: &'t Trace, options: Options, observer: &mut dyn Observer) -> Result<Analysis<'t>, Error> {
        Analysis::over(trace, options, Some(observer))
    }

    fn over(trace: &'t Trace, options: Options, observer: Option<&mut dyn Observer>) -> Result<Analysis<'t>, Error> {
        let (mut analysis, contradiction, auditor) = match Analysis::pass(trace, options, Missing::assumed(trace), observer)? {
            (.., Some(missing)) if !trace.is_read_once() => {
                // Waits were decided before it was known that records are missing.
                let (analysis, contradiction, auditor, _) = Analysis::pass(trace, options, missing, None)?;
                (analysis, contradiction, auditor)
            }
            (analysis, contradiction, auditor, _) => (analysis, contradiction, auditor),
        };
        if contradiction {
            let audit = match auditor {
                Some(auditor) => auditor.finish(),
                None => Audit::of(trace)?,
            };
            analysis.hazards.extend(hazards::lost_locks(trace, &analysis.databases, &audit));
            analysis.hazards.sort_by_key(|hazard| (hazard.db, hazard.kind));
        }
        Ok(analysis)
    }

    fn pass(
        trace: &'t Trace,
        options: Options,
        missing: Missing,
        observer: Option<&mut dyn Observer>,
    ) -> Result<Passed<'t>, Error> {
        let mut events = trace.events()?;
        let mut pass = Pass::new(trace, options, missing, observer);
        // JSON lines can be read only once, so they are audited in the same pass. A directory is read again, and only if holds seemed to
        // exclude each other.
        let mut auditor = trace.is_read_once().then(|| AuditPass::new(trace));
        let mut stopped = false;
        while let Some(event) = events.advance() {
            if let Some(auditor) = &mut auditor {
                auditor.event(event);
            }
            pass.event(event);
            if pass.enough() {
                stopped = true;
                break;
            }
        }
        let contradiction = pass.contradiction();
        let (analysis, better) = pass.finish(if stopped { events.stop() } else { events.finish() });
        Ok((analysis, contradiction, auditor, better.filter(|_| !stopped)))
    }
}
