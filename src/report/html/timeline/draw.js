// The picture: a strip of the whole trace with the part in view, the axis, and the rows that are on the screen.
const shape = { width: 0, height: 0, gutter: 0, scroll: 0 };
let due = false;
// The performance mark of the first picture, for tests and curious users.
const DRAWN = "locktrace-drawn";
const repaint = () => {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
};

const toX = (time) => shape.gutter + ((time - view.from) / (view.to - view.from)) * (shape.width - shape.gutter);
const toTime = (x) => view.from + ((x - shape.gutter) / (shape.width - shape.gutter)) * (view.to - view.from);
const clampX = (x) => Math.min(Math.max(x, shape.gutter - 4), shape.width + 4);
const toY = (row) => (view.top.has(row) ? HEAD + view.top.get(row) - shape.scroll : null);
// The top and height of each kind within a row: readers have the lower third, other locks the rest. A lock that keeps all others out has the whole row.
const LANES = [[18, 8], [3, 14], [3, 23], [3, 14], [5, 10], [8, 5], [8, 5], [8, 5]];
const FONT = '12px system-ui, "Segoe UI", Roboto, sans-serif';

const label = (text, x, y, room, colour, font = FONT) => {
  if (room < 14) return;
  pen.font = font;
  pen.fillStyle = colour;
  let shown = text;
  if (pen.measureText(text).width > room) {
    shown = text.slice(0, Math.max(0, Math.floor((room / 12) * 2.2)));
    while (shown && pen.measureText(shown + "…").width > room) shown = shown.slice(0, -1);
    if (!shown) return;
    shown += "…";
  }
  pen.fillText(shown, x, y);
};

