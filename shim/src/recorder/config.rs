//! The recorder's configuration: where to write, how much, and whether SQL text may be kept. It comes from the environment or from the crate's
//! builder, and is fixed for the life of the process.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `LOCKTRACE_DIR` | `./locktrace-trace` | the trace directory; made private (0700) where it does not exist |
//! | `LOCKTRACE_LIMIT` | `4M` | bytes of records kept for each process, newest first: a number with an optional `K`, `M` or `G`, rounded down to a power of two, from `256K` to `64G`. One record is 64 bytes. Whatever the limit, at most 4 MiB of it stay mapped |
//! | `LOCKTRACE_SQL` | `text` | what is kept of a statement: `text` (as prepared, never its bound values), `hash` (only an identity), `off` (nothing, and statements are not looked up) |
//! | `LOCKTRACE_PRAGMA_DIR` | | `1`: `PRAGMA locktrace_dir = …` may make directories; without it a statement cannot |
//! | `LOCKTRACE_PLACE` | | set by `locktrace run` for programs under a filter of system calls, where the recorder cannot look up the file system: `dir` (files can be mapped in the trace directory) or `memory` (they cannot) |
//! | `LOCKTRACE_NOTES` | | set by `locktrace run`: a file that notes for the user are appended to ([`super::notice`]) |
//!
//! A set-user-id program ignores all of them.
//!
//! A [`Config`] is for Rust programs and for the command, and lives on the heap. The recorder itself uses [`Settings`], in memory of its own.

use crate::memory::{Mapping, keep, keep_bytes, keep_c_str};
use crate::sys;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};

/// How much of a statement's text is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SqlPolicy {
    /// The text as prepared, once a process, up to [`MAX_SQL_BYTES`]. Bound values are never read.
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

/// Bytes of one SQL text that are kept, compared and hashed. A trace does not distinguish statements that differ only after these.
pub const MAX_SQL_BYTES: usize = 4096;

/// Default of `LOCKTRACE_LIMIT`: 65,536 records.
pub const DEFAULT_LIMIT: u64 = 4 << 20;

/// The least and the most that `LOCKTRACE_LIMIT` may be.
pub const LIMITS: std::ops::RangeInclusive<u64> = 256 << 10..=64 << 30;

/// Default of `LOCKTRACE_DIR`.
pub const DEFAULT_DIR: &str = "locktrace-trace";

/// The configuration, on the heap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The trace directory; made absolute before use, so that a later `chdir` moves nothing.
    pub dir: PathBuf,
    /// Bytes of records kept for this process.
    pub limit: u64,
    /// How much of SQL is kept.
    pub sql: SqlPolicy,
}

impl Default for Config {
    fn default() -> Config {
        Config { dir: DEFAULT_DIR.into(), limit: DEFAULT_LIMIT, sql: SqlPolicy::default() }
    }
}

/// A variable that could not be understood: its name, its value, and what it may hold.
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

    /// The configuration that the process's environment describes. A set-user-id program has none.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_vars(|name| {
            let value = variable(&CString::new(name).ok()?)?;
            Some(OsStr::from_bytes(value.to_bytes()).to_owned())
        })
    }
}

/// The configuration that the recorder uses: in memory of its own, with an absolute directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The trace directory, absolute.
    pub dir: &'static [u8],
    /// Bytes of records kept for this process.
    pub limit: u64,
    /// How much of SQL is kept.
    pub sql: SqlPolicy,
    /// Whether a statement may name another directory.
    pub pragma_dir: bool,
    /// Where mapped files can be, as far as `locktrace run` found out.
    pub(super) place: PlaceHint,
}

/// The value of `LOCKTRACE_PLACE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum PlaceHint {
    /// It is not set.
    #[default]
    Unknown,
    /// `dir`.
    Directory,
    /// `memory`.
    Memory,
}

