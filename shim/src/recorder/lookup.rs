//! Names looked up for those who show this process to itself: the texts of statements, and the present names of threads.
//!
//! Two forms of each. [`texts::find`](super::texts::find) and [`thread_comm`] use no heap, and answer SQL in other people's programs.
//! [`texts`] and [`thread_name`] give `String`s to the Rust program that links the crate. Cold: never called on the way of a lock.
#![forbid(unsafe_code)]

use crate::sys::{self, Path};
use std::collections::HashMap;
use std::fmt::Write as _;

/// The name of a thread of this process: its present one; `None` when it has ended. Without a heap.
pub(crate) fn thread_comm(tid: u32, into: &mut [u8]) -> Option<&[u8]> {
    let mut path = Path::new(&[])?;
    write!(path, "/proc/self/task/{tid}/comm").ok()?;
    Some(sys::read_file(path.as_c_str(), into)?.trim_ascii_end())
}

/// The name of a thread of this process: its present one; `None` when it has ended.
pub fn thread_name(tid: u32) -> Option<String> {
    Some(String::from_utf8_lossy(thread_comm(tid, &mut [0; 64])?).into_owned())
}

/// The texts of these statements, as far as they were kept. 0 stands for no statement and has none.
pub fn texts(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
    let text = |hash| Some((hash, String::from_utf8_lossy(super::texts::find(hash)?).into_owned()));
    hashes.into_iter().filter(|&hash| hash != 0).filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_name_until_it_ends() {
        let named = |name: &str| {
            let here = || (rustix::thread::gettid().as_raw_pid() as u32, thread_name(rustix::thread::gettid().as_raw_pid() as u32));
            std::thread::Builder::new().name(name.to_owned()).spawn(here).unwrap().join().unwrap()
        };
        let (tid, name) = named("a-name-of-15-by");
        assert_eq!(name.as_deref(), Some("a-name-of-15-by"));
        let mut room = [0; 64];
        crate::recorder::heap::unnoticed(|| assert!(thread_comm(std::process::id(), &mut room).is_some()));
        let path = format!("/proc/self/task/{tid}");
        while std::fs::exists(&path).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(thread_name(tid), None);
    }
}
