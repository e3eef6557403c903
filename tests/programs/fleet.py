"""Many processes that do nothing but live with a log of locktrace mapped: fleet.py DIRECTORY NUMBER.

Prints a line with their numbers; their logs are written by whoever reads it, and mapped after a line on standard input. Then "ready" is printed. All of them
end with standard input.
"""
import glob
import mmap
import os
import sys

directory, number = sys.argv[1], int(sys.argv[2])
go, told = os.pipe()
ready, said = os.pipe()
end, alive = os.pipe()
children = []
for _ in range(number):
    child = os.fork()
    if child == 0:
        os.close(told)
        os.close(alive)
        os.read(go, 1)
        (ring,) = glob.glob(f"{directory}/{os.getpid()}-*.ring")
        with open(ring, "r+b") as file:
            kept = mmap.mmap(file.fileno(), 0)
        os.write(said, b".")
        # Until the parent is gone, and with it the other end.
        os.read(end, 1)
        os._exit(0)
    children.append(child)
print(*children, flush=True)
sys.stdin.readline()
os.write(told, b"." * number)
left = number
while left:
    left -= len(os.read(ready, left))
print("ready", flush=True)
sys.stdin.read()
os.close(alive)
for child in children:
    os.waitpid(child, 0)
