//! `locktrace extension`: prints the path of the loadable extension.
#![forbid(unsafe_code)]

use super::io::Failure;
use super::program::library;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Print the path of the loadable extension, liblocktrace.so.
///
/// This command contains the library and unpacks it into your cache (XDG_CACHE_HOME, or ~/.cache) if needed. Load it once, on any connection.
/// Every connection that this SQLite opens in this process from then on is traced.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  sqlite3 -cmd \".load $(locktrace extension)\" -cmd \".open app.db\"
  python3 app.py \"$(locktrace extension)\"     then connection.load_extension(path)

Exit codes:
  0  The path is printed, and the library is there.
  2  The library cannot be unpacked.")]
pub(super) struct Extension {}

impl Extension {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = library::unpack()?;
        let mut out = io::stdout().lock();
        out.write_all(path.as_os_str().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(())
    }
}
