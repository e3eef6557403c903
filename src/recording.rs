//! The handle of an installed recording VFS: its name, the locks of its connections, and its uninstallation.
//!
//! [`Builder::install`](crate::Builder::install) returns it. [`subscribe`](crate::subscribe()) and [`current_locks`](crate::current_locks()) work
//! without it, too.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::linked;
use crate::live::{self, LiveLock, Subscription};
use shim::vfs::Installed;
use std::ffi::CStr;

/// A running recording: the VFS that [`Builder::install`](crate::Builder::install) installed or found.
/// [`trace::Trace::open`](crate::trace::Trace::open) opens what it recorded.
///
/// Dropping it keeps the VFS installed. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Recording {
    vfs: &'static CStr,
    installed: Installed,
}

impl Recording {
    pub(crate) fn new(vfs: &'static CStr, installed: Installed) -> Recording {
        Recording { vfs, installed }
    }

    /// What the installation did: whether the VFS is new, was installed before, or is the default again.
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

    /// Uninstalls the VFS. Connections opened from now on are not traced, and the previous default VFS is the default again. It can be installed
    /// again at any time and then continues the same log. Each installation keeps about a kilobyte until the process ends.
    ///
    /// Close a connection pool first. If a VFS of your own wraps this one, its connections stay traced as long as you use it.
    ///
    /// # Errors
    /// While connections are open through it. The error has their number; [`Recording::current_locks`] lists them. Also if this copy of
    /// locktrace has no VFS of that name: it is uninstalled already, or another copy in this process records.
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
