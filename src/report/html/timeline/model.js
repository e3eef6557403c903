// The end of a long list is laid out after the first picture. This comes first, so that the list appears even if something below fails.
requestAnimationFrame(() => setTimeout(() => {
  for (const part of document.querySelectorAll(".later")) part.classList.remove("later");
}));

// The data of the page as the rest of the script uses it: pieces, rows in groups, incidents. It comes from the JSON object that data.rs writes.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

const WORKS = ["sync of the database file", "sync", "checkpoint copies", "journal or -wal deleted"];
// The kinds of pieces, each with one colour: 0 reads, 1 writes, 2 locks all others out, 3 checkpoints, 4 recovers or moves a mark, 5 syncs, 6 copies,
// 7 deletes.
const KINDS = ["reading", "writing", "all others locked out", "checkpoint", "recovery, read marks", "sync", "checkpoint copies", "journal deleted"];
const SYNC = 5;
const kindOfLock = (name) => {
  if (/WRITE|RESERVED/.test(name)) return 1;
  if (/PENDING|EXCLUSIVE/.test(name)) return 2;
  if (/CKPT/.test(name)) return 3;
  return /^X |RECOVER/.test(name) ? 4 : 0;
};
const lockKinds = data.locks.map(kindOfLock);
const whatName = (what) => data.locks[what] ?? WORKS[what - data.locks.length];
const kindOf = (what) => (what < data.locks.length ? lockKinds[what] : [5, 5, 6, 7][what - data.locks.length]);

const UNSEEN_START = 1, UNSEEN_END = 2, OPEN = 4, LIFETIME = 8;
const FIELDS = 8;

// Pieces as objects, in time order. `row.reach` has the latest end up to each piece, for a binary search of the pieces that reach into a stretch.
const unpack = (row) => {
  const pieces = [];
  let from = 0;
  for (let i = 0; i < row.pieces.length; i += FIELDS) {
    const of = row.pieces;
    from += of[i + 1];
    pieces.push({ row, what: of[i], kind: kindOf(of[i]), from, to: from + of[i + 2], flags: of[i + 3], tid: of[i + 4], sql: of[i + 5], number: of[i + 6], end: of[i + 7] - 1 });
  }
  return pieces;
};

const ofLetters = (letters) => Float32Array.from(letters, (c) => (STEPS.indexOf(c) / 63) ** 2);
const STEPS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const rows = data.rows;
data.refused = ofLetters(data.refused);
for (const row of rows) {
  row.density = row.density.map(([kind, letters]) => [kind, ofLetters(letters)]);
  row.pieces = unpack(row);
  row.incidents = [];
  row.harm = 0;
}

const incidents = data.incidents;
incidents.forEach((incident, index) => {
  incident.index = index;
  incident.victim = rows[incident.row];
  incident.from = incident.at;
  incident.to = incident.at === null ? null : incident.at + (incident.length ?? 0);
  incident.lost = incident.ended === "gave-up";
  const harm = (incident.lost ? 1e9 : 0) + (incident.length ?? 0) + 1;
  incident.victim.incidents.push(incident);
  incident.victim.harm += harm;
  for (const blocker of incident.blockers) {
    blocker.held = rows[blocker.row];
    blocker.held.harm += harm;
  }
});
const incidentOf = new Map(incidents.map((incident) => [incident.id, incident]));

// A blocking hold is drawn even if there was no room for all holds.
const known = new Map();
const isKnown = (row, { what, number }) => {
  if (!known.has(row)) known.set(row, new Set(row.pieces.map((piece) => piece.number * 64 + piece.what)));
  const of = known.get(row), key = number * 64 + what;
  return of.has(key) || !of.add(key);
};
for (const incident of incidents) {
  for (const blocker of incident.blockers) {
    if (blocker.from === null || isKnown(blocker.held, blocker)) continue;
    blocker.held.pieces.push({
      row: blocker.held, what: blocker.what, kind: kindOf(blocker.what), from: blocker.from, to: blocker.until ?? data.length,
      flags: blocker.until === null ? OPEN : 0, tid: 0, sql: blocker.sql, number: blocker.number, end: -1,
    });
  }
}
for (const row of rows) {
  row.pieces.sort((a, b) => a.from - b.from || b.to - a.to);
  let reach = -Infinity;
  row.reach = Float64Array.from(row.pieces, (piece) => (reach = Math.max(reach, piece.to)));
}

// The index of the first piece that may reach past this time.
const firstReaching = (row, time) => {
  let low = 0, high = row.reach.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.reach[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
};

const statement = (number) => data.sql[number] ?? ["", 0, ""];
const sqlText = (number) => {
  if (number === 0) return "no statement known";
  const [text, , hash] = statement(number);
  return text || `statement ${hash} (its text is not on this page)`;
};
const nameOfThread = (row, tid) => data.threads[`${row.process}:${tid}`];
const threadName = (row, tid) => (tid === 0 ? "thread not known" : `thread ${tid} ${nameOfThread(row, tid) ?? ""}`.trim());
const baseName = (path) => path.split("/").pop() || path;
const dbName = (db) => (db === null ? "(database not known)" : data.dbs[db]);
const processName = (process) => (process === null ? "several processes" : data.processes[process]);
const pidOfRow = (row) => /^pid (\d+)/.exec(data.processes[row.process] ?? "")?.[1] ?? "";
const rowName = (row) => (row.connections === 1 ? `${row.name} ${nameOfThread(row, row.tid) ?? ""}`.trim() : row.name);

// Rows in groups, one for each database and process, the most harmful first.
const groups = [];
{
  const found = new Map();
  for (const row of rows) {
    const key = `${row.db}/${row.process}`;
    if (!found.has(key)) {
      found.set(key, { db: row.db, process: row.process, rows: [], harm: 0 });
      groups.push(found.get(key));
    }
    const group = found.get(key);
    group.rows.push(row);
    group.harm += row.harm;
  }
  const harmOfDb = new Map();
  for (const group of groups) {
    group.rows.sort((a, b) => (b.connections === 1) - (a.connections === 1) || b.harm - a.harm);
    harmOfDb.set(group.db, (harmOfDb.get(group.db) ?? 0) + group.harm);
  }
  groups.sort((a, b) => harmOfDb.get(b.db) - harmOfDb.get(a.db) || (a.db ?? -1) - (b.db ?? -1) || b.harm - a.harm || pidOfRow(a.rows[0]) - pidOfRow(b.rows[0]));
}

const pad = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));
const duration = (ns) => {
  if (ns === null || ns === undefined) return "not known";
  if (data.ticks) return `${Math.round(ns).toLocaleString("en")} ticks`;
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 999.5e3) return `${pad(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${pad(ns / 1e6)} ms`;
  if (ns < 120e9) return `${pad(ns / 1e9)} s`;
  const s = Math.floor(ns / 1e9);
  return s < 7200 ? `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s` : `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
};
const moment = (ns) => {
  if (ns === null) return "at an unknown time";
  if (data.ticks) return `tick ${Math.round(ns).toLocaleString("en")}`;
  return `+${(ns / 1e9).toFixed(6)} s`;
};
const many = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
