//! What the recorder is told: where to write, how much, and whether SQL text may be kept. In come the environment and the
//! builder's calls; out goes one [`Config`], fixed for the life of the process.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `LOCKTRACE_DIR` | `./locktrace-trace` | the trace directory; made private (0700) where it does not exist |
//! | `LOCKTRACE_LIMIT` | `4M` | bytes of records kept for each process, newest first: a number with an optional `K`, `M` or `G`, rounded down to a power of two, from `256K` to `64G`. One record is 64 bytes. Whatever the limit, at most 4 MiB of it stay mapped |
//! | `LOCKTRACE_SQL` | `text` | what is kept of a statement: `text` (as prepared, never its bound values), `hash` (only an identity), `off` (nothing, and statements are not looked up) |
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What is kept of a statement's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SqlPolicy {
    /// The text as prepared, once a process, up to [`MAX_SQL_BYTES`]. Bound values are never looked at.
    #[default]
    Text,
    /// Only its 64-bit hash.
    Hash,
    /// Nothing; statements are not looked up at all.
    Off,
}

impl SqlPolicy {
    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<SqlPolicy> {
        [SqlPolicy::Text, SqlPolicy::Hash, SqlPolicy::Off].into_iter().find(|policy| policy.name() == name)
    }

    /// The name used in `LOCKTRACE_SQL` and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            SqlPolicy::Text => "text",
            SqlPolicy::Hash => "hash",
            SqlPolicy::Off => "off",
        }
    }
}

/// Bytes of one SQL text that are kept, compared and hashed. Two statements that differ only after these are one to a trace.
pub const MAX_SQL_BYTES: usize = 4096;

/// Default of `LOCKTRACE_LIMIT`: 65,536 records.
pub const DEFAULT_LIMIT: u64 = 4 << 20;

/// The least and the most that `LOCKTRACE_LIMIT` may be.
pub const LIMITS: std::ops::RangeInclusive<u64> = 256 << 10..=64 << 30;

/// Default of `LOCKTRACE_DIR`.
pub const DEFAULT_DIR: &str = "locktrace-trace";

/// Everything the recorder is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The trace directory; made absolute before use, so that a later `chdir` moves nothing.
    pub dir: PathBuf,
    /// Bytes of records kept for this process.
    pub limit: u64,
    /// What is kept of SQL.
    pub sql: SqlPolicy,
}

impl Default for Config {
    fn default() -> Config {
        Config { dir: DEFAULT_DIR.into(), limit: DEFAULT_LIMIT, sql: SqlPolicy::default() }
    }
}

/// A variable that could not be understood: its name, what it held, what it may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    expected: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}; expected {}", self.variable, self.value, self.expected)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration that these variables describe. One that is absent or empty has its default.
    pub fn from_vars(get: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let mut config = Config::default();
        if let Some(dir) = get("LOCKTRACE_DIR") {
            config.dir = dir.into();
        }
        if let Some(limit) = get("LOCKTRACE_LIMIT") {
            let text = limit.to_string_lossy();
            config.limit = parse_limit(&text).ok_or_else(|| ConfigError {
                variable: "LOCKTRACE_LIMIT",
                value: text.into_owned(),
                expected: "bytes from 256K to 64G, such as 4M",
            })?;
        }
        if let Some(sql) = get("LOCKTRACE_SQL") {
            let text = sql.to_string_lossy();
            config.sql = SqlPolicy::from_name(&text).ok_or_else(|| ConfigError {
                variable: "LOCKTRACE_SQL",
                value: text.into_owned(),
                expected: "text, hash or off",
            })?;
        }
        Ok(config)
    }

    /// The configuration that the process's environment describes.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_vars(|name| std::env::var_os(name))
    }

    /// How many records the ring holds: the largest power of two within the limit.
    pub(crate) fn capacity(&self) -> u64 {
        let bytes = self.limit.clamp(*LIMITS.start(), *LIMITS.end());
        let records = bytes / crate::format::record::SIZE as u64;
        1 << records.ilog2()
    }
}

/// Bytes, from a number with an optional `K`, `M` or `G` (1024-fold each); `None` if it is not one or out of [`LIMITS`].
pub fn parse_limit(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    LIMITS.contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn an_empty_environment_is_the_default() {
        assert_eq!(with(&[]), Ok(Config::default()));
        assert_eq!(with(&[("LOCKTRACE_DIR", ""), ("LOCKTRACE_LIMIT", "")]), Ok(Config::default()));
        assert_eq!(Config::default().capacity(), 65_536);
    }

    #[test]
    fn every_variable_is_read() {
        let config = with(&[("LOCKTRACE_DIR", "/x"), ("LOCKTRACE_LIMIT", "1g"), ("LOCKTRACE_SQL", "hash")]).unwrap();
        assert_eq!(config, Config { dir: "/x".into(), limit: 1 << 30, sql: SqlPolicy::Hash });
    }

    #[test]
    fn limits_are_powers_of_two_within_bounds() {
        assert_eq!(parse_limit("256K"), Some(256 << 10));
        assert_eq!(parse_limit("5 MiB"), Some(5 << 20));
        assert_eq!(Config { limit: 5 << 20, ..Config::default() }.capacity(), 65_536);
        for bad in ["", "M", "-1", "1T", "100K", "65G", "99999999999999999999", "18446744073709551615G", "4 M B"] {
            assert_eq!(parse_limit(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nonsense_names_the_variable_and_what_it_may_be() {
        let error = with(&[("LOCKTRACE_SQL", "all")]).unwrap_err().to_string();
        assert_eq!(error, r#"LOCKTRACE_SQL is "all"; expected text, hash or off"#);
        assert!(with(&[("LOCKTRACE_LIMIT", "big")]).unwrap_err().to_string().contains("256K to 64G"));
    }
}
