"""What `locktrace doctor` asks a Python: run with -c behind a line that sets MODULE, it prints one line of JSON."""
import sys

# The directory the user stands in is not ours to import from.
sys.path[:] = [place for place in sys.path if place]
import json
import os

said = {"language": "Python " + sys.version.split()[0], "executable": os.path.realpath("/proc/self/exe")}
if sys.prefix != getattr(sys, "base_prefix", sys.prefix):
    said["environment"] = sys.prefix
try:
    if MODULE == "ctypes":
        import ctypes
        import ctypes.util

        library = ctypes.CDLL(LIBRARY or ctypes.util.find_library("sqlite3") or "libsqlite3.so.0")
        library.sqlite3_libversion.restype = library.sqlite3_sourceid.restype = ctypes.c_char_p
        said["version"], said["source_id"] = library.sqlite3_libversion().decode(), library.sqlite3_sourceid().decode()
        said["extensions"] = hasattr(library, "sqlite3_enable_load_extension")
    else:
        module = __import__(MODULE)
        if MODULE != "apsw" and not hasattr(module, "connect"):
            module = __import__(MODULE + ".dbapi2", fromlist=["connect"])
        connection = module.Connection(":memory:") if MODULE == "apsw" else module.connect(":memory:")
        answer = connection.cursor().execute("SELECT sqlite_version(), sqlite_source_id()")
        said["version"], said["source_id"] = next(answer) if MODULE == "apsw" else answer.fetchone()
        said["extensions"] = hasattr(connection, "enable_load_extension")
    if MODULE != "sqlite3":
        said["module"] = MODULE
    with open("/proc/self/maps") as maps:
        said["mapped"] = sorted(set(line.split(None, 5)[5].strip() for line in maps if ".so" in line))
except Exception as error:
    said["error"] = "%s: %s" % (type(error).__name__, error)
said["others"] = {}
try:
    # Found, not imported: an import runs the module's code.
    import importlib.util

    for name in ("pysqlite3", "apsw", "sqlcipher3", "libsql", "libsql_experimental"):
        found = importlib.util.find_spec(name)
        if found is not None:
            files = [found.origin] if str(found.origin).endswith(".so") else []
            for place in found.submodule_search_locations or []:
                files += [os.path.join(place, name) for name in os.listdir(place) if name.endswith(".so")]
            said["others"][name] = files
except Exception:
    pass
print("\n@locktrace " + json.dumps(said))
