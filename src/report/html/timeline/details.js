// The details of the selected or hovered incident or piece, in words.
const isolate = (text) => element("bdi", {}, text);
const code = (text) => element("code", { class: "sql" }, isolate(text));

const sqlElement = (number) => {
  if (number === 0) return element("span", { class: "dim" }, "no statement known");
  const [text, length] = statement(number);
  const shown = code(sqlText(number));
  if (!text || text.length >= length || !text.endsWith("…")) return shown;
  return element("div", {}, shown, element("span", { class: "dim" }, ` (cut: ${length.toLocaleString("en")} bytes in all)`));
};

const facts = (...pairs) => {
  const list = element("dl");
  for (const [name, ...what] of pairs) {
    if (what.length === 0 || what[0] === null) continue;
    list.append(element("dt", {}, name), element("dd", {}, ...what));
  }
  return list;
};

const pidOf = (row) => (row.process === null ? "" : processName(row.process));
const whoHolds = (piece) => isolate(`${pidOf(piece.row)} ${rowName(piece.row)}, ${threadName(piece.row, piece.tid)}`);

const pieceTitle = (piece) => {
  const length = duration(piece.to - piece.from);
  const least = piece.flags & (UNSEEN_START | UNSEEN_END) ? "at most " : "";
  return piece.kind >= SYNC ? `${whatName(piece.what)}: ${length}` : `${whatName(piece.what)} held for ${least}${length}`;
};

const howItEnded = (piece) => {
  if (piece.kind >= SYNC) return null;
  if (piece.flags & OPEN) return "still held at the end of the trace, or of its process";
  if (piece.flags & UNSEEN_END) return "the release was not seen: the hold was over by then";
  return null;
};

const pieceDetails = (piece) => {
  const blocked = incidents.filter((incident) => incident.blockers.some((blocker) => blocker.held === piece.row && blocker.what === piece.what && blocker.number === piece.number));
  const last = piece.end >= 0 ? ` to ${piece.end}` : "";
  const records = `${piece.number}${last}`;
  return [
    element("h3", {}, pieceTitle(piece)),
    facts(
      ["who", whoHolds(piece)],
      ["database", isolate(dbName(piece.row.db))],
      ["from", `${moment(piece.from)}${piece.flags & UNSEEN_START ? " at the earliest: the beginning was not seen" : ""}`],
      ["to", `${moment(piece.to)}`, howItEnded(piece) ? ` (${howItEnded(piece)})` : ""],
      ["statement", piece.kind >= SYNC ? null : sqlElement(piece.sql)],
      ["records", `${records} of this process, in `, element("code", {}, "locktrace cat --json")],
      ["blocks", blocked.length === 0 ? null : element("span", {}, ...blocked.slice(0, 20).flatMap((incident) => [link(incident), " "]), blocked.length > 20 ? `and ${blocked.length - 20} more` : "")],
    ),
  ];
};

const link = (incident) => element("a", { href: `#incident-${incident.id}` }, `incident ${incident.id}`);
const ENDED = { "gave-up": "the application saw an error", "succeeded-after-wait": "it got the lock in the end", open: "the trace ends first" };

const blockerDetails = (blocker) => {
  const held = blocker.from === null ? "" : ` from ${moment(blocker.from)} to ${blocker.until === null ? "the end" : moment(blocker.until)}`;
  return element("dd", {},
    sqlElement(blocker.sql),
    element("div", {}, isolate(blocker.who), `, ${blocker.certain ? "" : "possibly "}holding ${blocker.lock}${held}, ${blocker.state}`),
    blocker.same_thread ? element("div", { class: "bad" }, "the same thread: waiting cannot help") : "",
    blocker.last !== blocker.sql && blocker.last !== 0 ? element("div", { class: "dim" }, "then ", sqlElement(blocker.last)) : "",
  );
};

