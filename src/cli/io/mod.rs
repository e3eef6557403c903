//! Input and output of the verbs: the trace they read, standard output and standard error, and the failure they return.
#![forbid(unsafe_code)]

mod input;
mod output;
pub(super) mod quote;

pub(super) use input::{Reopenable, log_files, open};
pub(super) use output::{output, plain, say, wait_while_read, width};

use crate::trace;
use std::io;

/// Why a verb stopped.
pub(in crate::cli) enum Failure {
    /// The trace cannot be read.
    Trace(trace::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// Another failure, in words.
    Other(String),
}

impl From<trace::Error> for Failure {
    fn from(error: trace::Error) -> Failure {
        Failure::Trace(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}
