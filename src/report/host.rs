//! Which framework or driver a process uses, where its trace proves it.
//!
//! Input: the names of a log: the program, its command line, the modules it has loaded, and the shape of its statements. Output: a [`Host`], or
//! nothing. A guess would name the wrong setting: where several hosts are possible, the one that is named covers all of them ([`Host::Python`],
//! [`Host::Rust`]), and the fix says so.
#![forbid(unsafe_code)]

use crate::analysis::{Analysis, ConnId};
use crate::trace::{Log, Names};

/// A framework, driver or program whose settings have names of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// Django.
    Django,
    /// SQLAlchemy is loaded in this process.
    SqlAlchemy,
    /// Python, with `sqlite3` itself, aiosqlite or Django (nothing that they load tells them apart), or a SQLAlchemy that was loaded later.
    Python,
    /// better-sqlite3 for Node.
    BetterSqlite3,
    /// sqlite3 for Node.
    NodeSqlite3,
    /// Node's own `node:sqlite`.
    NodeSqlite,
    /// Rails' Active Record.
    Rails,
    /// Ruby's sqlite3, with or without something on top.
    Ruby,
    /// sqlx.
    Sqlx,
    /// diesel.
    Diesel,
    /// rusqlite.
    Rusqlite,
    /// A Rust program that installed the recorder itself, with a driver that is not known.
    Rust,
    /// The `sqlite3` shell.
    Shell,
    /// DB Browser for SQLite.
    DbBrowser,
}

impl Host {
    /// Whether programs have a way to set a busy handler of their own there, beside SQLite's, which a timeout sets.
    pub fn takes_busy_handlers(self) -> bool {
        match self {
            Host::Django
            | Host::SqlAlchemy
            | Host::Python
            | Host::BetterSqlite3
            | Host::NodeSqlite3
            | Host::NodeSqlite
            | Host::Shell
            | Host::DbBrowser => false,
            Host::Rails | Host::Ruby | Host::Sqlx | Host::Diesel | Host::Rusqlite | Host::Rust => true,
        }
    }
}

/// The host of each log. Finding it reads every statement of a log, so that it is done once for a report.
pub struct Hosts(Vec<Option<Host>>);

impl Hosts {
    /// Those of a whole trace.
    pub fn of(analysis: &Analysis<'_>) -> Hosts {
        Hosts(analysis.trace.logs().iter().map(of_log).collect())
    }

    /// The host of a connection.
    pub fn host(&self, who: ConnId) -> Option<Host> {
        self.0.get(who.log.0 as usize).copied().flatten()
    }
}

