# Two connections of Tcl's sqlite3 package: the second one's write is refused.
package require sqlite3

sqlite3 a a.db
a eval {PRAGMA journal_mode = WAL}
a eval {CREATE TABLE t(x)}
sqlite3 b a.db
a eval {BEGIN IMMEDIATE}
a eval {INSERT INTO t VALUES (1)}
if {[catch {b eval {INSERT INTO t VALUES (2)}} message]} {
    puts [expr {[b errorcode] == 5 ? "busy" : $message}]
}
a eval {COMMIT}
b eval {INSERT INTO t VALUES (3)}
puts "done [a onecolumn {SELECT count(*) FROM t}]"
a close
b close
