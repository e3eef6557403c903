//! The first line of a names file, which describes this process.
//!
//! Everything is read from `/proc/self` into memory of the caller's: no heap. Under a filter of system calls, a call that the filter
//! does not expect can end the program. Then no links are read: the program's path is that of its first code, and the directory is null.
#![deny(unsafe_code)]

use super::config::SqlPolicy;
use super::limits;
use super::line::Line;
use crate::format::VERSION;
use crate::sys;

/// Bytes of `/proc/self/maps` that are read.
const MAPS: usize = 1 << 20;
/// Bytes of a command line. It can be megabytes long; its beginning shows which program it is.
const CMDLINE: usize = 128 << 10;
/// Bytes of `/proc/thread-self/status`: one of its lines names every group of the user.
const STATUS: usize = 96 << 10;
/// Bytes of a path; the kernel gives no longer one (`PATH_MAX`).
const PATH: usize = 4096;
/// Bytes of the host's name; the kernel allows 64.
const HOST: usize = 256;
/// Bytes of scratch memory that hold all of it.
pub(super) const SCRATCH: usize = MAPS + CMDLINE + STATUS + 2 * PATH + HOST;

/// Arguments that are named.
const ARGUMENTS: usize = 64;
/// Modules that are named.
const MODULES: usize = 64;
/// Bytes of an argument or of a module's path that are named.
const LONGEST: usize = 1024;
/// Parts of the file names of modules that identify a process: libraries and drivers of SQLite, and languages.
const IDENTIFYING: [&[u8]; 8] = [b"sqlite", b"libpython", b"libruby", b"libnode", b"libphp", b"libperl", b"libjvm", b"libcoreclr"];
/// A directory whose modules identify it, whatever their names.
const IDENTIFYING_DIRECTORY: &[u8] = b"/sqlalchemy/";

/// This process by `/proc/self`, in memory of the caller's.
#[derive(Debug)]
pub(super) struct ProcessInfo<'a> {
    exe: &'a [u8],
    cwd: Option<&'a [u8]>,
    cmdline: &'a [u8],
    host: &'a [u8],
    pid: u32,
    ppid: Option<u32>,
    uid: Option<u32>,
    modules: Option<Modules<'a>>,
}

/// Reads it. [`SCRATCH`] bytes hold everything. With fewer, `modules` is missing, and then the rest.
pub(super) fn read(scratch: &mut [u8]) -> ProcessInfo<'_> {
    let (exe, rest) = part(scratch, PATH);
    let (cwd, rest) = part(rest, PATH);
    let (host, rest) = part(rest, HOST);
    let (status, rest) = part(rest, STATUS);
    let (cmdline, maps) = part(rest, CMDLINE);
    // A filter belongs to a thread: this is the one that will write.
    let status = sys::read_file(c"/proc/thread-self/status", status).unwrap_or_default();
    let number = |key| field(status, key).and_then(number);
    let maps = maps.get_mut(..MAPS).and_then(|maps| sys::read_file(c"/proc/self/maps", maps));
    let (exe, cwd) = match limits::sealed() {
        true => (maps.and_then(|maps| code(maps).next()), None),
        false => (sys::read_link(c"/proc/self/exe", exe), sys::read_link(c"/proc/self/cwd", cwd)),
    };
    ProcessInfo {
        exe: exe.unwrap_or_default(),
        cwd,
        cmdline: sys::read_file(c"/proc/self/cmdline", cmdline).unwrap_or_default(),
        host: sys::read_file(c"/proc/sys/kernel/hostname", host).unwrap_or_default().trim_ascii_end(),
        pid: rustix::process::getpid().as_raw_pid().unsigned_abs(),
        ppid: number(b"PPid:"),
        uid: number(b"Uid:"),
        modules: maps.map(identifying),
    }
}

/// The first `len` bytes of this memory, or as many as there are, and the rest.
fn part(memory: &mut [u8], len: usize) -> (&mut [u8], &mut [u8]) {
    let len = len.min(memory.len());
    memory.split_at_mut(len)
}

/// What follows this key at the beginning of a line.
fn field<'a>(status: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key))
}