/// A variable that could not be understood, in fixed memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// The variable, or another input.
    pub what: &'static str,
    /// The value of the variable, where it is shown.
    pub value: Option<&'static CStr>,
    /// What it may be.
    pub expected: &'static str,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{} is {value:?}; expected {}", self.what, self.expected),
            None => write!(f, "{} cannot be used; expected {}", self.what, self.expected),
        }
    }
}

/// The settings of this process, once they are fixed. A child inherits them.
pub(super) static SETTINGS: AtomicPtr<Settings> = AtomicPtr::new(std::ptr::null_mut());

/// The settings in force; `None`: none are fixed yet.
pub(super) fn settings() -> Option<&'static Settings> {
    // SAFETY: null, or kept for the life of the process before it was published.
    unsafe { SETTINGS.load(Ordering::Acquire).as_ref() }
}

const LIMIT: Unusable = Unusable { value: None, what: "LOCKTRACE_LIMIT", expected: "bytes from 256K to 64G, such as 4M" };
const SQL: Unusable = Unusable { value: None, what: "LOCKTRACE_SQL", expected: "text, hash or off" };
const DIR: Unusable = Unusable { value: None, what: "LOCKTRACE_DIR", expected: "a path of at most 1000 bytes" };
pub(super) const MEMORY: Unusable = Unusable { value: None, what: "the recorder's memory", expected: "a few pages" };

impl Unusable {
    /// With the value of this variable.
    fn of(self, name: &CStr) -> Unusable {
        Unusable { value: variable(name).and_then(keep_c_str), ..self }
    }
}

impl Settings {
    /// The settings that the process's environment describes.
    pub(super) fn from_env() -> Result<Settings, Unusable> {
        let text = |name| Some(std::str::from_utf8(variable(name)?.to_bytes()).unwrap_or_default());
        let limit =
            text(c"LOCKTRACE_LIMIT").map_or(Some(DEFAULT_LIMIT), parse_limit).ok_or_else(|| LIMIT.of(c"LOCKTRACE_LIMIT"))?;
        let sql = text(c"LOCKTRACE_SQL")
            .map_or(Some(SqlPolicy::default()), SqlPolicy::from_name)
            .ok_or_else(|| SQL.of(c"LOCKTRACE_SQL"))?;
        let dir = absolute(variable(c"LOCKTRACE_DIR").map_or(DEFAULT_DIR.as_bytes(), CStr::to_bytes))?;
        Ok(Settings { dir, limit, sql, ..Settings::beside() })
    }

    /// The settings of this configuration.
    pub(super) fn from_config(config: &Config) -> Result<Settings, Unusable> {
        let dir = absolute(config.dir.as_os_str().as_bytes())?;
        Ok(Settings { dir, limit: config.limit, sql: config.sql, ..Settings::beside() })
    }

    /// The settings that only the environment can have, with defaults for the others.
    fn beside() -> Settings {
        let is = |name, value: &CStr| variable(name) == Some(value);
        let place = match () {
            () if is(c"LOCKTRACE_PLACE", c"dir") => PlaceHint::Directory,
            () if is(c"LOCKTRACE_PLACE", c"memory") => PlaceHint::Memory,
            () => PlaceHint::Unknown,
        };
        let pragma_dir = is(c"LOCKTRACE_PRAGMA_DIR", c"1");
        Settings { dir: b"", limit: DEFAULT_LIMIT, sql: SqlPolicy::default(), pragma_dir, place }
    }

    /// A copy that stays.
    pub(super) fn keep(self) -> Option<&'static Settings> {
        keep(self).map(|kept| &*kept)
    }

    /// The same, for a Rust program.
    pub fn config(&self) -> Config {
        Config { dir: self.path().to_owned(), limit: self.limit, sql: self.sql }
    }

    /// Its directory, for a Rust program.
    pub fn path(&self) -> &'static Path {
        Path::new(OsStr::from_bytes(self.dir))
    }

    /// How many records the ring holds: the largest power of two within the limit.
    pub(super) fn capacity(&self) -> u64 {
        let bytes = self.limit.clamp(*LIMITS.start(), *LIMITS.end());
        let records = bytes / crate::format::record::SIZE as u64;
        1 << records.ilog2()
    }
}