fn of_log(log: &Log) -> Option<Host> {
    let names = &log.names;
    let exe = file_name(names.exe().unwrap_or_default());
    match () {
        () if is_python(names, exe) => Some(python(names)),
        () if module(names, |path| file_name(path) == "better_sqlite3.node") => Some(Host::BetterSqlite3),
        () if module(names, |path| file_name(path) == "node_sqlite3.node") => Some(Host::NodeSqlite3),
        // No module of its own, and yet a SQLite: the one that Node brings.
        () if (exe == "node" || exe == "nodejs") && names.modules().is_some() && !module(names, |path| path.ends_with(".node")) => {
            Some(Host::NodeSqlite)
        }
        () if exe.starts_with("ruby") || module(names, |path| is_rubys(file_name(path))) => Some(ruby(names)),
        () if names.is_linked() => Some(rust(names)),
        () if exe == "sqlite3" => Some(Host::Shell),
        () if exe == "sqlitebrowser" || exe.starts_with("DB Browser for SQLite") => Some(Host::DbBrowser),
        () => None,
    }
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

fn python(names: &Names) -> Host {
    let command = names.argv().unwrap_or_default();
    let runs = |what: &str| command.iter().any(|part| file_name(part) == what);
    let as_module = command.windows(2).any(|pair| pair == ["-m", "django"]);
    // Tables that only it makes, and functions that only it defines.
    let tables = ["\"django_migrations\"", "\"django_session\"", "\"django_content_type\"", "\"django_admin_log\""];
    let functions = ["django_date_", "django_datetime_", "django_time_"];
    let speaks = |sql: &str| tables.iter().chain(&functions).any(|word| sql.contains(word)) || is_django_savepoint(sql);
    if runs("manage.py") || runs("django-admin") || as_module || any_sql(names, speaks) {
        return Host::Django;
    }
    // Its compiled parts; or the savepoints that only it names so.
    if module(names, |path| path.contains("/sqlalchemy/")) || any_sql(names, |sql| sql.starts_with("SAVEPOINT sa_savepoint_")) {
        return Host::SqlAlchemy;
    }
    Host::Python
}

fn ruby(names: &Names) -> Host {
    let command = names.argv().unwrap_or_default();
    let runs = command.iter().any(|part| file_name(part) == "rails");
    let speaks = |sql: &str| sql.contains("\"ar_internal_metadata\"") || sql.contains("SAVEPOINT active_record_");
    if runs || any_sql(names, speaks) { Host::Rails } else { Host::Ruby }
}

fn rust(names: &Names) -> Host {
    let marks = [
        ("_sqlx_", Host::Sqlx),
        ("diesel_savepoint_", Host::Diesel),
        ("__diesel_schema_migrations", Host::Diesel),
        ("_rusqlite_sp", Host::Rusqlite),
        ("refinery_schema_history", Host::Rusqlite),
    ];
    let found = marks.iter().find(|(mark, _)| any_sql(names, |sql| sql.contains(mark)));
    found.map_or(Host::Rust, |&(_, host)| host)
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

    /// The host of a process with this program, command line, these modules and statements.
    fn of(exe: &str, argv: &[&str], modules: &[&str], sql: &[&str]) -> Option<Host> {
        let process = json!({"t": "process", "exe": exe, "argv": argv, "modules": modules});
        let mut lines = vec![process, json!({"t": "library", "lib": 1, "linked": argv == ["linked"]})];
        lines.extend((1..).zip(sql).map(|(hash, text): (u64, _)| json!({"t": "sql", "sql": format!("{hash:016x}"), "text": text})));
        of_log(&Log::with_names(Names::of(lines)))
    }

    #[test]
    fn each_by_what_proves_it() {
        let python = "/usr/bin/python3.11";
        let native = "/usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so";
        for (host, exe, argv, modules, sql) in [
            (Host::Django, python, &["python3", "manage.py", "runserver"][..], &[native][..], &[][..]),
            (Host::Django, python, &["python3", "-m", "django", "migrate"], &[native], &[]),
            (Host::Django, python, &["/venv/bin/gunicorn"], &[native], &["SELECT \"django_session\".\"session_key\" FROM"]),
            (Host::Django, python, &[], &[], &["SELECT django_datetime_trunc('day', \"a\".\"b\")"]),
            (Host::Django, "/usr/bin/uwsgi", &["uwsgi"], &["/usr/lib/libpython3.11.so.1.0"], &["SAVEPOINT \"s140234_x1\""]),
            (Host::SqlAlchemy, python, &["uvicorn"], &[native, "/v/sqlalchemy/cyextension/util.cpython-311.so"], &[]),
            (Host::SqlAlchemy, python, &[], &[], &["SAVEPOINT sa_savepoint_1"]),
            (Host::Python, python, &["python3", "app.py"], &[native], &["INSERT INTO \"django_shop\" VALUES (1)"]),
            (Host::Python, "/usr/sbin/uwsgi", &[], &[native], &[]),
            (Host::BetterSqlite3, "/usr/bin/node", &[], &["/a/build/Release/better_sqlite3.node"], &[]),
            (Host::NodeSqlite3, "/usr/bin/node", &[], &["/a/build/Release/node_sqlite3.node"], &[]),
            (Host::NodeSqlite, "/usr/bin/node", &[], &["/usr/lib/libsqlite3.so.0"], &[]),
            (Host::Rails, "/usr/bin/ruby3.1", &["ruby", "bin/rails", "server"], &[], &[]),
            (Host::Rails, "/usr/bin/ruby3.1", &["puma"], &[], &["SELECT * FROM \"ar_internal_metadata\""]),
            (Host::Rails, "/opt/app/puma", &[], &["/usr/lib/libruby-3.1.so.3.1"], &["SAVEPOINT active_record_1"]),
            (Host::Ruby, "/usr/bin/ruby3.1", &["ruby", "worker.rb"], &[], &["SELECT * FROM schema_migrations"]),
            (Host::Sqlx, "/srv/app", &["linked"], &[], &["SELECT version FROM _sqlx_migrations"]),
            (Host::Diesel, "/srv/app", &["linked"], &[], &["SAVEPOINT diesel_savepoint_1"]),
            (Host::Rusqlite, "/srv/app", &["linked"], &[], &["SAVEPOINT _rusqlite_sp"]),
            (Host::Rust, "/srv/app", &["linked"], &[], &["SELECT 1"]),
            (Host::Shell, "/usr/bin/sqlite3", &["sqlite3", "app.db"], &[], &[]),
            (Host::DbBrowser, "/usr/bin/sqlitebrowser", &[], &[], &[]),
        ] {
            assert_eq!(of(exe, argv, modules, sql), Some(host), "{exe} {argv:?} {modules:?} {sql:?}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for (exe, argv, modules, sql) in [
            // Somebody else's program of that name; tables that others have, too.
            ("/bin/sh", &["sh", "manage.py"][..], &[][..], &["SELECT * FROM schema_migrations"][..]),
            ("/srv/server", &["server"], &["/usr/lib/libsqlite3.so.0"], &["SELECT \"django_session\".\"session_key\" FROM"]),
            ("/usr/bin/sqlite3-backup", &[], &[], &[]),
            ("", &[], &[], &[]),
        ] {
            assert_eq!(of(exe, argv, modules, sql), None, "{exe}");
        }
        // A Node whose modules are not known, or that has one that is not known here.
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