/// The first number in a field: of the user ids, the real one.
fn number(field: &[u8]) -> Option<u32> {
    let word = field.split(|&byte| byte == b'\t' || byte == b' ').find(|word| !word.is_empty())?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

impl ProcessInfo<'_> {
    /// Adds everything to a line of the kind `process`, with the same text each time.
    pub(super) fn write(&self, line: &mut Line<'_>, started_ns: u64, forked: bool, policy: SqlPolicy) {
        let optional = |line: &mut Line<'_>, key: &str, value: Option<u32>| {
            match value {
                Some(value) => line.number(key, value),
                None => line.null(key),
            };
        };
        line.number("v", VERSION).number("pid", self.pid);
        optional(line, "ppid", self.ppid);
        // A command line can hold statements (`sqlite3 app.db "UPDATE …"`). Where their texts must not be kept, only the program's
        // name is.
        let most = if policy == SqlPolicy::Text { ARGUMENTS } else { 1 };
        line.text("exe", self.exe).texts("argv", arguments(self.cmdline).take(most));
        match &self.modules {
            Some(modules) => line.texts("modules", modules.iter()),
            None => line.null("modules"),
        };
        match self.cwd {
            Some(cwd) => line.text("cwd", cwd),
            None => line.null("cwd"),
        };
        line.text("host", self.host);
        optional(line, "uid", self.uid);
        line.hex("started", started_ns).bool("forked", forked).str("policy", policy.name());
    }
}

/// The arguments of a command line as the kernel gives it, each cut at [`LONGEST`] bytes.
fn arguments(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|&byte| byte == 0);
    all.take(if cmdline.is_empty() { 0 } else { usize::MAX }).map(beginning)
}

fn beginning(bytes: &[u8]) -> &[u8] {
    bytes.get(..LONGEST).unwrap_or(bytes)
}

/// The identifying files whose code is mapped into this process, each once.
///
/// The modules of an interpreter are the only proof of the framework or driver it runs. The reader's report uses them.
#[derive(Debug)]
struct Modules<'a> {
    paths: [&'a [u8]; MODULES],
    len: usize,
}

impl<'a> Modules<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.paths.iter().take(self.len).copied()
    }

    /// Adds a path, unless it is listed, if there is room.
    fn add(&mut self, path: &'a [u8]) {
        if self.iter().all(|known| known != path)
            && let Some(place) = self.paths.get_mut(self.len)
        {
            *place = path;
            self.len += 1;
        }
    }
}

/// The file of each mapping of code, the program's first.
fn code(maps: &[u8]) -> impl Iterator<Item = &[u8]> {
    maps.split(|&byte| byte == b'\n').filter_map(|line| {
        // `7f00-7f01 r-xp 00000000 08:01 42    /usr/lib/libsqlite3.so.0`: the first slash begins the path.
        let (numbers, path) = line.split_at_checked(line.iter().position(|&byte| byte == b'/')?)?;
        // A process can have thousands of mappings, and few of them are code.
        numbers.split(|&byte| byte == b' ').nth(1)?.contains(&b'x').then_some(path)
    })
}

