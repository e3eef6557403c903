"""One UPDATE that takes long, because a function in it does: no transaction was left open, the statement itself is slow."""
#: {"stock": true}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(2)", "culprit": "UPDATE t SET v = price(id)", "contributing": ["slow-statement"], "state": "running"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import threading

import stage

stage.database("wal")
batch, web = stage.connect(timeout=5), stage.connect(timeout=0.1)
computing, refused = threading.Event(), threading.Event()


def price(key):
    computing.set()
    stage.happened(refused)
    return key * 2


batch.create_function("price", 1, price)
writer = stage.Thread(batch.execute, "UPDATE t SET v = price(id)")
stage.happened(computing)
with stage.locked():
    web.execute("INSERT INTO t(v) VALUES(2)")
web.close()
refused.set()
writer.end()
