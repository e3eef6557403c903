//! The Rust way in: install the recording VFS into the SQLite this program links.

use crate::linked;
use crate::recording::Recording;
use shim::api::{self, ApiError};
use shim::memory;
use shim::recorder::config::{Config, ConfigError, LIMITS, Unusable};
use shim::recorder::configure;
use shim::vfs::{InstallError, Options, UninstallError, install};
use std::ffi::{CStr, CString};
use std::fmt;
use std::path::PathBuf;

pub use shim::recorder::config::SqlPolicy;
pub use shim::vfs::Installed;

/// What to record, where, and under which VFS name.
///
/// Where nothing is said, the environment decides (`LOCKTRACE_DIR`, `LOCKTRACE_LIMIT`, `LOCKTRACE_SQL`: see
/// [`shim::recorder::config`]), and where that says nothing either, the defaults given with each method.
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
    /// A builder that leaves everything to the environment and the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The trace directory. Default `./locktrace-trace`; made private (0700) when the first database is opened.
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

    /// The VFS to wrap, by its name. Default: the one that is the default now (`unix`, as a rule).
    pub fn base(mut self, name: impl Into<String>) -> Builder {
        self.base = Some(name.into());
        self
    }

    /// Whether connections that name no VFS are traced. Default `true`; with `false`, only those that ask for the VFS by name are
    /// (`file:app.db?vfs=locktrace`, `Connection::open_with_flags_and_vfs`).
    pub fn make_default(mut self, default: bool) -> Builder {
        self.not_default = !default;
        self
    }

    /// Whether what happens to locks becomes events of the `tracing` crate, with the target `locktrace`: each refused lock a WARN (with
    /// database, lock, SQL and the connection of this process that holds it, where one does), each wait that ended well a DEBUG, every lock
    /// taken, refused or released a TRACE. They are emitted on the thread that asks for the lock, so that the application's current span is
    /// their parent. Needs the feature `tracing`. Default: as it was, which is `false` at first.
    ///
    /// It is set for the whole process. A layer that writes to SQLite is no problem (of its own calls nothing is emitted), as long as it
    /// does not use the connection that is asking for the lock. In the child of a `fork` it is off until that installs with `true` again.
    #[cfg(feature = "tracing")]
    pub fn tracing(mut self, on: bool) -> Builder {
        self.tracing = Some(on);
        self
    }

    /// Installs the VFS. May be called at any time and any number of times; connections that are open already are not traced.
    ///
    /// The directory, limit and SQL policy belong to the process, and the first installation fixes them: a later one that asks for
    /// others gets [`Error`].
    ///
    /// What it returns may be dropped: the VFS stays until [`Recording::uninstall`].
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

/// Why [`Builder::install`] did not install, or [`Recording::uninstall`] did not uninstall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Reason);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Reason {
    Api(ApiError),
    Config(ConfigError),
    Unusable(Unusable),
    Limit(u64),
    Nul(String),
    Fixed(Config),
    Install(InstallError),
    Uninstall(UninstallError),
}

impl From<UninstallError> for Error {
    fn from(error: UninstallError) -> Error {
        Error(Reason::Uninstall(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Api(error) => write!(f, "{error}"),
            Reason::Config(error) => write!(f, "{error}"),
            Reason::Unusable(error) => write!(f, "{error}"),
            Reason::Limit(limit) => {
                write!(f, "the limit is {limit} bytes; expected {} to {} (256 KiB to 64 GiB)", LIMITS.start(), LIMITS.end())
            }
            Reason::Nul(error) => write!(f, "a VFS name cannot hold a NUL: {error}"),
            Reason::Fixed(config) => write!(
                f,
                "this process records already, into {} (limit {} bytes, SQL {}); that is fixed by the first installation",
                config.dir.display(),
                config.limit,
                config.sql.name()
            ),
            Reason::Install(error) => write!(f, "{error}"),
            Reason::Uninstall(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}
