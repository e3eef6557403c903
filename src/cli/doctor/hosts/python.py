"""What `locktrace doctor` asks a Python: run with -c, it prints one line of JSON."""
import sys

# The directory the user stands in is not ours to import from.
sys.path[:] = [place for place in sys.path if place]
import json
import os

said = {"language": "Python " + sys.version.split()[0], "executable": os.path.realpath("/proc/self/exe")}
if sys.prefix != getattr(sys, "base_prefix", sys.prefix):
    said["environment"] = sys.prefix
try:
    import sqlite3

    connection = sqlite3.connect(":memory:")
    said["version"], said["source_id"] = connection.execute("SELECT sqlite_version(), sqlite_source_id()").fetchone()
    said["extensions"] = hasattr(connection, "enable_load_extension")
    with open("/proc/self/maps") as maps:
        said["mapped"] = sorted(set(line.split(None, 5)[5].strip() for line in maps if ".so" in line))
except Exception as error:
    said["error"] = "%s: %s" % (type(error).__name__, error)
said["others"] = {}
try:
    # Found, not imported: an import runs the module's code.
    import importlib.util

    for name in ("pysqlite3", "apsw", "sqlcipher3"):
        found = importlib.util.find_spec(name)
        if found is not None:
            files = [found.origin] if str(found.origin).endswith(".so") else []
            for place in found.submodule_search_locations or []:
                files += [os.path.join(place, name) for name in os.listdir(place) if name.endswith(".so")]
            said["others"][name] = files
except Exception:
    pass
print("\n@locktrace " + json.dumps(said))
