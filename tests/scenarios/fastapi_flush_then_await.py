"""FastAPI with a synchronous SQLAlchemy session in async handlers: one flushes and awaits, the other blocks the event loop."""
#: {"packages": true}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO visits", "culprit": "INSERT INTO orders", "contributing": ["same-thread-holder", "idle-in-transaction"], "fix": "so that no timeout can help"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import asyncio

import stage
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

tables = "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT); CREATE TABLE visits(id INTEGER PRIMARY KEY, page TEXT);"
stage.database("wal", tables)
engine = create_engine(f"sqlite:///{stage.DATABASE}", connect_args={"timeout": 0.1})
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


class Visit(Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    page: Mapped[str]


@app.post("/order")
async def order():
    with Session(engine) as session, session.begin():
        session.add(Order(item="book"))
        session.flush()
        flushed.set()
        await asyncio.wait_for(paid.wait(), stage.PATIENCE)
    return PlainTextResponse("ordered")


@app.post("/visit")
async def visit():
    try:
        with Session(engine) as session, session.begin():
            session.add(Visit(page="/"))
    except OperationalError as error:
        return PlainTextResponse(str(error.orig), 503)
    finally:
        paid.set()


async def post(path):
    """What a server hands to the application for one request, and its answer's status and text."""
    said = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    await app({**scope, "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said)


async def serve():
    global flushed, paid
    flushed, paid = asyncio.Event(), asyncio.Event()
    ordering = asyncio.create_task(post("/order"))
    await asyncio.wait_for(flushed.wait(), stage.PATIENCE)
    assert await post("/visit") == (503, b"database is locked")
    assert await ordering == (200, b"ordered")


asyncio.run(serve())
