"""A FastAPI application with a mistake that many make: a synchronous SQLAlchemy session in `async` handlers.

/hold writes, and awaits something with its transaction open; /order then writes from the same thread, the event loop's: while it waits
for the lock, the one who holds it cannot go on.
"""

import asyncio
import os
import threading

from fastapi import FastAPI
from sqlalchemy import create_engine, event, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine("sqlite:///shop.db", connect_args={"timeout": 0.05})


@event.listens_for(engine, "connect")
def on_connect(connection, record):
    connection.execute("PRAGMA journal_mode = wal").close()


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


class Stock(Base):
    __tablename__ = "stock"
    item: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


Base.metadata.create_all(engine)
app = FastAPI()
holding = asyncio.Event()
refused = asyncio.Event()


def me(**more):
    return {"pid": os.getpid(), "tid": threading.get_native_id(), **more}


@app.get("/hold")
async def hold():
    with Session(engine) as session, session.begin():
        session.execute(update(Stock).values(left=Stock.left - 1))
        holding.set()
        await asyncio.wait_for(refused.wait(), 30)
    return me()


@app.get("/order")
async def order():
    await asyncio.wait_for(holding.wait(), 30)
    error = None
    try:
        with Session(engine) as session, session.begin():
            session.add(Order(item="chair"))
    except OperationalError as failure:
        error = str(failure.orig)
    refused.set()
    return me(error=error)


@app.get("/count")
async def count():
    with Session(engine) as session:
        return {"orders": len(session.scalars(select(Order)).all())}
