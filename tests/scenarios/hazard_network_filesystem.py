"""The database is on NFS, says statfs(2)."""
#: {"preload": "slow_disk.c", "environment": {"SLOW_DISK_FS": "0x6969"}}
#: {"hazard": "network-filesystem"}
import stage

stage.database("delete")
db = stage.connect(timeout=5)
db.execute("INSERT INTO t(v) VALUES(4)")
