//! The answers to made-up lists of locks.

use super::super::line::{Fixed, Length, Sink};
use super::*;
use crate::memory::Mapping;
use crate::recorder::heap::unnoticed;
use std::os::unix::ffi::OsStrExt;

/// A `/proc` with this list, and two processes: 4711 with a command line, 12 that sleeps uninterruptibly.
fn proc(list: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
    put("locks", list);
    for (pid, state) in [(4711, 'S'), (12, 'D')] {
        std::fs::create_dir(dir.path().join(pid.to_string())).unwrap();
        let numbers: Vec<String> = (4..30).map(|field| field.to_string()).collect();
        put(&format!("{pid}/stat"), &format!("{pid} (a) b) {state} {}\n", numbers.join(" ")));
        put(&format!("{pid}/cmdline"), "sqlite3\0app.db\0UPDATE t\0");
    }
    std::os::unix::fs::symlink("99", dir.path().join("self")).unwrap();
    dir
}

/// The file of every question: device 8:2, inode 42.
fn ask(list: &str, request: Request, policy: SqlPolicy) -> (Answer<'static>, u32) {
    let dir = proc(list);
    let proc = dir.path().as_os_str().as_bytes();
    let scratch = Box::leak(Box::new(Mapping::new(SCRATCH).unwrap())).bytes();
    let mut answer = None;
    let question = Question { proc, file: (0x802, 42), flock: false, request, policy };
    unnoticed(|| answer = Some(question.ask(scratch)));
    answer.unwrap()
}