/// A variable of the environment, unless it is empty; none of a program that runs with more rights than who started it.
pub(crate) fn variable(name: &CStr) -> Option<&'static CStr> {
    unsafe extern "C" {
        fn secure_getenv(name: *const c_char) -> *const c_char;
    }
    // SAFETY: a NUL-terminated name; null, or a NUL-terminated value that stays until the program changes it. Called while the recorder is
    // loaded or configured. Values that are needed later are copied.
    let value = unsafe { secure_getenv(name.as_ptr()) };
    // SAFETY: as above.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) });
    value.filter(|value| !value.is_empty())
}

/// The longest directory: the files in it have names, too.
const LONGEST_DIR: usize = 1000;

/// This directory, resolved against the current one, kept.
pub(super) fn absolute(dir: &[u8]) -> Result<&'static [u8], Unusable> {
    if dir.len() > LONGEST_DIR || dir.contains(&0) {
        return Err(DIR);
    }
    if dir.starts_with(b"/") {
        return keep_bytes(dir).ok_or(MEMORY);
    }
    let mut memory = Mapping::new(8192).ok_or(MEMORY)?;
    let (room, joined) = memory.bytes().split_at_mut_checked(4096).ok_or(MEMORY)?;
    let here = sys::read_link(c"/proc/self/cwd", room).unwrap_or(b"/");
    let here = here.strip_suffix(b"/").unwrap_or(here);
    let mut at = 0;
    for piece in [here, b"/", dir.strip_prefix(b"./").unwrap_or(dir)] {
        joined.get_mut(at..at + piece.len()).ok_or(DIR)?.copy_from_slice(piece);
        at += piece.len();
    }
    let joined = joined.get(..at).filter(|joined| joined.len() <= LONGEST_DIR).ok_or(DIR)?;
    keep_bytes(joined).ok_or(MEMORY)
}

/// A number of bytes, with an optional `K`, `M` or `G` (1024-fold each); `None` if it is no number or outside [`LIMITS`].
pub fn parse_limit(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let unit = unit.trim();
    let is = |names: &[&str]| names.iter().any(|name| unit.eq_ignore_ascii_case(name));
    let shift = match () {
        () if is(&["", "B"]) => 0,
        () if is(&["K", "KB", "KIB"]) => 10,
        () if is(&["M", "MB", "MIB"]) => 20,
        () if is(&["G", "GB", "GIB"]) => 30,
        () => return None,
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

    fn capacity(limit: u64) -> u64 {
        Settings { limit, ..Settings::beside() }.capacity()
    }

    #[test]
    fn a_directory_is_made_absolute_and_kept() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(b"/x/y"), Ok(&b"/x/y"[..]));
        assert_eq!(absolute(b"./x"), Ok(here.join("x").as_os_str().as_bytes()));
        assert_eq!(absolute(&[b'x'; 2000]), Err(DIR));
        let config = Config { dir: "trace".into(), limit: 1 << 20, sql: SqlPolicy::Off };
        let settings = Settings::from_config(&config).unwrap();
        assert_eq!(settings.config(), Config { dir: here.join("trace"), ..config });
        assert_eq!(LIMIT.to_string(), "LOCKTRACE_LIMIT cannot be used; expected bytes from 256K to 64G, such as 4M");
    }

    #[test]
    fn an_empty_environment_is_the_default() {
        assert_eq!(with(&[]), Ok(Config::default()));
        assert_eq!(with(&[("LOCKTRACE_DIR", ""), ("LOCKTRACE_LIMIT", "")]), Ok(Config::default()));
        assert_eq!(capacity(Config::default().limit), 65_536);
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
        assert_eq!(capacity(5 << 20), 65_536);
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
