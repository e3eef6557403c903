//! The files of a dataset: `TABLE/host=…/day=…/TRACE.N.parquet`, and the files of an earlier export of the same trace that they replace.
//!
//! The files have hidden names until all are complete, so no reader sees half an export. `TRACE` is the id of the host's first log in the trace. So
//! exports of several traces can share a directory, and a second export of one trace, grown or not, replaces the first. Only a few files are open at
//! once. If one that was closed gets more rows, they go to the next `N`.
#![forbid(unsafe_code)]

use super::part::{self, Part};
use super::tables::{ALL, Table};
use crate::export::unfinished::Unfinished;
use crate::trace::{Log, LogId, Trace};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Files of one table that are open at once.
const OPEN: usize = 4;

/// The name for an unknown host or day (Hive's name for NULL).
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Longest host name in a path, in bytes. Longer ones are cut.
const LONGEST: usize = 150;

/// Days since 1970; `None` if the time is unknown.
pub(super) type Day = Option<i64>;

/// A host of the trace.
struct Host {
    /// Its name in paths.
    name: String,
    /// The beginning of its files' names.
    trace: String,
}

struct Open {
    host: usize,
    day: Day,
    part: Part,
    used: u64,
}

#[derive(Default)]
struct Files {
    open: Vec<Open>,
    /// How many files each host and day has.
    counts: HashMap<(usize, Day), u32>,
}

