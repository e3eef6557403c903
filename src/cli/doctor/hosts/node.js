// What `locktrace doctor` asks a Node: run with -e, it prints one line of JSON.
const said = { language: "Node " + process.versions.node, executable: process.execPath, others: {} };
try {
  const { DatabaseSync } = require("node:sqlite");
  said.version = new DatabaseSync(":memory:").prepare("SELECT sqlite_version() AS v").get().v;
  said.extensions = true;
} catch (error) {
  said.error = "this Node has no node:sqlite";
}
try {
  const Database = require("better-sqlite3");
  said.version = new Database(":memory:").prepare("SELECT sqlite_version() AS v").get().v;
  said.extensions = true;
  said.module = "better-sqlite3";
  const maps = require("fs").readFileSync("/proc/self/maps", "utf8").split("\n");
  said.others["better-sqlite3"] = [...new Set(maps.map((line) => line.slice(73).trim()))].filter((file) => file.endsWith(".node"));
  delete said.error;
} catch (error) {
  if (said.error) said.error += ", and better-sqlite3 is not found from this directory";
}
console.log("\n@locktrace " + JSON.stringify(said));
