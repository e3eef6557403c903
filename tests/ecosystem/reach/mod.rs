//! The reach of `locktrace run`: one test for each language, build and way to start a process.
//!
//! Each test runs a program of `programs` bare and traced. The program opens a database in WAL mode on two connections, and the second
//! one's write is refused. The trace must show that refusal with the SQL of both sides (or without, where a row says so), and the program's
//! output, exit code and files must be those of the bare run.
//!
//! | file | rows |
//! | --- | --- |
//! | `row` | what every row does and asserts |
//! | `python` | Python's modules, with SQLites of the system, exported and hidden |
//! | `languages` | PHP, Ruby, Perl, Tcl, Java |
//! | `javascript` | Node, Bun, Deno and Node's packages |
//! | `amalgamation` | C programs with a SQLite compiled in |
//! | `compiled` | Go and Rust |
//! | `servers` | gunicorn, uWSGI |
//! | `browsers` | Firefox, Chromium |
//! | `sandboxes` | process namespaces, another user |
//! | `outside` | what is not reached: static programs, musl, set-uid programs, control-flow integrity, `--not` |

mod amalgamation;
mod browsers;
mod compiled;
mod javascript;
mod languages;
mod outside;
mod python;
mod row;
mod sandboxes;
mod servers;