const incidentDetails = (incident) => {
  const [meaning, fix] = data.causes[incident.cause] ?? ["", ""];
  const list = facts(
    ["refused", sqlElement(incident.sql), element("div", {}, isolate(incident.who), ` wants ${incident.lock}`)],
    ["when", `${moment(incident.from)}, for ${duration(incident.length)}, ${many(incident.attempts, "attempt")}; ${ENDED[incident.ended]}`],
  );
  for (const blocker of incident.blockers) list.append(element("dt", {}, "blocked by"), blockerDetails(blocker));
  for (const outsider of incident.outside) list.append(element("dt", {}, "blocked by"), element("dd", {}, isolate(outsider), ", outside the trace"));
  if (incident.blockers.length + incident.outside.length === 0) list.append(element("dt", {}, "blocked by"), element("dd", { class: "dim" }, "no blocker is known"));
  list.append(element("dt", {}, "why"), element("dd", {}, meaning), element("dt", {}, "fix"), element("dd", {}, fix));
  const proof = element("ol", { class: "proof" }, ...incident.proof.map(([pid, number, shows]) => element("li", {}, `record ${number} of pid ${pid}: ${shows}`)));
  if (incident.more_proof > 0) proof.append(element("li", {}, `and ${many(incident.more_proof, "record")} more`));
  list.append(element("dt", {}, "proof"), element("dd", {}, element("code", {}, `${data.explain} --incident ${incident.id}`), proof));
  const also = incident.also.map((id) => ` + ${id}`).join("");
  return [
    element("h3", {}, `Incident ${incident.id}: ${incident.cause}${also}`),
    list,
    element("p", {}, element("a", { href: `#incident-${incident.id}`, "data-list": "" }, "In the list of incidents")),
  ];
};

const showDetails = () => {
  const box = byId("details");
  const { piece, incident } = view.selected ?? {};
  box.hidden = !piece && !incident;
  if (box.hidden) return;
  box.replaceChildren(...(incident ? incidentDetails(incident) : pieceDetails(piece)));
  byId("said").textContent = incident
    ? `Incident ${incident.id}: ${incident.cause}, ${incident.who} waited ${duration(incident.length)}, ${ENDED[incident.ended]}`
    : pieceTitle(piece);
};

// The tooltip next to the pointer.
const tip = (hit, x, y) => {
  const box = byId("tip");
  box.hidden = !hit;
  if (!hit) return;
  const lines = [];
  if (hit.incident) {
    const incident = hit.incident;
    const by = incident.blockers[0];
    lines.push(element("strong", {}, `Incident ${incident.id}: ${incident.cause}`), `waits ${duration(incident.length)} for ${incident.lock}; ${ENDED[incident.ended]}`, sqlElement(incident.sql));
    if (by) lines.push(element("span", {}, "blocked by ", isolate(by.who), `, ${by.lock}`), sqlElement(by.sql));
  } else if (hit.piece) {
    lines.push(element("strong", {}, pieceTitle(hit.piece)), whoHolds(hit.piece), `from ${moment(hit.piece.from)}`);
    if (hit.piece.kind < SYNC) lines.push(sqlElement(hit.piece.sql));
  } else {
    lines.push(element("strong", {}, isolate(`${pidOf(hit.row)} ${rowName(hit.row)}`)), many(hit.row.holds, "hold"));
    for (const [kind, share] of hit.density ?? []) {
      lines.push(`${KINDS[kind]}: about ${(share * 100).toFixed(share < 0.1 ? 1 : 0)} % of these ${duration(data.bins[1])}`);
    }
  }
  box.replaceChildren(...lines.map((line) => (typeof line === "string" ? element("div", {}, line) : element("div", {}, line))));
  const room = byId("stage").getBoundingClientRect();
  const wide = box.offsetWidth, high = box.offsetHeight;
  box.style.left = `${Math.max(4, Math.min(x + 14, room.width - wide - 4))}px`;
  box.style.top = `${y + 18 + high > room.height ? Math.max(4, y - high - 10) : y + 18}px`;
};
