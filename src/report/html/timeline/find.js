// Search and filters: which rows, pieces and incidents are shown, and what is under a point.
const wanted = { text: "", statements: null, cause: "", db: "", process: "" };

const search = (text) => {
  wanted.text = text.trim().toLowerCase();
  wanted.statements = wanted.text === "" ? null : new Set();
  if (wanted.statements) {
    data.sql.forEach(([sql], number) => {
      if (number > 0 && sql.toLowerCase().includes(wanted.text)) wanted.statements.add(number);
    });
  }
};

const rowIsShown = (row) => (wanted.db === "" || row.db === Number(wanted.db)) && (wanted.process === "" || row.process === Number(wanted.process) || takesPart.has(row));
// The rows of other processes that have a part in an incident of the selected process.
let takesPart = new Set();

const matches = (piece) => wanted.statements === null || wanted.statements.has(piece.sql);
const statementsOf = (incident) => [incident.sql, ...incident.blockers.flatMap((blocker) => [blocker.sql, blocker.last])];
const incidentMatches = (incident) => wanted.statements === null || statementsOf(incident).some((sql) => wanted.statements.has(sql));
const isAbout = (incident, process) => incident.victim.process === process || incident.blockers.some((blocker) => blocker.held.process === process);
const incidentIsShown = (incident) =>
  (wanted.cause === "" || incident.cause === wanted.cause || incident.also.includes(wanted.cause)) &&
  (wanted.db === "" || incident.db === Number(wanted.db)) &&
  (wanted.process === "" || isAbout(incident, Number(wanted.process)));
const incidentIsListed = (incident) => incidentIsShown(incident) && incidentMatches(incident);

const applyFilters = () => {
  takesPart = new Set();
  if (wanted.process !== "") {
    for (const incident of incidents) {
      if (!isAbout(incident, Number(wanted.process))) continue;
      takesPart.add(incident.victim);
      incident.blockers.forEach((blocker) => takesPart.add(blocker.held));
    }
  }
  const listed = listIncidents();
  let text = "";
  if (wanted.statements) {
    const holds = rows.reduce((sum, row) => sum + (rowIsShown(row) ? row.pieces.filter(matches).length : 0), 0);
    text = `${many(holds, "hold")} and ${many(listed, "incident")} with it`;
  } else if (wanted.cause + wanted.db + wanted.process !== "") text = many(listed, "incident");
  byId("found").textContent = text;
  repaint();
};

// The piece or incident at this point of the canvas.
const under = (x, y) => {
  if (y < HEAD || x < shape.gutter) return null;
  const line = view.lines.find((one) => HEAD + one.y - shape.scroll <= y && y < HEAD + one.y + one.height - shape.scroll);
  if (!line?.row) return null;
  const { row } = line;
  const slack = ((view.to - view.from) / (shape.width - shape.gutter)) * 3;
  const time = toTime(x);
  const covers = (from, to) => from - slack <= time && time <= to + slack;
  const nearest = (some) => some.sort((a, b) => a.to - a.from - (b.to - b.from))[0];
  const wait = nearest(row.incidents.filter((incident) => incident.from !== null && incidentIsShown(incident) && covers(incident.from, incident.to)));
  if (wait) return { incident: wait, row };
  const within = y - (HEAD + line.y - shape.scroll);
  const found = [];
  for (let i = firstReaching(row, time - slack); i < row.pieces.length && row.pieces[i].from <= time + slack; i++) {
    const piece = row.pieces[i];
    if (covers(piece.from, piece.to) && !(piece.flags & LIFETIME)) found.push(piece);
  }
  const inLane = found.filter((piece) => LANES[piece.kind][0] <= within && within <= LANES[piece.kind][0] + LANES[piece.kind][1]);
  const piece = nearest(inLane.length > 0 ? inLane : found);
  if (piece) return { piece, row };
  return row.density.length > 0 ? { density: shareAt(row, time), row } : { row };
};

const shareAt = (row, time) => {
  const bin = Math.floor((time - data.bins[0]) / data.bins[1]);
  return row.density.map(([kind, shares]) => [kind, shares[bin] ?? 0]).filter(([, share]) => share > 0);
};
