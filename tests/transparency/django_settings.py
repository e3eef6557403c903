"""Django's own test settings for SQLite, but on files, in the journal mode of the environment, and with our result class."""

import os
import pathlib

from django.test.runner import DiscoverRunner
from outcomes import Outcomes

HERE = pathlib.Path(os.environ["DATABASES_IN"])


def database(name):
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HERE / f"{name}.db",
        "TEST": {"NAME": HERE / f"test_{name}.db"},
        "OPTIONS": {"init_command": f"PRAGMA journal_mode = {os.environ['JOURNAL_MODE']}"},
    }


DATABASES = {"default": database("default"), "other": database("other")}
SECRET_KEY = "for tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_settings.Runner"


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Outcomes
