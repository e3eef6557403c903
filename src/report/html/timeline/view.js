// The part of the trace that is in view: time on one axis, rows on the other.
const WHOLE = Math.max(data.length, 1);
const NARROWEST = Math.min(WHOLE, data.ticks ? 100 : 1000);
const view = { from: 0, to: WHOLE, selected: null, hovered: null, lines: [], height: 0, top: new Map() };
const HEAD = 58, ROW = 28, GROUP = 26;

const look = (from, to) => {
  let span = Math.min(Math.max(to - from, NARROWEST), WHOLE * 1.04);
  const middle = (from + to) / 2;
  let start = middle - span / 2;
  const edge = (WHOLE * 1.04 - WHOLE) / 2;
  start = Math.min(Math.max(start, -edge), WHOLE + edge - span);
  view.from = start;
  view.to = start + span;
  repaint();
};
const lookAtAll = () => look(-WHOLE * 0.02, WHOLE * 1.02);
const zoom = (factor, at = (view.from + view.to) / 2) => look(at - (at - view.from) * factor, at + (view.to - at) * factor);
const move = (share) => {
  const by = (view.to - view.from) * share;
  look(view.from + by, view.to + by);
};

// Shows the incident with its blocking hold, or with as much of that hold as leaves the wait visible.
const lookAtIncident = (incident) => {
  if (incident.from === null) return;
  const length = Math.max(incident.to - incident.from, NARROWEST / 2);
  const reach = Math.max(length * 10, data.ticks ? 0 : 5e8);
  let from = incident.from, to = Math.max(incident.to, incident.from + length);
  const [blocker] = incident.blockers;
  if (blocker && blocker.from !== null) {
    from = Math.min(from, Math.max(blocker.from, incident.from - reach));
    to = Math.max(to, Math.min(blocker.until ?? data.length, incident.to + reach));
  }
  const room = (to - from) * 0.12 + length;
  look(from - room, to + room);
};

// Lays the lines out from top to bottom: each group under its name. If not everything fits on the screen, the rows of the selected incident come first.
const layOut = (fits) => {
  const lines = [];
  let y = 0;
  const add = (line, height) => {
    lines.push({ ...line, y, height });
    y += height;
  };
  const shown = groups.map((group) => ({ group, rows: group.rows.filter(rowIsShown) })).filter((entry) => entry.rows.length > 0);
  const all = shown.reduce((sum, entry) => sum + GROUP + entry.rows.length * ROW, 0);
  const incident = view.selected?.incident;
  if (incident && all > fits) {
    add({ text: `In incident ${incident.id}`, pinned: true }, GROUP);
    const involved = new Set([incident.victim, ...incident.blockers.map((blocker) => blocker.held)]);
    for (const row of involved) add({ row, pinned: true }, ROW);
  }
  for (const { group, rows: some } of shown) {
    const process = group.process === null ? "other processes" : processName(group.process);
    add({ text: `${baseName(dbName(group.db))} › ${process}`, group }, GROUP);
    for (const row of some) add({ row }, ROW);
  }
  view.lines = lines;
  view.height = y;
  view.top = new Map();
  for (const line of lines) if (line.row && !view.top.has(line.row)) view.top.set(line.row, line.y);
};
