//! The framework or driver that a process uses, if its trace proves one.
//!
//! The proof is in the names of a log: the program, its command line, its loaded modules, and the shape of its statements. A guess would name the wrong
//! setting. So if several frameworks are possible, the result is a name that covers all of them ([`Framework::Python`], [`Framework::Rust`]), and the fix
//! says so.
#![forbid(unsafe_code)]

use crate::trace::{Log, LogId, Names, Trace};

/// A framework, driver or program with settings of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framework {
    /// Django.
    Django,
    /// SQLAlchemy.
    SqlAlchemy,
    /// Python with `sqlite3` itself, aiosqlite or Django, which load the same modules, or with a SQLAlchemy that was loaded later.
    Python,
    /// better-sqlite3 for Node.
    BetterSqlite3,
    /// sqlite3 for Node.
    NodeSqlite3,
    /// Node's own `node:sqlite`.
    NodeSqlite,
    /// Rails' Active Record.
    Rails,
    /// Ruby's sqlite3, with or without a framework on top.
    Ruby,
    /// sqlx.
    Sqlx,
    /// diesel.
    Diesel,
    /// rusqlite.
    Rusqlite,
    /// A Rust program that installed the recorder itself and uses an unknown driver.
    Rust,
    /// The `sqlite3` shell.
    Shell,
    /// DB Browser for SQLite.
    DbBrowser,
}

impl Framework {
    /// All frameworks.
    pub const ALL: [Framework; 14] = [
        Framework::Django,
        Framework::SqlAlchemy,
        Framework::Python,
        Framework::BetterSqlite3,
        Framework::NodeSqlite3,
        Framework::NodeSqlite,
        Framework::Rails,
        Framework::Ruby,
        Framework::Sqlx,
        Framework::Diesel,
        Framework::Rusqlite,
        Framework::Rust,
        Framework::Shell,
        Framework::DbBrowser,
    ];

    /// Whether it covers several frameworks that a trace does not distinguish, so that another one's setting may apply.
    pub fn may_have_another_on_top(self) -> bool {
        matches!(self, Framework::Python | Framework::Ruby | Framework::Rust)
    }

    /// Whether a program can install its own busy handler there. A busy timeout installs SQLite's.
    pub fn takes_busy_handlers(self) -> bool {
        match self {
            Framework::Django
            | Framework::SqlAlchemy
            | Framework::Python
            | Framework::BetterSqlite3
            | Framework::NodeSqlite3
            | Framework::NodeSqlite
            | Framework::Shell
            | Framework::DbBrowser => false,
            Framework::Rails | Framework::Ruby | Framework::Sqlx | Framework::Diesel | Framework::Rusqlite | Framework::Rust => {
                true
            }
        }
    }
}

/// Whether a process can have no busy handler but SQLite's own (`sqlite3_busy_timeout`), which sleeps after every refused attempt but the last.
/// Reads no statement.
pub(crate) fn has_default_handler(names: &Names) -> bool {
    let exe = file_name(names.exe().unwrap_or_default());
    if names.may_wait_in_the_kernel() {
        return false;
    }
    let own = |path: &str| path.contains("/apsw") || file_name(path).starts_with("apsw");
    match () {
        () if module(names, own) => false,
        () if is_python(names, exe) => module(names, |path| file_name(path).starts_with("_sqlite3")),
        () => is_node_driver(names) || is_node(names, exe) || is_shell(exe),
    }
}

/// The framework of each log. Finding it reads every statement of a log, so that it is done once for a report.
pub struct Frameworks(Vec<Option<Framework>>);

impl Frameworks {
    /// Those of a whole trace.
    pub fn of(trace: &Trace) -> Frameworks {
        Frameworks(trace.logs().iter().map(of_log).collect())
    }

    /// The framework of the process that wrote a log.
    pub fn framework(&self, log: LogId) -> Option<Framework> {
        self.0.get(log.0 as usize).copied().flatten()
    }
}

fn of_log(log: &Log) -> Option<Framework> {
    let names = &log.names;
    let exe = file_name(names.exe().unwrap_or_default());
    match () {
        () if is_python(names, exe) => Some(python(names)),
        () if module(names, |path| file_name(path) == BETTER_SQLITE3) => Some(Framework::BetterSqlite3),
        () if module(names, |path| file_name(path) == NODE_SQLITE3) => Some(Framework::NodeSqlite3),
        () if is_node(names, exe) => Some(Framework::NodeSqlite),
        () if exe.starts_with("ruby") || module(names, |path| is_rubys(file_name(path))) => Some(ruby(names)),
        () if names.is_linked() => Some(rust(names)),
        () if is_shell(exe) => Some(Framework::Shell),
        () if exe == "sqlitebrowser" || exe.starts_with("DB Browser for SQLite") => Some(Framework::DbBrowser),
        () => None,
    }
}

