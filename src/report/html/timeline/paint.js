// Colours and patterns. The colours come from the style sheet, which decides about light, dark and print. Kinds also differ by pattern.
const canvas = byId("canvas");
const pen = canvas.getContext("2d");
let paint = {};

const tile = (size, draw) => {
  const square = document.createElement("canvas");
  square.width = square.height = size;
  const on = square.getContext("2d");
  draw(on, size);
  return pen.createPattern(square, "repeat");
};

const stripes = (ink, ground, size = 8, width = 2.5) => tile(size, (on) => {
  on.fillStyle = ground;
  on.fillRect(0, 0, size, size);
  on.strokeStyle = ink;
  on.lineWidth = width;
  for (const shift of [-size, 0, size]) {
    on.beginPath();
    on.moveTo(shift, size);
    on.lineTo(shift + size, 0);
    on.stroke();
  }
});

const takePaint = () => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  paint = {
    ground: colour("ground"), raised: colour("raised"), ink: colour("ink"), dim: colour("dim"), line: colour("line"),
    lost: colour("lost"), waited: colour("waited"), accent: colour("accent"), onKind: colour("on-kind"),
    kinds: KINDS.map((_, kind) => colour(`kind${kind}`)),
    lostHatch: stripes(colour("lost"), colour("lost-ground")),
    waitedHatch: stripes(colour("waited"), colour("waited-ground")),
  };
  const mark = (kind, draw) => tile(6, (on, size) => {
    on.fillStyle = paint.kinds[kind];
    on.fillRect(0, 0, size, size);
    on.fillStyle = on.strokeStyle = "rgba(0,0,0,.28)";
    draw(on, size);
  });
  paint.fills = [
    paint.kinds[0],
    paint.kinds[1],
    mark(2, (on) => { on.fillRect(0, 0, 3, 3); on.fillRect(3, 3, 3, 3); }),
    mark(3, (on, size) => on.fillRect(0, 0, 1.5, size)),
    mark(4, (on) => on.fillRect(1, 1, 2, 2)),
    paint.kinds[5], mark(6, (on, size) => on.fillRect(0, 0, size, 2)), paint.kinds[7],
  ];
};

const legend = () => {
  const box = byId("legend");
  const used = new Set(rows.flatMap((row) => [...row.pieces.map((piece) => piece.kind), ...row.density.map(([kind]) => kind)]));
  const names = [
    ["reading: SHARED, S READ", 0], ["writing: RESERVED, X WRITE", 1], ["all others locked out: PENDING, EXCLUSIVE", 2], ["checkpoint: CKPT", 3],
    ["RECOVER, read marks (X READ)", 4], ["sync", 5], ["checkpoint copies", 6], ["journal or -wal deleted", 7],
  ];
  box.replaceChildren(...names.filter(([, kind]) => used.has(kind)).map(([text, kind]) => element("span", { class: `key kind${kind}` }, text)));
  if (incidents.length > 0) {
    box.append(element("span", { class: "key lost" }, "refused, and the application saw an error"));
    box.append(element("span", { class: "key waited" }, "refused, and got the lock or still waits"));
    box.append(element("span", { class: "key arrow" }, "from the refused connection to the holder"));
  }
  if (data.refused.length > 0) box.append(element("span", { class: "key refused" }, "pale, in the strip above: refused attempts"));
  if (!data.complete) box.append(element("span", { class: "key density" }, "pale: share of the time in which the lock was held"));
};

// An element with attributes and children. Strings become text, not markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