function draw() {
  const box = byId("rows");
  const ratio = window.devicePixelRatio || 1;
  // In print the picture keeps the size that it had on the screen.
  if (shape.width === 0 || !matchMedia("print").matches) [shape.width, shape.height] = [box.clientWidth, box.clientHeight];
  layOut(shape.height - HEAD);
  shape.gutter = shape.width < 560 ? 92 : 190;
  box.style.setProperty("--rest", `${Math.max(0, view.height + HEAD - shape.height)}px`);
  if (!matchMedia("print").matches) shape.scroll = box.scrollTop;
  const [width, height] = [Math.round(shape.width * ratio), Math.round(shape.height * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.direction = "ltr";
  pen.textBaseline = "middle";
  pen.fillStyle = paint.ground;
  pen.fillRect(0, 0, shape.width, shape.height);
  for (const line of view.lines) {
    const y = HEAD + line.y - shape.scroll;
    if (y + line.height < HEAD || y > shape.height) continue;
    if (line.row) drawRow(line, y); else drawGroup(line, y);
  }
  drawArrows();
  drawHead();
  canvas.setAttribute("aria-label", `Timeline of locks, ${moment(Math.max(0, view.from))} to ${moment(Math.min(WHOLE, view.to))} of ${duration(WHOLE)}`);
  if (performance.getEntriesByName(DRAWN).length === 0) performance.mark(DRAWN);
}

const drawGroup = (line, y) => {
  pen.fillStyle = paint.raised;
  pen.fillRect(0, y, shape.width, line.height);
  label(line.text, 8, y + line.height / 2 + 1, shape.width - 16, line.pinned ? paint.accent : paint.ink, `600 ${FONT}`);
};

const inView = (from, to) => to >= view.from && from <= view.to;

const drawRow = (line, y) => {
  const { row } = line;
  pen.fillStyle = paint.line;
  pen.fillRect(0, y + line.height - 1, shape.width, 1);
  pen.save();
  pen.beginPath();
  pen.rect(shape.gutter, y, shape.width - shape.gutter, line.height);
  pen.clip();
  if (row.density.length > 0) drawDensity(row, y);
  drawPieces(row, y);
  for (const incident of row.incidents) if (incidentIsShown(incident)) drawWait(incident, y);
  pen.restore();
  label(line.pinned ? `${pidOfRow(row)} ${rowName(row)}`.trim() : rowName(row), 10, y + line.height / 2, shape.gutter - 16, paint.ink);
};

const drawDensity = (row, y) => {
  const [start, width] = data.bins;
  pen.globalAlpha = 0.45;
  for (const [kind, shares] of row.density) {
    const [top, room] = LANES[kind];
    pen.fillStyle = paint.kinds[kind];
    const first = Math.max(0, Math.floor((view.from - start) / width));
    const last = Math.min(shares.length, Math.ceil((view.to - start) / width));
    for (let bin = first; bin < last; bin++) {
      if (shares[bin] === 0) continue;
      const x = clampX(toX(start + bin * width));
      const high = Math.max(1, Math.sqrt(shares[bin]) * room);
      pen.fillRect(x, y + top + room - high, Math.max(1, clampX(toX(start + (bin + 1) * width)) - x), high);
    }
  }
  pen.globalAlpha = 1;
  // In windows in which every hold is drawn, the density is removed again.
  if (row.connections !== 1) return;
  pen.fillStyle = paint.ground;
  for (const [from, length] of data.windows) {
    const [x, end] = [clampX(toX(from)), clampX(toX(from + length))];
    if (inView(from, from + length) && end - x > 3) pen.fillRect(x, y + 1, end - x, ROW - 2);
  }
};

const drawPieces = (row, y) => {
  const last = new Array(KINDS.length).fill(-1);
  // Work, RECOVER and moved read marks are drawn on top.
  const later = [];
  for (let i = firstReaching(row, view.from); i < row.pieces.length && row.pieces[i].from <= view.to; i++) {
    const piece = row.pieces[i];
    if (piece.to < view.from) continue;
    if (piece.flags & LIFETIME) {
      pen.fillStyle = paint.dim;
      pen.globalAlpha = 0.5;
      pen.fillRect(clampX(toX(piece.from)), y + ROW - 3, Math.max(1, clampX(toX(piece.to)) - clampX(toX(piece.from))), 1);
      pen.globalAlpha = 1;
    } else if (piece.kind >= SYNC || piece.kind === 4) later.push(piece);
    else drawPiece(piece, y, last);
  }
  for (const piece of later) drawPiece(piece, y, last);
};

const drawPiece = (piece, y, last) => {
  const x = clampX(toX(piece.from));
  const width = Math.max(clampX(toX(piece.to)) - x, 1.5);
  // Several short pieces in one column look like one, so only one is drawn.
  if (width <= 1.5 && last[piece.kind] === Math.floor(x)) return;
  last[piece.kind] = Math.floor(x);
  const [top, high] = LANES[piece.kind];
  pen.globalAlpha = matches(piece) ? 1 : 0.15;
  pen.fillStyle = paint.fills[piece.kind];
  pen.fillRect(x, y + top, width, high);
  if (width > 6) {
    pen.strokeStyle = paint.ink;
    pen.globalAlpha *= 0.55;
    pen.lineWidth = 1;
    pen.setLineDash(piece.flags & (UNSEEN_START | UNSEEN_END) ? [3, 3] : []);
    pen.strokeRect(x + 0.5, y + top + 0.5, width - 1, high - 1);
    pen.setLineDash([]);
    pen.globalAlpha = matches(piece) ? 1 : 0.3;
    if (piece.kind < SYNC && high > 9) {
      const open = piece.flags & OPEN ? " (open)" : "";
      label(`${whatName(piece.what)}${open}  ${piece.sql ? sqlText(piece.sql).replace(/\s+/g, " ") : ""}`, Math.max(x, shape.gutter) + 4, y + top + high / 2 + 0.5, x + width - Math.max(x, shape.gutter) - 8, paint.onKind);
    }
  }
  pen.globalAlpha = 1;
  if (piece === view.selected?.piece || piece === view.hovered?.piece) outline(x, y + top, width, high);
};

const outline = (x, y, width, high) => {
  pen.strokeStyle = paint.accent;
  pen.lineWidth = 2;
  pen.strokeRect(x - 1, y - 1, width + 2, high + 2);
};

const drawWait = (incident, y) => {
  if (incident.from === null || !inView(incident.from, incident.to)) return;
  const x = clampX(toX(incident.from));
  const width = Math.max(clampX(toX(incident.to)) - x, 4);
  const colour = incident.lost ? paint.lost : paint.waited;
  pen.globalAlpha = incidentMatches(incident) ? 1 : 0.15;
  pen.fillStyle = width > 5 ? (incident.lost ? paint.lostHatch : paint.waitedHatch) : colour;
  pen.fillRect(x, y + 3, width, 23);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.strokeRect(x + 0.5, y + 3.5, width - 1, 22);
  if (width > 60) {
    const text = `${incident.id}: waits for ${incident.lock}${incident.lost ? " — error" : ""}`;
    const left = Math.max(x, shape.gutter);
    const room = Math.min(x + width - left - 8, 260);
    pen.font = FONT;
    pen.fillStyle = paint.ground;
    pen.fillRect(left + 4, y + 7, Math.min(room, pen.measureText(text).width + 8), 15);
    label(text, left + 8, y + 15, room - 8, paint.ink);
  }
  if (incident === view.selected?.incident || incident === view.hovered?.incident) outline(x, y + 3, width, 23);
  pen.globalAlpha = 1;
};

const drawHead = () => {
  pen.fillStyle = paint.ground;
  pen.fillRect(0, 0, shape.width, HEAD);
  const room = shape.width - shape.gutter;
  const wholeX = (time) => shape.gutter + (time / WHOLE) * room;
  label("whole trace", 10, 15, shape.gutter - 16, paint.dim);
  pen.fillStyle = paint.raised;
  pen.fillRect(shape.gutter, 4, room, 22);
  drawRefused(room);
  // Errors are drawn last, so that nothing covers them.
  for (const lost of [false, true]) {
    pen.fillStyle = lost ? paint.lost : paint.waited;
    for (const incident of incidents) {
      if (incident.lost !== lost || incident.from === null || !incidentIsShown(incident)) continue;
      pen.fillRect(wholeX(incident.from), lost ? 4 : 12, Math.max(1.5, wholeX(incident.to) - wholeX(incident.from)), lost ? 22 : 14);
    }
  }
  pen.strokeStyle = paint.accent;
  pen.lineWidth = 2;
  const left = Math.max(wholeX(view.from), shape.gutter);
  pen.strokeRect(left, 3, Math.max(3, Math.min(wholeX(view.to), shape.width - 1) - left), 24);
  drawAxis();
};

// The refused attempts over the whole trace. If the page does not have every incident, they show where the others are.
const drawRefused = (room) => {
  const [start, width] = data.bins;
  pen.fillStyle = paint.waited;
  pen.globalAlpha = 0.4;
  data.refused.forEach((share, bin) => {
    if (share === 0) return;
    const high = Math.max(1, share * 22);
    pen.fillRect(shape.gutter + ((start + bin * width) / WHOLE) * room, 26 - high, Math.max(1, (width / WHOLE) * room), high);
  });
  pen.globalAlpha = 1;
};

const drawAxis = () => {
  const span = view.to - view.from;
  const wanted = (span / (shape.width - shape.gutter)) * 110;
  const decade = 10 ** Math.floor(Math.log10(wanted));
  const step = decade * [1, 2, 5, 10].find((factor) => factor * decade >= wanted);
  pen.fillStyle = paint.line;
  pen.fillRect(0, HEAD - 1, shape.width, 1);
  const [unit, name] = data.ticks ? [1, "ticks"] : step >= 1e9 ? [1e9, "s"] : step >= 1e6 ? [1e6, "ms"] : step >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
  label(`time in ${name}`, 10, HEAD - 15, shape.gutter - 16, paint.dim);
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const x = toX(time);
    pen.fillStyle = paint.line;
    pen.fillRect(x, HEAD - 8, 1, 8);
    const text = Number((time / unit).toFixed(digits)).toLocaleString("en", { maximumFractionDigits: digits });
    pen.font = FONT;
    // A number that is cut off would be read as another number.
    if (x + 3 + pen.measureText(text).width < shape.width) label(text, x + 3, HEAD - 15, 200, paint.dim);
  }
};
