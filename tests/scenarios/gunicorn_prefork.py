"""gunicorn with two prefork workers: one request holds a transaction while it talks to somebody else, the other request fails."""
#: {"packages": true}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "UPDATE t SET v = v + 1 WHERE id = 2", "culprit": "UPDATE t SET v = v + 1 WHERE id = 1", "contributing": ["idle-in-transaction"], "state": "idle-in-transaction"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import os
import socket
import sqlite3
import subprocess
import sys

import stage

db = None


def application(environ, start_response):
    """The WSGI application: `/hold` writes, and goes on when the client has sent the rest of its request; `/write` writes."""
    global db
    db = db or sqlite3.connect(stage.DATABASE, timeout=0.1)
    status = "200 OK"
    if environ["PATH_INFO"] == "/hold":
        db.execute("UPDATE t SET v = v + 1 WHERE id = 1")
        os.write(int(os.environ["HELD"]), b".")
        environ["wsgi.input"].read(1)
        db.commit()
    else:
        try:
            db.execute("UPDATE t SET v = v + 1 WHERE id = 2")
        except sqlite3.OperationalError as error:
            status = f"503 {error}"
    start_response(status, [("Content-Length", "0")])
    return []


def ask(port, path, length=0):
    request = socket.create_connection(("127.0.0.1", port), timeout=stage.PATIENCE)
    request.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
    return request


def main():
    stage.database("wal")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    held, tell = os.pipe()
    environment = {**os.environ, "HELD": str(tell)}
    command = [sys.executable, "-m", "gunicorn", "--workers=2", "--log-level=warning", "--no-control-socket", f"--bind=fd://{listener.fileno()}", "gunicorn_prefork"]

    server = subprocess.Popen(command, env=environment, pass_fds=[tell, listener.fileno()])
    try:
        holding = ask(port, "/hold", length=1)
        assert os.read(held, 1) == b"."
        assert b"503 database is locked" in ask(port, "/write").recv(100)
        holding.sendall(b".")
        assert b"200 OK" in holding.recv(100)
    finally:
        server.terminate()
        server.wait(stage.PATIENCE)


if __name__ == "__main__":
    main()
