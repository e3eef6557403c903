//! Application servers for Python: a process that starts others, one of which has both connections.

use super::row::{Row, Sql, have};
use crate::packages;
use crate::place::PYTHON;

/// Starts a server, sends it a request, and stops it.
fn server(command: &[&str]) {
    let row = Row::new(&["serve.py", "wsgi.py"]);
    let command = [&["env", "PYTHONDONTWRITEBYTECODE=1", PYTHON, "serve.py"], command].concat();
    let seen = row.refused(&command, Sql::Text);
    assert_eq!(seen.logs().len(), 1, "the process that opened a database: {:?}", seen.names);
}

#[test]
fn gunicorn() {
    let Some(python) = packages::python() else { return };
    // Its log has times and process numbers.
    let options = ["--workers", "1", "--no-control-socket", "--log-level", "critical", "--bind", "unix:socket", "wsgi"];
    server(&[&[&*python, "-m", "gunicorn"], &options[..]].concat());
}

#[test]
fn uwsgi() {
    if !have(&["uwsgi", "--plugin", "python3", "--version"], "uWSGI for Python (Debian: uwsgi-core, uwsgi-plugin-python3)") {
        return;
    }
    let options = "--plugin python3 --master --processes 1 --die-on-term --need-app --http-socket socket --wsgi-file wsgi.py --logto /dev/null";
    server(&[&["uwsgi"], &options.split(' ').collect::<Vec<_>>()[..]].concat());
}
