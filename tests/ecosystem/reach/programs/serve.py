# Starts the server that the arguments name, sends it one request on ./socket, prints the answer, and stops it.
import socket
import subprocess
import sys
import time

server = subprocess.Popen(sys.argv[1:])
deadline = time.monotonic() + 40
while True:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect("socket")
        break
    except OSError as error:
        connection.close()
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            sys.exit(f"{sys.argv[1:]}: {error}; it ended with {server.poll()}")
        time.sleep(0.01)
connection.settimeout(40)
connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
answer = b""
while part := connection.recv(4096):
    answer += part
print(answer.decode().partition("\r\n\r\n")[2], end="")
server.terminate()
sys.exit(server.wait(40))
