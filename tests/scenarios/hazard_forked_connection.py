"""A server opens its connection before it forks, and the worker goes on using it."""
#: {"hazard": "forked-connection"}
import stage

stage.database("delete")
db = stage.connect(timeout=5)
assert db.execute("SELECT count(*) FROM t").fetchone() == (3,)


def worker(parent):
    assert db.execute("SELECT count(*) FROM t").fetchone() == (3,)


stage.Child(worker).end()