const BETTER_SQLITE3: &str = "better_sqlite3.node";
const NODE_SQLITE3: &str = "node_sqlite3.node";

fn is_node_driver(names: &Names) -> bool {
    module(names, |path| [BETTER_SQLITE3, NODE_SQLITE3].contains(&file_name(path)))
}

/// No module of its own, and yet a SQLite: the one that Node brings.
fn is_node(names: &Names, exe: &str) -> bool {
    (exe == "node" || exe == "nodejs") && names.modules().is_some() && !module(names, |path| path.ends_with(".node"))
}

fn is_shell(exe: &str) -> bool {
    exe == "sqlite3"
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn module(names: &Names, test: impl Fn(&str) -> bool) -> bool {
    names.modules().is_some_and(|modules| modules.into_iter().any(test))
}

fn is_rubys(file: &str) -> bool {
    file.starts_with("libruby") || file == "sqlite3_native.so"
}

fn any_sql(names: &Names, test: impl Fn(&str) -> bool) -> bool {
    names.sqls().any(|sql| test(&sql.text.text))
}

fn is_python(names: &Names, exe: &str) -> bool {
    exe.starts_with("python")
        || module(names, |path| file_name(path).starts_with("libpython") || file_name(path).contains(".cpython-"))
}

fn python(names: &Names) -> Framework {
    let command = names.argv().unwrap_or_default();
    let runs = |what: &str| command.iter().any(|part| file_name(part) == what);
    let as_module = command.windows(2).any(|pair| pair == ["-m", "django"]);
    // Tables that only Django creates, and functions that only Django defines.
    let tables = ["\"django_migrations\"", "\"django_session\"", "\"django_content_type\"", "\"django_admin_log\""];
    let functions = ["django_date_", "django_datetime_", "django_time_"];
    let speaks = |sql: &str| tables.iter().chain(&functions).any(|word| sql.contains(word)) || is_django_savepoint(sql);
    if runs("manage.py") || runs("django-admin") || as_module || any_sql(names, speaks) {
        return Framework::Django;
    }
    // SQLAlchemy's compiled parts, or the names that only SQLAlchemy gives to savepoints.
    if module(names, |path| path.contains("/sqlalchemy/")) || any_sql(names, |sql| sql.starts_with("SAVEPOINT sa_savepoint_")) {
        return Framework::SqlAlchemy;
    }
    Framework::Python
}

fn ruby(names: &Names) -> Framework {
    let command = names.argv().unwrap_or_default();
    let runs = command.iter().any(|part| file_name(part) == "rails");
    let speaks = |sql: &str| sql.contains("\"ar_internal_metadata\"") || sql.contains("SAVEPOINT active_record_");
    if runs || any_sql(names, speaks) { Framework::Rails } else { Framework::Ruby }
}

fn rust(names: &Names) -> Framework {
    let marks = [
        ("_sqlx_", Framework::Sqlx),
        ("diesel_savepoint_", Framework::Diesel),
        ("__diesel_schema_migrations", Framework::Diesel),
        ("_rusqlite_sp", Framework::Rusqlite),
        ("refinery_schema_history", Framework::Rusqlite),
    ];
    let found = marks.iter().find(|(mark, _)| any_sql(names, |sql| sql.contains(mark)));
    found.map_or(Framework::Rust, |&(_, framework)| framework)
}

/// `SAVEPOINT "s140234_x1"`: a thread's number and a counter.
fn is_django_savepoint(sql: &str) -> bool {
    let Some(name) = sql.strip_prefix("SAVEPOINT \"s").and_then(|rest| rest.strip_suffix('"')) else { return false };
    name.split_once("_x").is_some_and(|(thread, counter)| {
        [thread, counter].iter().all(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The framework of a process with this program, command line, modules and statements.
    fn of(exe: &str, argv: &[&str], modules: &[&str], sql: &[&str]) -> Option<Framework> {
        let process = json!({"t": "process", "exe": exe, "argv": argv, "modules": modules});
        let mut lines = vec![process, json!({"t": "library", "lib": 1, "linked": argv == ["linked"]})];
        lines.extend((1..).zip(sql).map(|(hash, text): (u64, _)| json!({"t": "sql", "sql": format!("{hash:016x}"), "text": text})));
        of_log(&Log::with_names(Names::of(lines)))
    }

    #[test]
    fn each_by_what_proves_it() {
        let python = "/usr/bin/python3.11";
        let native = "/usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so";
        for (framework, exe, argv, modules, sql) in [
            (Framework::Django, python, &["python3", "manage.py", "runserver"][..], &[native][..], &[][..]),
            (Framework::Django, python, &["python3", "-m", "django", "migrate"], &[native], &[]),
            (Framework::Django, python, &["/venv/bin/gunicorn"], &[native], &["SELECT \"django_session\".\"session_key\" FROM"]),
            (Framework::Django, python, &[], &[], &["SELECT django_datetime_trunc('day', \"a\".\"b\")"]),
            (Framework::Django, "/usr/bin/uwsgi", &["uwsgi"], &["/usr/lib/libpython3.11.so.1.0"], &["SAVEPOINT \"s140234_x1\""]),
            (Framework::SqlAlchemy, python, &["uvicorn"], &[native, "/v/sqlalchemy/cyextension/util.cpython-311.so"], &[]),
            (Framework::SqlAlchemy, python, &[], &[], &["SAVEPOINT sa_savepoint_1"]),
            (Framework::Python, python, &["python3", "app.py"], &[native], &["INSERT INTO \"django_shop\" VALUES (1)"]),
            (Framework::Python, "/usr/sbin/uwsgi", &[], &[native], &[]),
            (Framework::BetterSqlite3, "/usr/bin/node", &[], &["/a/build/Release/better_sqlite3.node"], &[]),
            (Framework::NodeSqlite3, "/usr/bin/node", &[], &["/a/build/Release/node_sqlite3.node"], &[]),
            (Framework::NodeSqlite, "/usr/bin/node", &[], &["/usr/lib/libsqlite3.so.0"], &[]),
            (Framework::Rails, "/usr/bin/ruby3.1", &["ruby", "bin/rails", "server"], &[], &[]),
            (Framework::Rails, "/usr/bin/ruby3.1", &["puma"], &[], &["SELECT * FROM \"ar_internal_metadata\""]),
            (Framework::Rails, "/opt/app/puma", &[], &["/usr/lib/libruby-3.1.so.3.1"], &["SAVEPOINT active_record_1"]),
            (Framework::Ruby, "/usr/bin/ruby3.1", &["ruby", "worker.rb"], &[], &["SELECT * FROM schema_migrations"]),
            (Framework::Sqlx, "/srv/app", &["linked"], &[], &["SELECT version FROM _sqlx_migrations"]),
            (Framework::Diesel, "/srv/app", &["linked"], &[], &["SAVEPOINT diesel_savepoint_1"]),
            (Framework::Rusqlite, "/srv/app", &["linked"], &[], &["SAVEPOINT _rusqlite_sp"]),
            (Framework::Rust, "/srv/app", &["linked"], &[], &["SELECT 1"]),
            (Framework::Shell, "/usr/bin/sqlite3", &["sqlite3", "app.db"], &[], &[]),
            (Framework::DbBrowser, "/usr/bin/sqlitebrowser", &[], &[], &[]),
        ] {
            assert_eq!(of(exe, argv, modules, sql), Some(framework), "{exe} {argv:?} {modules:?} {sql:?}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for (exe, argv, modules, sql) in [
            // Another program of that name, and tables that other frameworks have, too.
            ("/bin/sh", &["sh", "manage.py"][..], &[][..], &["SELECT * FROM schema_migrations"][..]),
            ("/srv/server", &["server"], &["/usr/lib/libsqlite3.so.0"], &["SELECT \"django_session\".\"session_key\" FROM"]),
            ("/usr/bin/sqlite3-backup", &[], &[], &[]),
            ("", &[], &[], &[]),
        ] {
            assert_eq!(of(exe, argv, modules, sql), None, "{exe}");
        }
        // A Node with unknown modules, or with a module that is unknown here.
        assert_eq!(of("/usr/bin/node", &[], &["/a/other.node"], &[]), None);
        let bare = Names::of(vec![json!({"t": "process", "exe": "/usr/bin/node", "argv": ["node"]})]);
        assert_eq!(of_log(&Log::with_names(bare)), None);
    }

    #[test]
    fn djangos_savepoints() {
        assert!(is_django_savepoint("SAVEPOINT \"s140234_x1\""));
        assert!(!is_django_savepoint("SAVEPOINT \"s_x1\"") && !is_django_savepoint("SAVEPOINT sa_savepoint_1"));
    }
}
