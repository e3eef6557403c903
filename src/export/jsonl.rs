//! JSON lines, the interchange: what `locktrace cat --json` writes, which everything that reads a trace reads too.
#![forbid(unsafe_code)]

use super::Export;
use crate::analysis::{Analysis, Observer};
use crate::trace::{Event, Trace, jsonl};
use std::io::{self, Write};

/// See the module.
pub struct Jsonl<'t, W> {
    trace: &'t Trace,
    out: W,
    failed: Option<io::Error>,
}

impl<'t, W: Write> Jsonl<'t, W> {
    /// Begins with logs and names.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(trace: &'t Trace, mut out: W) -> io::Result<Jsonl<'t, W>> {
        jsonl::write_head(trace, &mut out)?;
        Ok(Jsonl { trace, out, failed: None })
    }
}

impl<W: Write> Observer for Jsonl<'_, W> {
    fn event(&mut self, event: &Event, _: Option<u32>) {
        if self.failed.is_none() {
            self.failed = jsonl::write_record(self.trace, event, &mut self.out).err();
        }
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

impl<W: Write> Export for Jsonl<'_, W> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        jsonl::write_tail(self.trace, &analysis.summary, &mut self.out)?;
        self.out.flush()?;
        Ok(Vec::new())
    }
}
