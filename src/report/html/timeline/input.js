// Mouse, touch and keys on the canvas.
const pointers = new Map();
const place = (event) => {
  const room = canvas.getBoundingClientRect();
  return { x: event.clientX - room.left, y: event.clientY - room.top };
};

const hover = (event) => {
  const at = place(event);
  const hit = under(at.x, at.y);
  const changed = hit?.piece !== view.hovered?.piece || hit?.incident !== view.hovered?.incident;
  view.hovered = hit;
  tip(hit, at.x, at.y);
  canvas.style.cursor = hit?.piece || hit?.incident ? "pointer" : "grab";
  if (changed) repaint();
};

const lookFromStrip = (x) => {
  const middle = ((x - shape.gutter) / (shape.width - shape.gutter)) * WHOLE;
  const half = (view.to - view.from) / 2;
  look(middle - half, middle + half);
};

// Zooms with two fingers: the time between them stays between them.
const pinch = () => {
  const [a, b] = [...pointers.values()];
  const [from, to] = [Math.min(a.x, b.x), Math.max(a.x, b.x)];
  if (to - from < 24) return;
  const span = Math.abs(b.time - a.time) || 1;
  const perPixel = span / (to - from);
  const start = Math.min(a.time, b.time) - (from - shape.gutter) * perPixel;
  look(start, start + perPixel * (shape.width - shape.gutter));
};

const pressed = (event) => {
  const at = place(event);
  if (event.button !== 0) return;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const strip = at.y < 30 && at.x >= shape.gutter;
  pointers.set(event.pointerId, { ...at, start: at, time: toTime(at.x), moved: false, strip, scroll: byId("rows").scrollTop });
  if (strip) lookFromStrip(at.x);
  for (const pointer of pointers.values()) pointer.time = toTime(pointer.x);
};

const moved = (event) => {
  const pointer = pointers.get(event.pointerId);
  if (!pointer) return hover(event);
  const at = place(event);
  pointer.moved ||= Math.hypot(at.x - pointer.start.x, at.y - pointer.start.y) > 4;
  [pointer.x, pointer.y] = [at.x, at.y];
  if (!pointer.moved) return;
  tip(null);
  if (pointers.size === 2) pinch();
  else if (pointer.strip) lookFromStrip(at.x);
  else {
    const by = pointer.time - toTime(at.x);
    look(view.from + by, view.to + by);
    pointer.time = toTime(at.x);
    if (event.pointerType === "mouse") byId("rows").scrollTop = pointer.scroll + pointer.start.y - at.y;
  }
};

const released = (event) => {
  const pointer = pointers.get(event.pointerId);
  pointers.delete(event.pointerId);
  for (const other of pointers.values()) other.time = toTime(other.x);
  if (!pointer || pointer.moved || pointer.strip || event.type === "pointercancel") return;
  const hit = under(pointer.x, pointer.y);
  if (hit?.incident) goTo(hit.incident, { look: false });
  else select(hit?.piece ? { piece: hit.piece } : null);
};

// The wheel scrolls the page unless the canvas has the focus or Ctrl is held.
const wheel = (event) => {
  const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey && !sideways) return;
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : 1;
  if (sideways) move(((event.deltaX || event.deltaY) * unit) / (shape.width - shape.gutter));
  else zoom(1.0015 ** (event.deltaY * unit), toTime(Math.max(place(event).x, shape.gutter)));
};

const KEYS = {
  "+": () => zoom(1 / 1.6), "=": () => zoom(1 / 1.6), "-": () => zoom(1.6), _: () => zoom(1.6),
  ArrowLeft: () => move(-0.15), ArrowRight: () => move(0.15), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  Home: lookAtAll,
  PageDown: () => byId("rows").scrollBy(0, shape.height - HEAD - ROW), PageUp: () => byId("rows").scrollBy(0, HEAD + ROW - shape.height),
  Escape: () => select(null),
  Enter: () => {
    const entry = entries[view.selected?.incident?.index];
    if (entry) entry.querySelector("a").focus();
    else if (view.selected?.piece) byId("details").focus();
  },
};

const listen = () => {
  canvas.addEventListener("pointerdown", pressed);
  canvas.addEventListener("pointermove", moved);
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("pointerleave", () => {
    view.hovered = null;
    tip(null);
    repaint();
  });
  canvas.addEventListener("dblclick", (event) => zoom(0.4, toTime(place(event).x)));
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const does = KEYS[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  });
  const buttons = { "zoom-in": () => zoom(1 / 1.6), "zoom-out": () => zoom(1.6), whole: lookAtAll, next: () => step(1), previous: () => step(-1) };
  for (const [id, does] of Object.entries(buttons)) byId(id).addEventListener("click", does);
  byId("rows").addEventListener("scroll", repaint);
};
