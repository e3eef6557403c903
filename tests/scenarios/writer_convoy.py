"""Nobody holds the lock for long, but whenever the victim wakes up another writer has it: three in turn, until it gives up."""
#: {"preload": "slow_disk.c"}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES('patient')", "contributing": ["writer-convoy"], "perhaps_contributing": ["idle-in-transaction"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
import stage

stage.database("wal")
victim = stage.connect(timeout=0.2)
writers = [stage.connect(timeout=5) for _ in range(3)]


def patient():
    with stage.locked():
        victim.execute("INSERT INTO t(v) VALUES('patient')")


def write(n):
    writers[n].execute("BEGIN IMMEDIATE")
    writers[n].execute("INSERT INTO t(v) VALUES(?)", (n,))


write(0)
with stage.hold("sleep") as clock:
    waiting = stage.Thread(patient)
    clock.arrived()
    for n in (1, 2):
        writers[n - 1].execute("COMMIT")
        write(n)
        clock.one()
waiting.end()
writers[2].execute("COMMIT")