fn identifying(maps: &[u8]) -> Modules<'_> {
    let mut found = Modules { paths: [&[]; MODULES], len: 0 };
    for path in code(maps) {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let has = |part: &&[u8]| name.windows(part.len().max(1)).any(|window| window.eq_ignore_ascii_case(part));
        let directory = path.windows(IDENTIFYING_DIRECTORY.len()).any(|window| window == IDENTIFYING_DIRECTORY);
        if directory || IDENTIFYING.iter().any(has) {
            found.add(beginning(path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::line::{Fixed, Length, Sink};
    use super::*;
    use crate::memory::Mapping;
    use crate::recorder::heap::unnoticed;

    #[test]
    fn an_identifying_module_is_named_once() {
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
        let found: Vec<String> = identifying(maps).iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(found, ["/usr/lib/libSQLite3.so.0", "/v/site-packages/sqlalchemy/cyextension/util.cpython-311.so"]);
        let many: Vec<u8> = (0..100).flat_map(|n| format!("0-1 r-xp 0 0:0 1 /lib/sqlite{n}.so\n").into_bytes()).collect();
        assert_eq!(identifying(&many).iter().count(), MODULES);
    }

    #[test]
    fn arguments_end_with_a_nul() {
        let of = |line: &'static [u8]| arguments(line).collect::<Vec<_>>();
        assert_eq!(of(b""), [b""; 0]);
        assert_eq!(of(b"\0"), [b""]);
        assert_eq!(of(b"a\0b c\0\0"), [&b"a"[..], b"b c", b""]);
        assert_eq!(of(b"title without an end"), [b"title without an end"]);
    }

    #[test]
    fn fields_are_lines() {
        let status = b"Name:\tUid: 7\nPPid:\t12\nUid:\t1000\t0\t0\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let of = |key: &[u8]| field(status, key).and_then(number);
        assert_eq!([of(b"PPid:"), of(b"Uid:"), of(b"Seccomp:"), of(b"Gid:")], [Some(12), Some(1000), Some(2), None]);
    }

    /// The line, counted and then filled.
    fn line(facts: &ProcessInfo<'_>, policy: SqlPolicy) -> String {
        let build = |out: &mut dyn Sink| {
            let mut line = Line::new(out, "process");
            facts.write(&mut line, 0xabc, true, policy);
            line.finish();
        };
        let mut length = Length::default();
        build(&mut length);
        let mut memory = vec![0; length.0 + 1];
        let mut fixed = Fixed::new(&mut memory);
        unnoticed(|| build(&mut fixed));
        assert_eq!(fixed.bytes().len(), length.0);
        String::from_utf8(fixed.bytes().to_vec()).unwrap()
    }

    #[test]
    fn this_process_is_described() {
        let mut scratch = Mapping::new(SCRATCH).unwrap();
        let mut facts = None;
        unnoticed(|| facts = Some(read(scratch.bytes())));
        let facts = facts.unwrap();
        let text = line(&facts, SqlPolicy::Text);
        let ids = format!(r#""v":1,"pid":{},"ppid":{},"exe":""#, std::process::id(), std::os::unix::process::parent_id());
        assert!(text.starts_with(&format!(r#"{{"t":"process",{ids}"#)), "{text}");
        let exe = std::env::current_exe().unwrap();
        let argv: Vec<String> = std::env::args().map(|arg| format!("{arg:?}")).collect();
        assert!(text.contains(&format!(r#""exe":"{}","argv":[{}],"modules":["#, exe.display(), argv.join(","))), "{text}");
        let cwd = std::env::current_dir().unwrap();
        let end =
            format!(r#""uid":{},"started":"0000000000000abc","forked":true,"policy":"text"}}"#, rustix::process::getuid().as_raw());
        assert!(text.contains(&format!(r#","cwd":"{}","host":""#, cwd.display())) && text.ends_with(&format!("{end}\n")), "{text}");
        assert!(line(&facts, SqlPolicy::Hash).contains(&format!(r#""argv":[{}],"#, argv[0])));
    }

    /// In a process of its own, whose filter ends it at `readlinkat`; that one needs no privilege.
    #[test]
    #[allow(unsafe_code)]
    fn under_a_filter_of_system_calls_no_links_are_read() {
        const CHILD: &str = "LOCKTRACE_TEST_FILTER";
        if std::env::var_os(CHILD).is_none() {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            let name = "recorder::process::tests::under_a_filter_of_system_calls_no_links_are_read";
            let output = command.args(["--exact", name, "--test-threads=1"]).env(CHILD, "1").output().unwrap();
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && out.contains("1 passed"), "{}: {out}", output.status);
            return;
        }
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_readlinkat as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        let exe = std::env::current_exe().unwrap();
        // SAFETY: the program is whole and lives until the call returns; it changes this thread alone.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
        let mut scratch = Mapping::new(SCRATCH).unwrap();
        // Of this thread: the filter is on no other.
        let facts = read(scratch.bytes());
        assert_eq!((facts.exe, facts.cwd), (std::os::unix::ffi::OsStrExt::as_bytes(exe.as_os_str()), None));
        assert!(line(&facts, SqlPolicy::Text).contains(r#""cwd":null,"#));
    }

    #[test]
    fn little_memory_leaves_out_what_needs_most() {
        for len in [0, 1, 100, PATH, 10_000, 200_000, SCRATCH - 1] {
            let mut scratch = vec![0; len];
            let facts = read(&mut scratch);
            assert!(facts.modules.is_none(), "{len}");
            assert_eq!(facts.ppid.is_some(), len >= 10_000, "{len}");
            assert!(line(&facts, SqlPolicy::Text).contains(r#""modules":null"#));
        }
    }
}
