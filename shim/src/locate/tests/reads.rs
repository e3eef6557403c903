//! Reads of this process that cannot fault.

use crate::locate::memory::{Memory, Process};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

const PAGE: usize = 4096;

fn map(pages: usize, protection: i32, file: Option<&std::fs::File>) -> usize {
    let (flags, file) = file.map_or((libc::MAP_ANONYMOUS, -1), |file| (0, file.as_raw_fd()));
    let at = unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, protection, libc::MAP_PRIVATE | flags, file, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at as usize
}

#[test]
fn what_cannot_be_read_is_not() {
    let memory = Process::default();
    let mut bytes = [0; 64];
    let own = b"a text of ours, longer than a few words, so that it has an address";
    assert!(memory.copy(own.as_ptr() as usize, &mut bytes) && bytes == own[..64]);
    unsafe { *libc::__errno_location() = 7 };
    assert!(!memory.copy(0, &mut bytes) && !memory.copy(8, &mut bytes) && !memory.copy(usize::MAX - 8, &mut bytes));
    assert!(!memory.copy(1 << 60, &mut bytes), "not an address");

    let pages = map(3, libc::PROT_READ | libc::PROT_WRITE, None);
    assert_eq!(unsafe { libc::mprotect((pages + PAGE) as *mut _, PAGE, libc::PROT_NONE) }, 0);
    assert!(memory.copy(pages + PAGE - 64, &mut bytes));
    assert!(!memory.copy(pages + PAGE - 63, &mut bytes) && !memory.copy(pages + 2 * PAGE - 1, &mut bytes));
    assert!(memory.copy(pages + 2 * PAGE, &mut bytes));
    assert_eq!(unsafe { *libc::__errno_location() }, 7, "errno is the program's");
    assert_eq!(unsafe { libc::munmap(pages as *mut _, 3 * PAGE) }, 0);
    assert!(!Process::default().copy(pages, &mut bytes));
}

#[test]
fn a_file_that_became_shorter_is_no_bus_error() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[1; 3 * PAGE]).unwrap();
    let pages = map(3, libc::PROT_READ, Some(&file));
    file.set_len(PAGE as u64).unwrap();
    let (memory, mut bytes) = (Process::default(), [0; 64]);
    assert!(memory.copy(pages, &mut bytes) && bytes == [1; 64]);
    assert!(!memory.copy(pages + PAGE, &mut bytes));
}

#[test]
fn asking_whether_a_word_can_be_written_changes_nothing() {
    let memory = Process::default();
    let pages = map(2, libc::PROT_READ | libc::PROT_WRITE, None);
    unsafe { *(pages as *mut u32) = 0xdead_beef };
    assert!(memory.writable(pages) && memory.writable(pages + PAGE + 8));
    assert_eq!(unsafe { *(pages as *const u32) }, 0xdead_beef);
    assert_eq!(unsafe { libc::mprotect(pages as *mut _, PAGE, libc::PROT_READ) }, 0);
    assert!(!memory.writable(pages) && memory.writable(pages + PAGE) && !memory.writable(0));
}
