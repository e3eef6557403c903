//! The commands that open a database, or load an extension, with each driver of an [`Interpreter`].
//!
//! A driver has the name by which programs import it: `apsw`, `node:sqlite`, `@libsql/client`. If a language has only one, the name is empty.
#![forbid(unsafe_code)]

use super::interpreter::Interpreter;
use super::script::Script;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Python code that opens the library by ctypes.
const CTYPES: &str = "import ctypes, ctypes.util, sys\n\
                      s = ctypes.CDLL(LIBRARY or ctypes.util.find_library('sqlite3') or 'libsqlite3.so.0')\n\
                      def opened(path):\n d = ctypes.c_void_p(); assert s.sqlite3_open(path.encode(), ctypes.byref(d)) == 0; return d\n\
                      def execute(d): assert s.sqlite3_exec(d, b'CREATE TABLE t(x)', None, None, None) == 0\n";

const APSW: &str = "import apsw, sys\n\
                    opened = apsw.Connection\n\
                    def execute(d): d.cursor().execute('CREATE TABLE t(x)')\n";

/// Python code for any module with the interface of Python's own.
const DBAPI: &str = "import sys\n\
                     m = __import__(MODULE)\n\
                     m = m if hasattr(m, 'connect') else __import__(MODULE + '.dbapi2', fromlist=['connect'])\n\
                     opened = m.connect\n\
                     def execute(d): d.execute('CREATE TABLE t(x)'); d.commit()\n";

fn python(driver: &str) -> &'static str {
    match driver {
        "ctypes" => CTYPES,
        "apsw" => APSW,
        _ => DBAPI,
    }
}

/// JavaScript text for a path.
fn literal(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}

const TABLE: &str = "\"CREATE TABLE t(x)\"";

fn javascript_write(driver: &str, database: &Path) -> String {
    let path = literal(database);
    match driver {
        "node:sqlite" => format!("new (await import(\"node:sqlite\")).DatabaseSync({path}).exec({TABLE})"),
        "bun:sqlite" => format!("new (await import(\"bun:sqlite\")).Database({path}).exec({TABLE})"),
        "sqlite3" => format!(
            "await new Promise((done, fail) => new (req(\"sqlite3\").Database)({path}).exec({TABLE}, (e) => e ? fail(e) : done()))"
        ),
        "@libsql/client" => format!("await req(\"@libsql/client\").createClient({{ url: \"file:\" + {path} }}).execute({TABLE})"),
        _ => format!("new (req({}))({path}).exec({TABLE})", Value::from(driver)),
    }
}

fn javascript_load(driver: &str, extension: &Path) -> String {
    let path = literal(extension);
    match driver {
        "node:sqlite" => format!(
            "const m = new (await import(\"node:sqlite\")).DatabaseSync(\":memory:\", {{ allowExtension: true }}); m.loadExtension({path});"
        ),
        "bun:sqlite" => format!("const m = new (await import(\"bun:sqlite\")).Database(\":memory:\"); m.loadExtension({path});"),
        "sqlite3" => format!(
            "const m = new (req(\"sqlite3\").Database)(\":memory:\");\n\
             await new Promise((done, fail) => m.loadExtension({path}, (e) => e ? fail(e) : done()));"
        ),
        _ => format!("const m = new (req({}))(\":memory:\"); m.loadExtension({path});", Value::from(driver)),
    }
}

impl Interpreter {
    /// A command that makes a table in this database.
    pub(super) fn writes(self, program: &Path, driver: &str, script: &Script, database: &Path) -> Command {
        let code = match self {
            Interpreter::Python => script.python(driver, &format!("{}execute(opened(sys.argv[1]))", python(driver))),
            Interpreter::Ruby => "require 'sqlite3'; SQLite3::Database.new(ARGV[0]).execute('CREATE TABLE t(x)')".to_owned(),
            Interpreter::Php => "$p = class_exists('PDO') && in_array('sqlite', PDO::getAvailableDrivers());\n\
                          $d = $p ? new PDO('sqlite:' . $argv[1]) : new SQLite3($argv[1]); $d->exec('CREATE TABLE t(x)');"
                .to_owned(),
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => script.javascript(&javascript_write(driver, database)),
            Interpreter::Shell => String::new(),
        };
        let mut command = self.runs(program, &code, script);
        match self {
            // The path is in the code, because these differ in how they pass arguments.
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => &mut command,
            Interpreter::Shell => command.arg(database).arg("CREATE TABLE t(x)"),
            _ => command.arg(database),
        };
        command
    }

