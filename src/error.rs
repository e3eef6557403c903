//! The error of installing and uninstalling the recording VFS.
#![forbid(unsafe_code)]

use shim::api::ApiError;
use shim::recorder::config::{Config, ConfigError, LIMITS, Unusable};
use shim::vfs::{InstallError, UninstallError};
use std::fmt;

/// Why [`Builder::install`](crate::Builder::install) did not install, or [`Recording::uninstall`](crate::Recording::uninstall) did not uninstall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(pub(crate) Reason);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
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
                "this process records already, into {} (limit {} bytes, SQL {}); the first installation fixes these settings",
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
