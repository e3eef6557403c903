# What `locktrace doctor` asks a Ruby: run with -e, it prints one line of JSON.
require "json"
said = { language: "Ruby " + RUBY_VERSION, executable: File.realpath("/proc/self/exe") }
begin
  require "sqlite3"
  database = SQLite3::Database.new(":memory:")
  said[:version] = database.get_first_value("SELECT sqlite_version()")
  said[:extensions] = database.respond_to?(:enable_load_extension)
  said[:mapped] = File.readlines("/proc/self/maps").map { |line| line.split(" ", 6)[5].to_s.strip }.grep(/\.so/).uniq
rescue LoadError => error
  said[:error] = "the gem sqlite3 is not found from this directory"
end
puts "\n@locktrace " + JSON.generate(said)