    /// A command that loads this extension, and then makes a table in this database.
    pub(super) fn loads(self, program: &Path, driver: &str, script: &Script, extension: &Path, database: &Path) -> Command {
        let load = match driver {
            "ctypes" => {
                "d = opened(':memory:'); s.sqlite3_enable_load_extension(d, 1)\n\
                 assert s.sqlite3_load_extension(d, sys.argv[1].encode(), None, None) == 0\n"
            }
            _ => "d = opened(':memory:'); d.enable_load_extension(True); d.load_extension(sys.argv[1])\n",
        };
        let code = match self {
            Interpreter::Python => script.python(driver, &format!("{}{load}execute(opened(sys.argv[2]))", python(driver))),
            Interpreter::Ruby => "require 'sqlite3'; d = SQLite3::Database.new(':memory:'); d.enable_load_extension(true)\n\
                           d.load_extension(ARGV[0]); SQLite3::Database.new(ARGV[1]).execute('CREATE TABLE t(x)')"
                .to_owned(),
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => {
                script.javascript(&format!("{}\n{}", javascript_load(driver, extension), javascript_write(driver, database)))
            }
            // Not called for PHP: its answer says that it cannot load extensions.
            Interpreter::Shell | Interpreter::Php => String::new(),
        };
        let mut command = self.runs(program, &code, script);
        match self {
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => &mut command,
            Interpreter::Shell => {
                let dot = |verb: &str, path: &Path| format!(".{verb} '{}'", path.display());
                command.args(["-cmd", &dot("load", extension), "-cmd", &dot("open", database), ":memory:", "CREATE TABLE t(x)"])
            }
            _ => command.args([extension, database]),
        };
        command
    }

    /// The line that a user writes to load the extension.
    pub(super) fn load_line(self, driver: &str, extension: &Path) -> String {
        let path = extension.display();
        match self {
            Interpreter::Python => match driver {
                "ctypes" => format!(
                    "sqlite.sqlite3_enable_load_extension(db, 1); sqlite.sqlite3_load_extension(db, b\"{path}\", None, None)  # before the first real one"
                ),
                "apsw" => format!(
                    "c = apsw.Connection(\":memory:\"); c.enable_load_extension(True); c.load_extension(\"{path}\")  # before the first real one"
                ),
                _ => format!(
                    "c = {}.connect(\":memory:\"); c.enable_load_extension(True); c.load_extension(\"{path}\")  # before the first real one",
                    if driver.is_empty() { "sqlite3" } else { driver }
                ),
            },
            Interpreter::Ruby => format!(
                "d = SQLite3::Database.new(\":memory:\"); d.enable_load_extension(true); d.load_extension(\"{path}\")  # before the first real one"
            ),
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => match driver {
                "node:sqlite" => {
                    format!(
                        "new DatabaseSync(\":memory:\", {{ allowExtension: true }}).loadExtension(\"{path}\")  // before the first real one"
                    )
                }
                "sqlite3" => format!("new sqlite3.Database(\":memory:\").loadExtension(\"{path}\")  // before the first real one"),
                _ => format!("new Database(\":memory:\").loadExtension(\"{path}\")  // before the first real one"),
            },
            Interpreter::Shell => format!("sqlite3 -cmd \".load {path}\" -cmd \".open app.db\""),
            Interpreter::Php => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `allowExtension` the line cannot run.
    #[test]
    fn the_line_that_loads_is_the_one_that_was_tried() {
        let path = Path::new("/x/\"y.so");
        for driver in ["node:sqlite", "bun:sqlite", "better-sqlite3", "libsql", "sqlite3"] {
            let (line, code) = (Interpreter::Node.load_line(driver, path), javascript_load(driver, path));
            assert!(line.contains(".loadExtension(\"/x/"), "{line}");
            assert!(code.contains(r#".loadExtension("/x/\"y.so""#), "quoted: {code}");
            let allowed = |text: &str| text.contains("(\":memory:\", { allowExtension: true })");
            assert_eq!((allowed(&line), allowed(&code)), (driver == "node:sqlite", driver == "node:sqlite"), "{line} {code}");
        }
        let script = Script::default();
        for (driver, says) in
            [("apsw", "import apsw"), ("ctypes", "ctypes.CDLL"), ("pysqlite3", "MODULE, LIBRARY = \"pysqlite3\", None")]
        {
            let command = Interpreter::Python.writes(Path::new("python3"), driver, &script, Path::new("a.db"));
            let code = command.get_args().nth(1).map(|code| code.to_string_lossy().into_owned()).unwrap_or_default();
            assert!(code.contains(says), "{code}");
        }
    }
}
