// The arrows from each victim to its blockers' holds. An arrow bows to the side, so that it also shows between neighbouring rows. If the hold is out of
// view, the arrow ends at the edge, points out of the picture, and shows how far away the hold is.
const drawArrows = () => {
  const drawn = new Set();
  pen.save();
  pen.beginPath();
  pen.rect(shape.gutter, HEAD, shape.width - shape.gutter, shape.height - HEAD);
  pen.clip();
  const isChosen = (incident) => incident === view.selected?.incident || incident === view.hovered?.incident;
  const some = incidents.filter((incident) => incident.from !== null && inView(incident.from, incident.to) && incidentIsShown(incident));
  // The selected incident comes last, so that no other arrow covers its own. Of arrows that would cover each other, only one is drawn.
  for (const incident of some.sort((a, b) => isChosen(a) - isChosen(b))) {
    for (const blocker of incident.blockers) {
      const [from, to] = [toY(incident.victim), toY(blocker.held)];
      if (from === null || to === null || blocker.held === incident.victim) continue;
      const x = Math.min(Math.max(toX(incident.from), shape.gutter + 6), shape.width - 6);
      const key = `${Math.round(x / 6)}:${incident.row}:${blocker.row}`;
      if (!isChosen(incident) && (drawn.has(key) || drawn.size > 150)) continue;
      drawn.add(key);
      const [top, high] = LANES[kindOf(blocker.what)];
      drawArrow({ x, y: from + ROW / 2, end: endOfArrow(blocker, x), endY: to + top + high / 2, chosen: isChosen(incident), incident, certain: blocker.certain });
    }
  }
  pen.restore();
};

// The point of the hold at which the arrow ends: the same instant if the lock was held then, otherwise the nearer end of the hold.
const endOfArrow = (blocker, x) => {
  const [from, until] = [toX(blocker.from ?? view.from), toX(blocker.until ?? data.length)];
  const [left, right] = [shape.gutter + 2, shape.width - 2];
  if (until < left) return { x: left, side: -1, away: view.from - blocker.until };
  if (from > right) return { x: right, side: 1, away: blocker.from - view.to };
  const at = Math.max(Math.min(x, until - 1), from + 1);
  return { x: Math.min(Math.max(at, left), right), side: 0 };
};

const drawArrow = ({ x, y, end, endY, chosen, incident, certain }) => {
  const bow = Math.min(14 + Math.abs(endY - y) * 0.12, 44);
  // The bow goes to the left of the wait if there is room.
  const out = x - bow > shape.gutter + 2 ? -1 : 1;
  // The tip points in the direction in which the arrow arrives.
  const straight = end.side === 0 && Math.abs(end.x - x) < 2 * bow;
  const points = end.side || (straight ? -out : Math.sign(end.x - x));
  const line = (width, colour) => {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.bezierCurveTo(x + out * bow, y, end.x - points * bow, endY, end.x - points * 7, endY);
    pen.stroke();
  };
  const tip = (grow, colour) => {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(end.x + points * grow, endY);
    pen.lineTo(end.x - points * (9 + grow), endY - 5 - grow);
    pen.lineTo(end.x - points * (9 + grow), endY + 5 + grow);
    pen.fill();
  };
  const colour = incident.lost ? paint.lost : paint.waited;
  pen.globalAlpha = chosen ? 1 : view.selected?.incident ? 0.35 : 0.7;
  if (chosen) {
    // A border in the background colour makes it show on any ground.
    line(5.5, paint.ground);
    tip(2, paint.ground);
  }
  pen.setLineDash(certain ? [] : [5, 4]);
  line(chosen ? 2.5 : 1.3, colour);
  pen.setLineDash([]);
  tip(0, colour);
  pen.globalAlpha = 1;
  if (end.side !== 0 && chosen) drawDistance(end, endY);
};

// Shows how far out of the picture the hold is.
const drawDistance = ({ x, side, away }, y) => {
  const text = `${duration(away)} ${side < 0 ? "earlier" : "later"}`;
  pen.font = FONT;
  const wide = pen.measureText(text).width + 8;
  const left = side < 0 ? x + 14 : x - 14 - wide;
  pen.fillStyle = paint.ground;
  pen.fillRect(left, y - 8, wide, 16);
  label(text, left + 4, y + 1, wide, paint.ink);
};
