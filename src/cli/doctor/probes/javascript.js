// What `locktrace doctor` asks a Node, Bun or Deno: run behind lines that define `wanted` (a driver, or "" for the first there is),
// `usual` (the drivers to look for) and `req` (require, from the script's directory), in an async function. It prints one line of JSON.
const SQL = "SELECT sqlite_version() AS v";
const of = {
  "node:sqlite": async () => new (await import("node:sqlite")).DatabaseSync(":memory:").prepare(SQL).get().v,
  "bun:sqlite": async () => new (await import("bun:sqlite")).Database(":memory:").query(SQL).get().v,
  "better-sqlite3": async () => new (req("better-sqlite3"))(":memory:").prepare(SQL).get().v,
  "libsql": async () => new (req("libsql"))(":memory:").prepare(SQL).get().v,
  "sqlite3": () => new Promise((done, fail) =>
    new (req("sqlite3").Database)(":memory:", (error) => error && fail(error)).get(SQL, (error, row) => error ? fail(error) : done(row.v))),
  "@libsql/client": async () => (await req("@libsql/client").createClient({ url: ":memory:" }).execute(SQL)).rows[0].v,
};
const { bun, deno, node } = process.versions;
const said = { language: bun ? "Bun " + bun : deno ? "Deno " + deno : "Node " + node, executable: process.execPath, others: {} };
const errors = [];
for (const name of wanted ? [wanted] : usual) {
  try {
    said.version = await of[name]();
    said.extensions = name !== "@libsql/client";
    const maps = (await import("node:fs")).readFileSync("/proc/self/maps", "utf8").split("\n");
    said.mapped = [...new Set(maps.map((line) => line.slice(73).trim()))].filter((file) => /\.so|\.node$/.test(file));
    if (!name.includes(":")) said.others[name] = said.mapped.filter((file) => file.endsWith(".node"));
    said.module = name;
    break;
  } catch (error) {
    errors.push(name + ": " + String(error.message || error).split("\n")[0]);
  }
}
if (!said.module) said.error = "no SQLite answers: " + errors.join("; ");
console.log("\n@locktrace " + JSON.stringify(said));
