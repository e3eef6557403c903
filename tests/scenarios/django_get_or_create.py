"""Django: `get_or_create` inside `transaction.atomic()`, by two requests at once, each in a thread of its own."""
#: {"packages": true}
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "INSERT INTO \"shop_tag\"", "culprit": "INSERT INTO \"shop_tag\"", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": "\"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"}"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import threading

import django
import stage
from django.conf import settings
from django.db import OperationalError, connection, models, transaction

stage.database("wal", "CREATE TABLE shop_tag(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);")
sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": stage.DATABASE, "OPTIONS": {"timeout": 5, "init_command": "PRAGMA synchronous=OFF"}}
settings.configure(DATABASES={"default": sqlite}, INSTALLED_APPS=[])
django.setup()


class Tag(models.Model):
    name = models.TextField(unique=True)

    class Meta:
        app_label = "shop"


both_have_read, has_written, is_refused = threading.Barrier(2, timeout=stage.PATIENCE), threading.Event(), threading.Event()
opening = threading.Lock()


def open_connection():
    with opening:
        connection.ensure_connection()
        Tag.objects.count()


def first():
    open_connection()
    with transaction.atomic():
        assert not Tag.objects.filter(name="news").exists()
        both_have_read.wait()
        Tag.objects.get_or_create(name="news")
        has_written.set()
        stage.happened(is_refused)


def second():
    open_connection()
    try:
        with transaction.atomic():
            assert not Tag.objects.filter(name="sport").exists()
            both_have_read.wait()
            stage.happened(has_written)
            Tag.objects.get_or_create(name="sport")
    except OperationalError as error:
        assert str(error) == "database is locked", error
    else:
        raise AssertionError("this should have failed")
    is_refused.set()


stage.together(first, second)