fn found(list: &str, request: Request) -> Vec<(i64, String, bool)> {
    match ask(list, request, SqlPolicy::Text).0 {
        Answer::Found(holders, 0) => holders.iter().map(|holder| (holder.pid, names(holder).join("+"), holder.write)).collect(),
        Answer::Nobody => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn names(holder: &Holder<'_>) -> Vec<&'static str> {
    holder.locks.names().collect()
}

const READER: &str = "1: POSIX  ADVISORY  READ 7 08:02:42 1073741826 1073742335\n";
const WRITER: &str = "2: POSIX  ADVISORY  WRITE 4711 08:02:42 1073741825 1073741825\n\
                      3: POSIX  ADVISORY  READ 4711 08:02:42 1073741826 1073742335\n";
const PENDING_WRITER: &str = "2: POSIX  ADVISORY  WRITE 4711 08:02:42 1073741824 1073741825\n\
                              3: POSIX  ADVISORY  READ 4711 08:02:42 1073741826 1073742335\n";
const ALONE: &str = "4: POSIX  ADVISORY  WRITE 4711 08:02:42 1073741824 1073742335\n";

/// SQLite's conflict table, from the bytes it locks.
#[test]
fn levels_are_known_by_their_bytes() {
    let [shared, reserved, exclusive] = [Level::SHARED, Level::RESERVED, Level::EXCLUSIVE].map(Request::File);
    let is = |pid, name: &str, write| vec![(pid, name.to_owned(), write)];
    for (list, asked, expected) in [
        (READER, shared, vec![]),
        (READER, reserved, vec![]),
        (READER, exclusive, is(7, "SHARED", false)),
        (WRITER, shared, vec![]),
        (WRITER, reserved, is(4711, "RESERVED", true)),
        (WRITER, exclusive, is(4711, "RESERVED", false)),
        (PENDING_WRITER, shared, is(4711, "PENDING", true)),
        (PENDING_WRITER, reserved, is(4711, "PENDING", true)),
        (ALONE, shared, is(4711, "EXCLUSIVE", true)),
        (ALONE, reserved, is(4711, "EXCLUSIVE", true)),
        (ALONE, exclusive, is(4711, "EXCLUSIVE", true)),
        // A program that is not SQLite locks the whole file.
        ("9: POSIX ADVISORY WRITE 7 08:02:42 0 EOF\n", shared, is(7, "EXCLUSIVE", true)),
        ("9: POSIX ADVISORY READ 7 08:02:42 0 EOF\n", reserved, is(7, "SHARED", false)),
        ("9: POSIX ADVISORY READ 7 08:02:42 0 EOF\n", shared, vec![]),
        // The first step to SHARED.
        ("9: POSIX ADVISORY READ 7 08:02:42 1073741824 1073741824\n", exclusive, is(7, "SHARED", false)),
    ] {
        assert_eq!(found(list, asked), expected, "{list} against {asked:?}");
    }
}

#[test]
fn slots_are_known_by_their_bytes() {
    let list = "1: POSIX  ADVISORY  WRITE 4711 08:02:42 120 121\n\
                2: POSIX  ADVISORY  READ 7 08:02:42 124 124\n\
                3: POSIX  ADVISORY  READ 7 08:02:42 128 128\n";
    let shm = |mask, exclusive| found(list, Request::Shm { mask, exclusive });
    assert_eq!(shm(1, true), [(4711, "WRITE".to_owned(), true)]);
    assert_eq!(shm(0b11, true), [(4711, "WRITE+CKPT".to_owned(), true)]);
    assert_eq!(shm(0b1000, true), []);
    assert_eq!(shm(0b1_0000, false), [], "two readers");
    assert_eq!(shm(0b1111_0000, true), [(7, "READ1".to_owned(), false)]);
}

#[test]
fn what_is_not_in_the_way_is_not_accused() {
    let list = "1: FLOCK  ADVISORY  WRITE 1 08:02:42 0 EOF\n\
                1: -> POSIX  ADVISORY  WRITE 2 08:02:42 0 EOF\n\
                2: LEASE  ACTIVE    READ 3 08:02:42 0 EOF\n\
                3: POSIX  ADVISORY  WRITE 4 08:02:43 0 EOF\n\
                4: POSIX  ADVISORY  WRITE 5 08:02:42 0 1073741823\n\
                5: POSIX  ADVISORY  WRITE 5 08:02:42 1073742336 EOF\n\
                6: POSIX  *NOINODE* WRITE 6 <none>:0 0 EOF\n\
                nonsense\n7: POSIX\n";
    assert_eq!(ask(list, Request::File(Level::EXCLUSIVE), SqlPolicy::Text), (Answer::Nobody, READINGS));
}

#[test]
fn a_holder_is_described() {
    let list = "1: OFDLCK ADVISORY  WRITE -1 08:02:42 1073741825 1073741825\n\
                2: POSIX  ADVISORY  WRITE 99 08:02:42 1073741825 1073741825\n\
                3: POSIX  ADVISORY  WRITE 12 08:02:42 1073741825 1073741825\n";
    let (answer, readings) = ask(&format!("{WRITER}{list}"), Request::File(Level::RESERVED), SqlPolicy::Text);
    let Answer::Found(holders, 0) = answer else { panic!("{answer:?}") };
    assert_eq!(readings, 1);
    let of = |pid: i64| *holders.iter().find(|holder| holder.pid == pid).unwrap();
    assert!(holders.iter().all(|holder| holder.exact) && holders.iter().count() == 4);
    let process = of(4711).process.unwrap();
    let argv: Vec<&[u8]> = process.argv().collect();
    assert_eq!((process.comm, process.started), (&b"a) b"[..], 22));
    assert_eq!(argv, [&b"sqlite3"[..], b"app.db", b"UPDATE t"]);
    assert_eq!((of(-1).how, of(-1).process), ("ofd", None));
    assert!(of(99).own && !of(4711).own);
    let own =
        "1: POSIX ADVISORY WRITE 99 08:02:42 1073741824 1073741825\n2: POSIX ADVISORY READ 99 08:02:42 1073741826 1073742335\n";
    assert_eq!(found(own, Request::File(Level::EXCLUSIVE)), [], "those of the connection that asks");
    assert_eq!(found(own, Request::File(Level::SHARED)), [(99, "PENDING".to_owned(), true)], "another connection's");
    assert_eq!(of(12).process.unwrap().argv().count(), 0, "not asked while it may not answer");
    let (answer, _) = ask(WRITER, Request::File(Level::RESERVED), SqlPolicy::Hash);
    let Answer::Found(holders, 0) = answer else { panic!("{answer:?}") };
    let argv: Vec<&[u8]> = holders.iter().next().unwrap().process.unwrap().argv().collect();
    assert_eq!(argv, [b"sqlite3"], "a command line can hold statements");
}

#[test]
fn another_device_is_possible_where_none_fits() {
    let other = "1: POSIX ADVISORY WRITE 7 00:31:42 1073741825 1073741825\n";
    let pids = |list: &str| match ask(list, Request::File(Level::RESERVED), SqlPolicy::Text).0 {
        Answer::Found(holders, _) => holders.iter().map(|holder| (holder.pid, holder.exact)).collect(),
        _ => vec![],
    };
    assert_eq!(pids(other), [(7, false)]);
    assert_eq!(pids(&format!("{other}{WRITER}")), [(4711, true)]);
    assert_eq!(pids(&format!("{other}{READER}")), [], "the device's numbers are the kernel's here");
}

#[test]
fn many_holders_are_counted() {
    let list: String = (1..=20).map(|pid| format!("{pid}: POSIX ADVISORY READ {pid} 08:02:42 1073741826 1073742335\n")).collect();
    let (answer, _) = ask(&list, Request::File(Level::EXCLUSIVE), SqlPolicy::Text);
    let Answer::Found(holders, more) = answer else { panic!("{answer:?}") };
    assert_eq!((holders.iter().count(), more), (HOLDERS, 20 - HOLDERS as u32));
}

#[test]
fn where_it_cannot_be_asked_it_says_why() {
    let (request, policy) = (Request::File(Level::SHARED), SqlPolicy::Text);
    let question = Question { proc: b"/no/such/proc", file: (1, 1), flock: false, request, policy };
    let mut scratch = Mapping::new(SCRATCH).unwrap();
    let mut asked = None;
    unnoticed(|| asked = Some(question.ask(scratch.bytes())));
    let (answer, readings) = asked.unwrap();
    assert!(matches!(&answer, Answer::Failed(why) if why.contains("No such file")), "{answer:?}");
    assert_eq!(
        line(&answer, readings),
        "{\"t\":\"outside\",\"conn\":3,\"start\":\"00000000000000ff\",\"after\":7,\"readings\":1,\
         \"failed\":\"No such file or directory (os error 2)\"}\n"
    );
    assert!(matches!(question.ask(&mut [0; 100]), (Answer::Failed(_), 0)));
    let long = vec![b'x'; Path::MOST];
    let (answer, _) = Question { proc: &long, ..question }.ask(scratch.bytes());
    assert!(matches!(answer, Answer::Failed(why) if why.contains("too long")), "{answer:?}");
    let endless: String = "1: POSIX ADVISORY READ 7 08:02:41 0 0\n".repeat(30_000);
    assert!(matches!(ask(&endless, Request::File(Level::SHARED), SqlPolicy::Text).0, Answer::Failed(_)));
}

/// The line of an answer, counted and then filled.
fn line(answer: &Answer<'_>, readings: u32) -> String {
    let build = |out: &mut dyn Sink| {
        let mut line = Line::new(out, "outside");
        write_line(&mut line, 3, 255, 7, answer, readings);
        line.finish();
    };
    let (mut length, mut memory) = (Length::default(), vec![0; 64 << 10]);
    build(&mut length);
    let mut fixed = Fixed::new(&mut memory);
    unnoticed(|| build(&mut fixed));
    assert_eq!(fixed.bytes().len(), length.0);
    String::from_utf8(fixed.bytes().to_vec()).unwrap()
}

#[test]
fn a_line_of_what_was_found() {
    let list = format!("{WRITER}4: FLOCK ADVISORY WRITE 1 08:02:42 0 EOF\n2: OFDLCK ADVISORY WRITE -1 08:02:42 120 1073741825\n");
    let start = "{\"t\":\"outside\",\"conn\":3,\"start\":\"00000000000000ff\",\"after\":7,";
    let (answer, readings) = ask(&list, Request::File(Level::RESERVED), SqlPolicy::Text);
    assert_eq!(
        line(&answer, readings),
        format!(
            "{start}\"readings\":1,\"holders\":[\
             {{\"pid\":4711,\"how\":\"posix\",\"mode\":\"write\",\"locks\":[\"RESERVED\"],\"exact\":true,\"own\":false,\
             \"comm\":\"a) b\",\"argv\":[\"sqlite3\",\"app.db\",\"UPDATE t\"],\"started\":22}},\
             {{\"pid\":-1,\"how\":\"ofd\",\"mode\":\"write\",\"locks\":[\"PENDING\"],\"exact\":true,\"own\":false}}],\"more\":0}}\n"
        )
    );
    let (answer, readings) = ask(&list, Request::Shm { mask: 0b1001, exclusive: true }, SqlPolicy::Text);
    assert!(line(&answer, readings).contains("\"locks\":[\"WRITE\",\"READ0\"]"), "{answer:?}");
    assert_eq!(line(&Answer::Nobody, 3), format!("{start}\"readings\":3,\"holders\":[],\"more\":0}}\n"));
}

/// Longer than the memory for it, cut in the middle of a line: what was read is used.
#[test]
fn a_list_that_is_cut_names_whom_it_has() {
    let endless = "1: POSIX ADVISORY READ 7 08:02:41 0 0\n".repeat(30_000);
    let (answer, _) = ask(&format!("{WRITER}{endless}"), Request::File(Level::RESERVED), SqlPolicy::Text);
    assert!(matches!(answer, Answer::Found(..)), "{answer:?}");
    // Of more holders than there is memory for, those at the end are left out; number 99 is this process.
    let others: String = (1..5_000).map(|pid| format!("1: POSIX ADVISORY READ {pid} 08:02:42 1073741826 1073742335\n")).collect();
    let (answer, _) = ask(&others, Request::File(Level::EXCLUSIVE), SqlPolicy::Text);
    assert!(matches!(answer, Answer::Found(_, more) if more as usize == 4096 - 1 - HOLDERS), "{answer:?}");
}

/// In a process of its own: the limit is the process's.
#[test]
fn near_the_limit_of_descriptors_nobody_is_asked() {
    const CHILD: &str = "LOCKTRACE_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "recorder::outside::tests::near_the_limit_of_descriptors_nobody_is_asked";
        let output = command.args(["--exact", name, "--test-threads=1"]).env(CHILD, "1").output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && out.contains("1 passed"), "{out}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let limit = |soft: u64| {
        let (current, maximum) = (Some(soft), rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum);
        rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current, maximum }).unwrap();
    };
    let mut scratch = Mapping::new(SCRATCH).unwrap();
    let (request, policy) = (Request::File(Level::SHARED), SqlPolicy::Text);
    let question = Question { proc: b"/proc", file: (1, 1), flock: false, request, policy };
    let open = || std::fs::File::open("/proc/self/stat");
    let number = |file: &std::fs::File| std::os::fd::AsRawFd::as_raw_fd(file) as u64;
    // Ours and sixteen more, with the program's own in between.
    let all: Vec<std::fs::File> = (0..34).map(|_| open().unwrap()).collect();
    let (next, last) = (number(&all[1]), number(&all[33]));
    let (_kept, free): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    drop(free);
    // The limit is one above the highest descriptor.
    limit(last + 1);
    assert_eq!(question.ask(scratch.bytes()), (Answer::Nobody, READINGS));
    let now = crate::clock::monotonic_ns();
    assert!(!is_short(now));
    for few in [last, next + 1, next] {
        limit(few);
        assert_eq!(question.ask(scratch.bytes()), (Answer::Failed("descriptors are short"), 1), "{few}");
        limit(next + 1);
        assert!(open().is_ok(), "nothing stays open");
        assert!(is_short(now + 9_000_000_000) && !is_short(crate::clock::monotonic_ns() + 11_000_000_000));
    }
}