/// See the module.
pub(super) struct Dataset {
    root: PathBuf,
    hosts: Vec<Host>,
    /// The host of each log.
    of_log: Vec<usize>,
    files: [Files; ALL.len()],
    /// Files to be renamed: the hidden path and the final one.
    partial: Vec<(PathBuf, PathBuf)>,
    unfinished: Unfinished,
    clock: u64,
    /// Metadata of the trace that every file carries.
    pub about: Vec<(&'static str, String)>,
}

impl Dataset {
    pub(super) fn new(root: &Path, trace: &Trace, unfinished: Unfinished) -> io::Result<Dataset> {
        unfinished.create_dir(root)?;
        let (mut hosts, mut of_log): (Vec<Host>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut firsts: Vec<&Log> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for log in trace.logs() {
            let name = log.names.host().filter(|host| !host.is_empty()).map_or_else(|| NULL.to_owned(), escaped);
            let index = *known.entry(name.clone()).or_insert(hosts.len());
            if index == hosts.len() {
                hosts.push(Host { name, trace: String::new() });
                firsts.push(log);
            }
            if (log.first.real_ns, &log.id) < (firsts[index].first.real_ns, &firsts[index].id) {
                firsts[index] = log;
            }
            of_log.push(index);
        }
        for (host, first) in hosts.iter_mut().zip(firsts) {
            // In a file name, a dot ends the id.
            host.trace = escaped(&first.id).replace('.', "%2E");
        }
        let files = [(); ALL.len()].map(|()| Files::default());
        Ok(Dataset { root: root.to_owned(), hosts, of_log, files, partial: Vec::new(), unfinished, clock: 0, about: Vec::new() })
    }

    /// The number of a log's host.
    pub(super) fn host(&self, log: LogId) -> usize {
        self.of_log.get(log.0 as usize).copied().unwrap_or(0)
    }

    /// Adds a row.
    pub(super) fn push(&mut self, table: usize, log: LogId, day: Day, row: &[part::Cell<'_, '_>]) -> io::Result<()> {
        let host = self.host(log);
        self.clock += 1;
        let open = &mut self.files[table].open;
        let found = open.iter().position(|open| open.host == host && open.day == day);
        let index = match found {
            Some(index) => index,
            None => self.begin(table, host, day)?,
        };
        let open = &mut self.files[table].open[index];
        open.used = self.clock;
        open.part.push(row).map_err(|error| self.failed(&error))
    }

    /// Begins a file, and closes another one if too many are open.
    fn begin(&mut self, table: usize, host: usize, day: Day) -> io::Result<usize> {
        let files = &mut self.files[table];
        if files.open.len() >= OPEN
            && let Some((index, _)) = files.open.iter().enumerate().min_by_key(|(_, open)| open.used)
        {
            let oldest = files.open.swap_remove(index);
            oldest.part.finish().map_err(|error| self.failed(&error))?;
        }
        let count = self.files[table].counts.entry((host, day)).or_default();
        let number = *count;
        *count += 1;
        let Host { name, trace } = &self.hosts[host];
        let dir = self.root.join(ALL[table].name).join(format!("host={name}")).join(format!("day={}", date(day)));
        self.unfinished.create_dir(&dir)?;
        let whole = dir.join(format!("{trace}.{number}.parquet"));
        // Readers ignore names that begin with a dot.
        let partial = dir.join(format!(".{trace}.{number}.parquet.partial"));
        let file = self.unfinished.create(&partial)?;
        self.partial.push((partial, whole));
        let part = Part::new(ALL[table], file, &self.about).map_err(|error| self.failed(&error))?;
        let open = &mut self.files[table].open;
        open.push(Open { host, day, part, used: self.clock });
        Ok(open.len() - 1)
    }

    /// Completes all files, renames them, and removes those of an earlier export of the same trace.
    pub(super) fn finish(&mut self, day: Day) -> io::Result<()> {
        for table in 0..ALL.len() {
            if self.files[table].counts.is_empty() {
                // An empty file, so that every table can be read and describes its columns.
                self.begin(table, 0, day)?;
            }
            for open in std::mem::take(&mut self.files[table].open) {
                open.part.finish().map_err(|error| self.failed(&error))?;
            }
        }
        let earlier = self.earlier()?;
        let partial = std::mem::take(&mut self.partial);
        self.unfinished.finish(|| {
            let mut written = 0;
            for (partial, whole) in partial {
                let size = fs::metadata(&partial).and_then(|meta| fs::rename(&partial, &whole).map(|()| meta.len()));
                written += size.map_err(|error| said(&whole, &error))?;
            }
            for file in earlier {
                fs::remove_file(&file).map_err(|error| said(&file, &error))?;
                // Fails if the day has other files.
                file.parent().map(fs::remove_dir);
            }
            Ok(written)
        })?;
        Ok(())
    }

    /// The files of an earlier export of this trace, also of one that was killed, whose names are not used again.
    fn earlier(&self) -> io::Result<Vec<PathBuf>> {
        let mut earlier = Vec::new();
        for (table, files) in ALL.iter().zip(&self.files) {
            for (index, host) in self.hosts.iter().enumerate() {
                let dir = self.root.join(table.name).join(format!("host={}", host.name));
                let days = match fs::read_dir(&dir) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    days => days.map_err(|error| said(&dir, &error))?,
                };
                for day in days {
                    let day = day.map_err(|error| said(&dir, &error))?.path();
                    let Ok(names) = fs::read_dir(&day) else { continue };
                    for name in names.flatten() {
                        let path = name.path();
                        let name = name.file_name();
                        let Some(name) = name.to_str() else { continue };
                        if left(&path, &host.trace) && !self.partial.iter().any(|(partial, _)| *partial == path) {
                            earlier.push(path);
                            continue;
                        }
                        let Some(number) = number(name, &host.trace) else { continue };
                        let used = files
                            .counts
                            .iter()
                            .any(|(&(of, on), &count)| of == index && number < count && day.ends_with(format!("day={}", date(on))));
                        if !used {
                            earlier.push(path);
                        }
                    }
                }
            }
        }
        Ok(earlier)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> io::Error {
        said(&self.root, error)
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        self.unfinished.remove();
    }
}

/// The number of a file of this trace.
fn number(name: &str, trace: &str) -> Option<u32> {
    name.strip_prefix(trace)?.strip_prefix('.')?.strip_suffix(".parquet")?.parse().ok()
}

/// Whether this is an unfinished file of this trace that no export is writing. An export that still runs has it locked.
fn left(path: &Path, trace: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('.')?.strip_suffix(".partial"));
    name.is_some_and(|name| number(name, trace).is_some()) && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// The place of a table among all.
pub(super) fn place(table: &Table) -> usize {
    ALL.iter().position(|one| one.name == table.name).unwrap_or(0)
}

/// The day of a time in nanoseconds since 1970.
pub(super) fn day(ns: Option<i64>) -> Day {
    ns.map(|ns| ns.div_euclid(86_400_000_000_000))
}

fn date(day: Day) -> String {
    let Some(day) = day.and_then(|day| u64::try_from(day).ok()) else { return NULL.to_owned() };
    let midnight = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
    humantime::format_rfc3339_seconds(midnight).to_string().chars().take(10).collect()
}

/// A name as a part of a path that readers of Hive's layout can decode. Characters with a meaning in paths or for these readers become `%XX`.
fn escaped(name: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if out.len() > LONGEST {
            // A hash keeps names apart that differ only beyond this length.
            let _ = write!(out, "~{:016x}", shim::format::sql_hash(name.as_bytes()));
            break;
        }
        let plain = !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '~') || (c == '_' && at > 0);
        // No `.`, no `..`, and no hidden files.
        if plain && !(c == '.' && at == 0) && !c.is_control() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn said(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_paths() {
        assert_eq!(escaped("web-1.eu_x"), "web-1.eu_x");
        assert_eq!(escaped("../a b/c=%+"), "%2E.%2Fa%20b%2Fc%3D%25%2B");
        assert_eq!(escaped("\u{e9}\0\u{85}"), "\u{e9}%00%C2%85");
        assert_eq!(escaped(NULL), "%5F_HIVE_DEFAULT_PARTITION__");
        let long = [escaped(&"x".repeat(1000)), escaped(&("x".repeat(999) + "y"))];
        assert!(long[0] != long[1] && long[0].len() < 200, "{long:?}");
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(date(day(Some(1_700_000_000_000_000_000))), "2023-11-14");
        assert_eq!(date(day(Some(86_399_999_999_999))), "1970-01-01");
        assert_eq!(date(day(Some(i64::MAX))), "2262-04-11");
        assert_eq!(date(day(None)), NULL);
    }

    #[test]
    fn files_of_a_trace_are_known_by_name() {
        assert_eq!(number("1-a.0.parquet", "1-a"), Some(0));
        assert_eq!(number("1-ab.0.parquet", "1-a"), None);
        assert_eq!(number("1-a.0.parquet.bak", "1-a"), None);
    }
}
