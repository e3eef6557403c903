//! Tests that count requests of the heap. They are a target of their own because a program has one global allocator, and theirs counts.
//!
//! | file | idea |
//! | --- | --- |
//! | `heap` | the allocator that counts, for each thread apart (`shim/src/recorder/heap.rs`) |
//! | `no_heap` | the recorder takes nothing from the heap |
//! | `locate` | finding the SQLites of this process |
//! | `unnoticed` | what a program could notice of recording, of SQL and of want of memory |
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../src/recorder/heap.rs"]
mod heap;

mod locate;
mod no_heap;
mod unnoticed;
