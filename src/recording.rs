//! The handle of an installation: what is installed, who holds what in it, and how it is taken off again.
//!
//! [`Builder::install`](crate::Builder::install) hands it out. What it asks about the process is there without it, too
//! ([`subscribe`](crate::subscribe()), [`current_locks`](crate::current_locks())).
#![forbid(unsafe_code)]

use crate::builder::Error;
use crate::linked;
use crate::live::{self, LiveLock, Subscription};
use shim::vfs::Installed;
use std::ffi::CStr;

/// A running recording: the VFS that [`Builder::install`](crate::Builder::install) installed or found. (What was recorded is opened by
/// [`trace::Trace::open`](crate::trace::Trace::open).)
///
/// It may be dropped: the VFS stays. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Recording {
    vfs: &'static CStr,
    installed: Installed,
}

impl Recording {
    pub(crate) fn new(vfs: &'static CStr, installed: Installed) -> Recording {
        Recording { vfs, installed }
    }

    /// What the installation did: whether the VFS is new, was there, or is the default again.
    pub fn installed(&self) -> Installed {
        self.installed
    }

    /// The name of the VFS.
    pub fn vfs_name(&self) -> &CStr {
        self.vfs
    }

    /// Subscribes to every call recorded in this process from now on: [`subscribe`](crate::subscribe()).
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        live::subscribe(capacity)
    }

    /// What every traced connection of this process holds now: [`current_locks`](crate::current_locks()).
    pub fn current_locks(&self) -> Vec<LiveLock> {
        live::current_locks()
    }

    /// Takes the VFS off: connections opened from now on are not traced, and what was the default VFS before is it again. It can be installed
    /// again at any time, and then goes on in the same log; each installation keeps about a kilobyte for ever.
    ///
    /// A pool has to be closed first. A VFS of your own that wraps this one keeps it in use, and so on record, as long as you use that.
    ///
    /// # Errors
    /// While connections are open through it, with their number; [`Recording::current_locks`] tells which. And where this copy of
    /// locktrace has no VFS of the name: it is uninstalled already, or another copy in this process does the recording.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let (trace, db) = (dir.path().join("trace"), dir.path().join("app.db"));
    /// let recording = sqlite_locktrace::Builder::new().dir(&trace).install()?;
    /// let app = rusqlite::Connection::open(&db)?;
    /// let error = recording.uninstall().unwrap_err().to_string();
    /// assert_eq!(error, r#"1 database is open through the VFS "locktrace"; close its connection first"#);
    /// drop(app);
    /// recording.uninstall()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn uninstall(&self) -> Result<(), Error> {
        linked::uninstall(self.vfs).map_err(Error::from)
    }
}
