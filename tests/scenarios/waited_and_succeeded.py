"""The wait was worth it: the holder commits while the other is still within its timeout."""
#: {"cause": "hold-exceeds-timeout", "outcome": "succeeded-after-wait", "victim": "INSERT INTO t(v) VALUES(2)", "culprit": "BEGIN IMMEDIATE", "perhaps_contributing": ["idle-in-transaction"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
import stage

stage.database("wal")
holder, waiter = stage.connect(timeout=5), stage.connect(timeout=10)
holder.execute("BEGIN IMMEDIATE")
holder.execute("INSERT INTO t(v) VALUES(1)")
waiting = stage.Thread(waiter.execute, "INSERT INTO t(v) VALUES(2)")
stage.refused("WRITE", attempts=2)
holder.execute("COMMIT")
waiting.end()
