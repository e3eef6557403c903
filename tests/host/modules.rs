//! Modules that come and go: plugins that open databases where the loader's lock is held, reloads, and modules with a SQLite inside.

use crate::bundled;
use crate::harness::{Host, Ran, With, equal};
use shim::event::{FileKind, Kind};
use sqlite_locktrace::trace::{Event, Trace};

const BOTH: [With; 2] = [With::Run, With::Extension];

fn host(plugins: &[(&str, &str)]) -> Option<Host> {
    let host = Host::of(&[])?;
    let own = ["-rdynamic", "-ldl", "-l:libsqlite3.so.0"];
    let plugins =
        plugins.iter().all(|(name, flag)| host.compile(name, "plugin", &["-shared", "-fPIC", flag, "-l:libsqlite3.so.0"]));
    (host.compile("loader", "loader", &own) && plugins).then_some(host)
}

/// A plugin with a SQLite of its own that nobody else can see.
fn own_sqlite(host: &Host) -> Option<String> {
    let library = bundled::library()?;
    let (object, map) = (library.join("sqlite3.o"), host.home().join("map"));
    std::fs::write(&map, "{ global: version; local: *; };").unwrap();
    let map = format!("-Wl,--version-script={}", map.display());
    let flags = ["-shared", "-fPIC", object.to_str().unwrap(), &map, "-Wl,-Bsymbolic", "-lm"];
    host.compile("inside.so", "plugin", &flags).then(|| host.program("inside.so").to_str().unwrap().to_owned())
}

/// How often this database was opened, by the trace.
fn opened(ran: &Ran, database: &str) -> usize {
    let trace = Trace::open(&ran.trace).unwrap();
    let of = |event: &Event| event.record.kind == Kind::OPEN && event.record.file_kind == FileKind::DATABASE;
    let name = |event: &Event| trace.log(event.log).names.file(event.record.file).map(|file| file.path.text.ends_with(database));
    trace.events().unwrap().filter(|event| of(event) && name(event) == Some(true)).count()
}

fn loads(flag: &str) {
    let Some(host) = host(&[("plugin.so", flag)]) else { return };
    let plugin = host.program("plugin.so");
    for how in ["load", "twice"] {
        host.same(&BOTH, &["loader", how, plugin.to_str().unwrap()]);
    }
}

#[test]
fn a_thread_opens_a_database_while_a_constructor_waits_for_it() {
    loads("-DCONSTRUCTOR");
}

#[test]
fn a_thread_opens_a_database_while_a_destructor_waits_for_it() {
    loads("-DDESTRUCTOR");
}

#[test]
fn databases_are_opened_while_a_constructor_takes_its_time() {
    let Some(host) = host(&[("plugin.so", "-DSLOW")]) else { return };
    host.same(&BOTH, &["loader", "slow", host.program("plugin.so").to_str().unwrap()]);
}

#[test]
fn a_plugin_that_opened_a_database_is_unloaded_and_replaced() {
    let Some(host) = host(&[("one.so", "-DVERSION=1"), ("two.so", "-DVERSION=2")]) else { return };
    let (one, two) = (host.program("one.so"), host.program("two.so"));
    host.same(&BOTH, &["loader", "reload", one.to_str().unwrap(), two.to_str().unwrap()]);
}

#[test]
fn a_module_with_its_own_sqlite_is_loaded_a_thousand_times() {
    let Some(mut host) = host(&[]) else { return };
    let Some(plugin) = own_sqlite(&host) else { return };
    let ran = host.same(&[With::Run], &["loader", "rounds", "1000", &plugin]);
    assert_eq!(opened(&ran[0], "/plugin.db"), 1000, "recorded each time, though the module always lies at the same address");
    host.set("HOST_BETWEEN", "1");
    host.same(&BOTH, &["loader", "rounds", "200", &plugin]);
}

#[test]
fn a_plugin_with_its_own_sqlite_beside_the_programs() {
    let Some(host) = host(&[]) else { return };
    let Some(plugin) = own_sqlite(&host) else { return };
    host.same(&BOTH, &["loader", "twice", &plugin]);
    let ran = host.same(&[With::Run], &["loader", "twice", &plugin]);
    for (database, times) in [("/own.db", 2), ("/plugin.db", 2), ("/end.db", 2)] {
        assert_eq!(opened(&ran[0], database), times, "{database}");
    }
}

/// SQLite itself comes and goes.
fn dynamic(words: &[&str]) {
    let Some(host) = Host::of(&[]) else { return };
    if host.compile("dynamic", "dynamic", &["-ldl"]) {
        host.same(&[With::Run], &[&["dynamic"], words].concat());
    }
}

#[test]
fn a_program_loads_sqlite_itself_and_unloads_it() {
    for how in ["now", "lazy", "deep", "global"] {
        dynamic(&[how]);
    }
}

#[test]
fn a_program_loads_sqlite_into_a_namespace() {
    let Some(host) = Host::of(&[]) else { return };
    if host.compile("dynamic", "dynamic", &["-ldl"]) {
        // Whether it is recorded is not asked: the preloaded library is not in that namespace.
        let [bare, traced] = [With::Nothing, With::Run].map(|with| host.run(with, &["dynamic", "namespace"]));
        equal("namespace", &bare, &traced);
    }
}

#[test]
fn a_program_loads_and_unloads_sqlite_again_and_again() {
    dynamic(&["rounds"]);
}

#[test]
fn threads_load_and_unload_sqlite_at_once() {
    dynamic(&["threads"]);
}

#[test]
fn a_library_loads_a_plugin_that_only_its_own_runpath_finds() {
    let Some(host) = Host::of(&[]) else { return };
    let libraries = host.home().join("bin/libraries");
    std::fs::create_dir(&libraries).unwrap();
    let built = host.compile("dynamic", "dynamic", &["-ldl"])
        && host.compile("libraries/libcaller.so", "caller", &["-shared", "-fPIC", "-Wl,--enable-new-dtags,-rpath,$ORIGIN", "-ldl"])
        && host.compile("libraries/libplugin-of-caller.so", "plugin", &["-shared", "-fPIC", "-l:libsqlite3.so.0"]);
    if built {
        host.same(&[With::Run], &["dynamic", "by", libraries.to_str().unwrap()]);
    }
}
