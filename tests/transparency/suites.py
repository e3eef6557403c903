#!/usr/bin/env python3
"""Other projects' own test suites, bare and under `locktrace run`: not one result may differ.

    suites.py cpython          CPython's test.test_sqlite3, with the first Python that has it
    suites.py django           Django's tests of its database layer, on files, in DELETE mode and in WAL
    suites.py apsw             apsw's tests, with the SQLite inside it; they have VFSes written in Python, and use most of SQLite's API
    suites.py sqlite-utils     sqlite-utils' tests
    suites.py aiosqlite        aiosqlite's tests
    suites.py huey             huey's tests, the slow ones, too, of its storages on sqlite3, cysqlite and peewee

Each suite runs bare twice, to tell tests that are unsteady without us, and traced once; outcomes are compared test by test. It ends
with one line of counts, and with 0 (nothing differs), 1 (something does, or the traced run left no trace), 2 (it could not run).
Packages are kept in --cache. Where a suite cannot be had, that is said, and the exit code is 0, or 2 with
LOCKTRACE_REQUIRE_ECOSYSTEM=1.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# How long one run of a suite may take, in seconds.
LIMIT = 600
# Journal modes, as `locktrace report` calls them.
MODES = ["delete", "wal"]
DJANGO_LABELS = ["backends", "transactions", "get_or_create", "transaction_hooks", "basic"]
REQUIREMENTS = [ROOT / "tests/ecosystem/requirements.txt", HERE / "requirements.txt"]


class Missing(Exception):
    """A suite cannot be had here."""


def run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def needed(command, what):
    try:
        done = run(command, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{what}: {error}") from None
    if done.returncode:
        last = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise Missing(f"{what}: {command[0]} ended with {done.returncode}: {last}")


def outcomes(prefix, command, cwd, environment):
    """Runs a suite; what became of each test, by name, and what the suite printed."""
    file = pathlib.Path(cwd, "outcomes")
    environment = {**os.environ, **environment, "OUTCOMES": str(file), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run([*prefix, *command], cwd=cwd, env=environment, timeout=LIMIT)
    found = collections.defaultdict(list)
    if file.exists():
        for line in file.read_text().splitlines():
            test, outcome = json.loads(line)
            found[test].append(outcome)
    return found, done.stdout


def compare(name, locktrace, at_least, command, environment=lambda cwd: {}, mode=None):
    """Bare, bare, traced. Whether nothing differs, and the trace says that it was recorded, in this journal mode."""
    begun = time.monotonic()
    found, printed = [], []
    with tempfile.TemporaryDirectory(prefix="transparency-") as place:
        trace = pathlib.Path(place, "trace")
        traced = [str(locktrace), "run", "-o", str(trace), "--"]
        for number, prefix in enumerate([[], [], traced]):
            # The same path each time: tests may print it.
            cwd = pathlib.Path(place, "here")
            cwd.mkdir()
            one, text = outcomes(prefix, command, cwd, environment(cwd))
            found.append(one)
            printed.append(text)
            shutil.rmtree(cwd)
        report = run([str(locktrace), "report", "--json", str(trace)])
    bare, again, traced = found
    results = sum(len(each) for each in bare.values())
    if results < at_least:
        print(printed[0][-3000:])
        print(f"{name}: the suite gave {results} results where at least {at_least} were expected: it did not run")
        return False
    if report.returncode:
        print(printed[2][-3000:], report.stdout)
        print(f"{name}: the traced run left no trace, so that the comparison means nothing")
        return False
    report = json.loads(report.stdout)
    modes = {mode for database in report["databases"] for mode in database["journal_modes"]}
    if mode and mode not in modes:
        print(f"{name}: the suite ran in the journal modes {sorted(modes)}, not in {mode}")
        return False
    unsteady = {test for test in bare.keys() | again.keys() if bare.get(test) != again.get(test)}
    differ = sorted(test for test in bare.keys() | traced.keys() if bare.get(test) != traced.get(test) and test not in unsteady)
    for test in differ:
        print(f"DIFFERS {test}\n  bare:   {bare.get(test)}\n  traced: {traced.get(test)}")
    if differ:
        print(printed[2][-6000:])
    for test in sorted(unsteady):
        print(f"unsteady without us: {test}: {bare.get(test)}, then {again.get(test)}; traced: {traced.get(test)}")
    kinds = collections.Counter(outcome.split(":")[0] for each in bare.values() for outcome in each)
    versions = sorted({version for log in report["logs"] for version in log["sqlite"]})
    print(
        f"{name}, SQLite {', '.join(versions)}: {results} results ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}), "
        f"{len(differ)} differ, {len(unsteady)} unsteady without us; {report['records']} records of {len(report['logs'])} processes; "
        f"{time.monotonic() - begun:.0f} s"
    )
    return not differ


def cpython(locktrace, cache):
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('test.test_sqlite3') is None)"
    for python in dict.fromkeys([sys.executable, "python3", "/usr/bin/python3"]):
        if shutil.which(python) and run([python, "-c", probe]).returncode == 0:
            command = [python, str(HERE / "outcomes.py"), "test.test_sqlite3"]
            return compare("CPython's test.test_sqlite3", locktrace, 300, command)
    raise Missing("no Python here has test.test_sqlite3 (Debian's has it not)")


def pinned(package):
    lines = [line for file in REQUIREMENTS for line in file.read_text().splitlines()]
    return next(line for line in lines if line.startswith(f"{package}=="))


def installed(cache, package, *others, source=False):
    """The Python of an environment that has these packages; with `source`, also the directory with the first one's source."""
    pin = pinned(package)
    home = cache / pin.replace("==", "-")
    python = home / "venv/bin/python"
    if not (home / "made").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        needed([sys.executable, "-m", "venv", str(home / "venv")], "no virtual environment")
        pip = [str(python), "-m", "pip"]
        constraints = [word for file in REQUIREMENTS for word in ["-c", str(file)]]
        needed([*pip, "install", "--quiet", *constraints, pin, *others], f"{pin} cannot be installed")
        if source:
            # The source distribution carries the tests; it must be the one that is installed.
            download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(home), pin]
            needed([*pip, *download], f"the source of {pin} cannot be had")
            [archive] = home.glob("*.tar.gz")
            shutil.unpack_archive(archive, home / "unpacked")
            [unpacked] = (home / "unpacked").iterdir()
            unpacked.rename(home / "source")
        (home / "made").touch()
    return (python, home / "source") if source else python


