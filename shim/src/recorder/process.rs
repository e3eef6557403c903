//! The first line of a names file: what this process is.
//!
//! Nothing comes in but what the system says of this process; out goes one JSON object. Called by [`super::names`] when a log is made.

use super::config::SqlPolicy;
use super::json::Line;
use crate::format::VERSION;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

/// Bytes of `/proc/self/maps` that are looked at.
const MAPS: u64 = 1 << 20;
/// Modules that are named.
const MODULES: usize = 64;
/// Parts of the file names of modules that tell what a process is: SQLite's own libraries and drivers, and the languages'.
const TELLING: [&[u8]; 8] = [b"sqlite", b"libpython", b"libruby", b"libnode", b"libphp", b"libperl", b"libjvm", b"libcoreclr"];
/// The directory of compiled parts that tell it, whatever they are called.
const TELLING_DIRECTORY: &[u8] = b"/sqlalchemy/";

pub(super) fn line(started_ns: u64, forked: bool, policy: SqlPolicy) -> String {
    let path = |link: &str| std::fs::read_link(link).unwrap_or_default();
    let cmdline = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let mut argv: Vec<&[u8]> = cmdline.split(|&byte| byte == 0).collect();
    argv.pop_if(|last| last.is_empty());
    // A command line can be megabytes long; its beginning says who it is. And it can hold statements (`sqlite3 app.db "UPDATE …"`):
    // where no text of theirs is to be kept, only the program's name is.
    argv.truncate(if policy == SqlPolicy::Text { 64 } else { 1 });
    let argv: Vec<&[u8]> = argv.into_iter().map(|arg| arg.get(..1024).unwrap_or(arg)).collect();
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    // SAFETY: getppid and getuid have no preconditions.
    let (ppid, uid) = unsafe { (libc::getppid(), libc::getuid()) };
    Line::new("process")
        .number("v", VERSION)
        .number("pid", std::process::id())
        .number("ppid", ppid)
        .text("exe", path("/proc/self/exe").as_os_str().as_bytes())
        .texts("argv", Some(&argv))
        .texts("modules", modules().as_deref())
        .text("cwd", path("/proc/self/cwd").as_os_str().as_bytes())
        .text("host", host.trim_ascii_end())
        .number("uid", uid)
        .hex("started", started_ns)
        .bool("forked", forked)
        .str("policy", policy.name())
        .finish()
}

/// The files of telling names whose code is mapped into this process, each once; `None` where the system does not say.
///
/// What an interpreter has loaded is the one proof of the framework or driver it runs; see the reader's `report::host`.
fn modules() -> Option<Vec<Vec<u8>>> {
    let mut maps = Vec::new();
    std::fs::File::open("/proc/self/maps").ok()?.take(MAPS).read_to_end(&mut maps).ok()?;
    Some(telling(&maps))
}

fn telling(maps: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for line in maps.split(|&byte| byte == b'\n') {
        // `7f00-7f01 r-xp 00000000 08:01 42    /usr/lib/libsqlite3.so.0`: the first slash begins the path.
        let Some(slash) = line.iter().position(|&byte| byte == b'/') else { continue };
        let (numbers, path) = line.split_at(slash);
        // A process can have thousands of mappings, and few of them are code.
        if !numbers.split(|&byte| byte == b' ').nth(1).is_some_and(|rights| rights.contains(&b'x')) {
            continue;
        }
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path).to_ascii_lowercase();
        let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
        let tells = has(path, TELLING_DIRECTORY) || TELLING.iter().any(|part| has(&name, part));
        if tells && found.len() < MODULES && found.iter().all(|known| known != path) {
            found.push(path.get(..1024).unwrap_or(path).to_vec());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_is_named_once() {
        let maps = b"55d0-55d1 r-xp 00000000 08:01 1      /usr/bin/python3.11
7f00-7f01 r--p 00000000 08:01 42    /usr/lib/libSQLite3.so.0
7f01-7f02 r-xp 00001000 08:01 42    /usr/lib/libSQLite3.so.0
7f05-7f06 r-xp 00001000 08:01 42    /usr/lib/libSQLite3.so.0
7f02-7f03 rw-p 00000000 00:00 0
7f03-7f04 r-xp 00001000 08:01 43    /v/site-packages/sqlalchemy/cyextension/util.cpython-311.so
7f06-7f07 r-xp 00001000 08:01 44    /home/sqlite/libother.so
7f04-7f05 r--s 00000000 08:01 44    /srv/app.sqlite
7ffd-7ffe r-xp 00000000 00:00 0                          [vdso]
7f08-7f09 r-xp";
        let found: Vec<String> = telling(maps).iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(found, ["/usr/lib/libSQLite3.so.0", "/v/site-packages/sqlalchemy/cyextension/util.cpython-311.so"]);
        let many: Vec<u8> = (0..100).flat_map(|n| format!("0-1 r-xp 0 0:0 1 /lib/sqlite{n}.so\n").into_bytes()).collect();
        assert_eq!(telling(&many).len(), MODULES);
        assert!(modules().is_some());
    }
}
