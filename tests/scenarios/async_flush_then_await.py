"""Two async handlers on one event loop: the first writes and awaits, the second's blocking write can never succeed.

As FastAPI with a synchronous SQLAlchemy session in `async def` handlers: `session.flush(); await client.post(…)`.
"""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(2)", "culprit": "INSERT INTO t(v) VALUES(1)", "contributing": ["same-thread-holder", "idle-in-transaction"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import asyncio
import sqlite3

import stage

stage.database("wal")


async def order(flushed, answered):
    db = sqlite3.connect("app.db", timeout=0.15)
    db.execute("INSERT INTO t(v) VALUES(1)")
    flushed.set()
    await answered.wait()
    db.commit()


async def visit(flushed, answered):
    await flushed.wait()
    db = sqlite3.connect("app.db", timeout=0.15)
    with stage.locked():
        db.execute("INSERT INTO t(v) VALUES(2)")
    answered.set()


async def serve():
    flushed, answered = asyncio.Event(), asyncio.Event()
    await asyncio.gather(order(flushed, answered), visit(flushed, answered))


asyncio.run(serve())
