"""A unittest result that writes each test's outcome to the file named by OUTCOMES: one JSON line, [test, outcome], as it ends.

Run as a program it runs one test package of the Python that runs it. Django's suite takes it through django_settings.
"""

import json
import os
import re
import unittest


class Outcomes(unittest.TextTestResult):
    def note(self, test, outcome):
        with open(os.environ["OUTCOMES"], "a") as file:
            # A subtest's name may have an address in it.
            name = re.sub("0x[0-9a-f]+", "0x…", test.id())
            file.write(json.dumps([name, outcome]) + "\n")

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
    import sys

    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    unittest.TextTestRunner(resultclass=Outcomes, verbosity=0).run(suite)
