//! The Rust entry point: a builder that installs the recording VFS into the SQLite that this program links.

use crate::error::{Error, Reason};
use crate::linked;
use crate::recording::Recording;
use shim::api::{self, ApiError};
use shim::memory;
use shim::recorder::config::{Config, LIMITS};
use shim::recorder::configure;
use shim::vfs::{InstallError, Options, install};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

pub use shim::recorder::config::SqlPolicy;
pub use shim::vfs::Installed;

/// What to record, where, and under which VFS name.
///
/// What is not set here comes from the environment (`LOCKTRACE_DIR`, `LOCKTRACE_LIMIT`, `LOCKTRACE_SQL`: see
/// [`shim::recorder::config`]), and otherwise from the default of each method.
///
/// ```
/// # use rusqlite as _;
/// # fn main() -> Result<(), sqlite_locktrace::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let trace = dir.path().join("trace");
/// sqlite_locktrace::Builder::new().dir(&trace).install()?;
/// // Every connection opened from now on is traced.
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is installed before `install`"]
pub struct Builder {
    dir: Option<PathBuf>,
    limit: Option<u64>,
    sql: Option<SqlPolicy>,
    name: Option<String>,
    base: Option<String>,
    not_default: bool,
    #[cfg(feature = "tracing")]
    tracing: Option<bool>,
}

impl Builder {
    /// A builder that takes everything from the environment and the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The trace directory. Default `./locktrace-trace`. It is created with mode 0700 when the first database is opened.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.dir = Some(dir.into());
        self
    }

    /// Bytes of records to keep for this process, from 256 KiB to 64 GiB, rounded down to a power of two. Default 4 MiB: the newest
    /// 65,536 records.
    pub fn limit(mut self, bytes: u64) -> Builder {
        self.limit = Some(bytes);
        self
    }

    /// What to keep of SQL texts. Default [`SqlPolicy::Text`].
    pub fn sql(mut self, policy: SqlPolicy) -> Builder {
        self.sql = Some(policy);
        self
    }

    /// The name to register the VFS under. Default `locktrace`.
    pub fn vfs_name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The VFS to wrap, by its name. Default: the current default VFS, usually `unix`.
    pub fn base(mut self, name: impl Into<String>) -> Builder {
        self.base = Some(name.into());
        self
    }

    /// Whether connections that name no VFS are traced. Default `true`. With `false`, only connections that name this VFS are traced
    /// (`file:app.db?vfs=locktrace`, `Connection::open_with_flags_and_vfs`).
    pub fn make_default(mut self, default: bool) -> Builder {
        self.not_default = !default;
        self
    }

    /// Whether lock calls become events of the `tracing` crate, with the target `locktrace`. Each refused lock is a WARN, with the database,
    /// the lock, the SQL and the connection of this process that holds it, if one does. Each wait that ends with the lock is a DEBUG. Every
    /// lock taken, refused or released is a TRACE. The thread that asks for the lock emits them, so the application's current span is their
    /// parent. Needs the feature `tracing`. Default: unchanged, and `false` at first.
    ///
    /// It is set for the whole process. A layer may write to SQLite on any connection except the one that asks for the lock; its own calls
    /// emit nothing. In the child of a `fork` it is off until the child installs with `true`.
    #[cfg(feature = "tracing")]
    pub fn tracing(mut self, on: bool) -> Builder {
        self.tracing = Some(on);
        self
    }

    /// Installs the VFS. It can be called at any time and any number of times. Connections that are open already stay untraced.
    ///
    /// The directory, limit and SQL policy belong to the process, and the first installation fixes them. A later call that asks for others
    /// returns [`Error`].
    ///
    /// Dropping the returned handle keeps the VFS installed until [`Recording::uninstall`].
    pub fn install(self) -> Result<Recording, Error> {
        let api = linked::api();
        // SAFETY: it takes nothing and returns a constant.
        let version = unsafe { (api.libversion_number)() };
        if version < api::OLDEST {
            return Err(Error(Reason::Api(ApiError::TooOld(version))));
        }
        let mut config = Config::from_env().map_err(|error| Error(Reason::Config(error)))?;
        config.dir = self.dir.clone().unwrap_or(config.dir);
        config.sql = self.sql.unwrap_or(config.sql);
        config.limit = self.limit.unwrap_or(config.limit);
        if !LIMITS.contains(&config.limit) {
            return Err(Error(Reason::Limit(config.limit)));
        }
        let c_string = |name: String| -> Result<&'static CStr, Error> {
            let name = CString::new(name).map_err(|error| Error(Reason::Nul(error.to_string())))?;
            memory::keep_c_str(&name).ok_or(Error(Reason::Install(InstallError::NoMemory)))
        };
        let options = Options {
            name: self.name.map_or_else(|| Ok(Options::default().name), c_string)?,
            base: self.base.map(c_string).transpose()?,
            default: !self.not_default,
            linked: true,
        };
        let in_force = configure(config.clone()).map_err(|error| Error(Reason::Unusable(error)))?.config();
        let asked = Config { dir: std::path::absolute(&config.dir).unwrap_or(config.dir), ..config };
        let changed = (self.dir.is_some() && asked.dir != in_force.dir)
            || (self.limit.is_some() && asked.limit != in_force.limit)
            || (self.sql.is_some() && asked.sql != in_force.sql);
        if changed {
            return Err(Error(Reason::Fixed(in_force)));
        }
        // SAFETY: the table is that of the linked SQLite, and our code is linked into the same program.
        let installed = unsafe { install(api, &options) }.map_err(|error| Error(Reason::Install(error)))?;
        #[cfg(feature = "tracing")]
        if let Some(on) = self.tracing {
            crate::live::bridge(on);
        }
        Ok(Recording::new(options.name, installed))
    }
}
