//! SQLite's VFS objects, and VFSes of the program above them.

use crate::harness::{Host, With};

const BOTH: [With; 2] = [With::Run, With::Extension];

#[test]
fn a_vfs_above_passes_names_of_its_own_for_journals() {
    let Some(host) = Host::of(&["renamed"]) else { return };
    for copy in ["malloc", "filename", "after", "before", "database", "null"] {
        host.same(&BOTH, &["renamed", copy]);
        host.same(&BOTH, &["renamed", copy, "used before"]);
    }
}

#[test]
fn a_vfs_above_finds_its_own_objects_by_file_controls() {
    let Some(host) = Host::of(&["own_objects"]) else { return };
    for over in ["unix", "unix-excl"] {
        host.same(&BOTH, &["own_objects", over]);
    }
    host.same(&BOTH, &["own_objects"]);
}

fn objects(how: &str) {
    let Some(host) = Host::of(&["objects"]) else { return };
    host.same(&[With::Run], &["objects", how]);
}

#[test]
fn a_program_copies_the_vfs_objects() {
    objects("copy");
}

#[test]
fn a_program_replaces_x_open_of_the_unix_object() {
    objects("replace");
}

#[test]
fn a_program_replaces_more_slots_of_all_objects() {
    objects("slots");
}

#[test]
fn a_program_unregisters_the_default_and_registers_it_again() {
    objects("unregister");
}

#[test]
fn a_program_unregisters_every_vfs() {
    objects("none");
}

#[test]
fn a_program_shuts_sqlite_down_and_initializes_it_in_a_loop() {
    objects("shutdown");
}

#[test]
fn the_objects_are_the_same_bytes_after_opens() {
    objects("still");
}

#[test]
fn vfs_list_names_sizes_and_memory_are_those_of_the_bare_program() {
    let Some(host) = Host::of(&["figures"]) else { return };
    host.same(&[With::Run], &["figures"]);
}

#[test]
fn a_program_replaces_the_system_calls() {
    let Some(host) = Host::of(&["system_calls"]) else { return };
    host.same(&BOTH, &["system_calls"]);
}
