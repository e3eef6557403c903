# Two connections of Ruby's sqlite3 gem: the second one's write is refused.
require "sqlite3"

a = SQLite3::Database.new("a.db")
a.execute("PRAGMA journal_mode = WAL")
a.execute("CREATE TABLE t(x)")
b = SQLite3::Database.new("a.db")
a.execute("BEGIN IMMEDIATE")
a.execute("INSERT INTO t VALUES (1)")
begin
  b.execute("INSERT INTO t VALUES (2)")
rescue SQLite3::BusyException
  puts "busy"
end
a.execute("COMMIT")
b.execute("INSERT INTO t VALUES (3)")
puts "done #{a.get_first_value("SELECT count(*) FROM t")}"
a.close
b.close