def django(locktrace, cache):
    python, source = installed(cache, "Django", source=True)
    tests = source / "tests"
    same = True
    for mode in MODES:
        environment = {"PYTHONPATH": str(HERE), "JOURNAL_MODE": mode, "DJANGO_SETTINGS_MODULE": "django_settings"}
        command = [str(python), str(tests / "runtests.py"), "--settings", "django_settings", "--parallel", "1", "--noinput", *DJANGO_LABELS]
        same &= compare(
            f"Django's {', '.join(DJANGO_LABELS)} in {mode} mode",
            locktrace,
            300,
            command,
            lambda cwd: {**environment, "DATABASES_IN": str(cwd)},
            mode,
        )
    return same


def apsw(locktrace, cache):
    # Its own `setup` leaves out testLoadExtension, which needs a compiled extension, and testLargeObjects, which needs gigabytes.
    command = [str(installed(cache, "apsw")), str(HERE / "outcomes.py"), "apsw.tests.__main__"]
    return compare("apsw's tests", locktrace, 300, command)


def sqlite_utils(locktrace, cache):
    python, source = installed(cache, "sqlite-utils", "pytest", "hypothesis", source=True)
    options = ["-q", "-p", "outcomes", "-p", "no:cacheprovider", "--basetemp", "pytest"]
    command = [str(python), "-m", "pytest", *options, str(source / "tests")]
    return compare("sqlite-utils' tests", locktrace, 1400, command, lambda cwd: {"PYTHONPATH": str(HERE)})


def aiosqlite(locktrace, cache):
    command = [str(installed(cache, "aiosqlite")), str(HERE / "outcomes.py"), "aiosqlite.tests"]
    return compare("aiosqlite's tests", locktrace, 30, command)


def huey(locktrace, cache):
    # One test needs the module redis, though no server.
    python = installed(cache, "huey", "peewee", "cysqlite", "redis")
    command = [str(python), str(HERE / "outcomes.py"), "huey.tests"]
    return compare("huey's tests", locktrace, 400, command, lambda cwd: {"HUEY_SLOW_TESTS": "1"})


SUITES = {
    "cpython": cpython,
    "django": django,
    "apsw": apsw,
    "sqlite-utils": sqlite_utils,
    "aiosqlite": aiosqlite,
    "huey": huey,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--locktrace", type=pathlib.Path, default=TARGET / "release/locktrace", help="default: %(default)s")
    parser.add_argument("--cache", type=pathlib.Path, default=TARGET / "tmp/transparency", help="default: %(default)s")
    given = parser.parse_args()
    if not given.locktrace.exists():
        parser.error(f"{given.locktrace} is not there: cargo build --release, or name another with --locktrace")
    try:
        same = SUITES[given.suite](given.locktrace.resolve(), given.cache.resolve())
    except Missing as why:
        print(f"SKIPPED {given.suite}: {why}")
        return 2 if os.environ.get("LOCKTRACE_REQUIRE_ECOSYSTEM") == "1" else 0
    except subprocess.TimeoutExpired as error:
        print(f"{given.suite}: {error.cmd[0]} took more than {error.timeout:.0f} s")
        return 2
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
