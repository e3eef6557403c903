"""A unittest result that writes each test's outcome to the file named by OUTCOMES: one JSON line, [test, outcome], as it ends.

Run as a program it runs the test modules that are named, with the Python that runs it; one that has a `setup` (apsw's) is asked to
drop what cannot run here first. Django's suite takes it through django_settings. It is a plugin of pytest, too (-p outcomes).
"""

import json
import os
import re
import unittest


def note(name, outcome):
    with open(os.environ["OUTCOMES"], "a") as file:
        # A subtest's name may have an address in it.
        file.write(json.dumps([re.sub("0x[0-9a-f]+", "0x…", name), outcome]) + "\n")


def pytest_runtest_logreport(report):
    # Every test is set up, called and torn down; what went well before and after the call is no result of its own.
    if report.when == "call" or report.outcome != "passed":
        note(report.nodeid, report.outcome if report.when == "call" else f"{report.outcome} in {report.when}")


class Outcomes(unittest.TextTestResult):
    def note(self, test, outcome):
        note(test.id(), outcome)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "ok")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, f"error: {error[0].__name__}")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failure")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, f"skipped: {reason}")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "unexpected success")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        self.note(subtest, "ok" if error is None else "failure")


if __name__ == "__main__":
    import importlib
    import sys

    for name in sys.argv[1:]:
        getattr(importlib.import_module(name), "setup", lambda: None)()
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    unittest.TextTestRunner(resultclass=Outcomes, verbosity=0).run(suite)
