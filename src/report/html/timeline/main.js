// The start of the script: it shows the parts that need a script, fills the filters, and goes to the worst incident.
const fill = (id, values, name, key) => {
  const box = byId(id);
  values.forEach((value, index) => box.append(element("option", { value: String(index) }, name(value))));
  box.addEventListener("change", () => {
    wanted[key] = box.value;
    applyFilters();
  });
  box.parentElement.hidden = values.length < 2;
};

const fillCauses = () => {
  const box = byId("by-cause");
  const counts = new Map();
  for (const incident of incidents) for (const id of [incident.cause, ...incident.also]) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of [...counts].sort((a, b) => b[1] - a[1])) box.append(element("option", { value: id }, `${id} (${count})`));
  box.addEventListener("change", () => {
    wanted.cause = box.value;
    applyFilters();
  });
  box.parentElement.hidden = counts.size < 2;
};

const watchAppearance = () => {
  const again = () => {
    takePaint();
    repaint();
  };
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", () => {
      takePaint();
      draw();
    });
  }
  new ResizeObserver(repaint).observe(byId("rows"));
  again();
};

const worst = () => incidentOf.get(data.worst) ?? incidents[0];

const begin = () => {
  if (rows.length === 0) {
    performance.mark(DRAWN);
    return;
  }
  for (const id of ["tools", "stage", "legend", "keys"]) byId(id).hidden = false;
  fillCauses();
  fill("by-database", data.dbs, baseName, "db");
  fill("by-process", data.processes, (name) => name, "process");
  byId("search").addEventListener("input", (event) => {
    search(event.target.value);
    applyFilters();
  });
  for (const id of ["previous", "next"]) byId(id).parentElement.hidden = incidents.length === 0;
  const height = groups.reduce((sum, group) => sum + GROUP + group.rows.length * ROW, HEAD + 2);
  byId("rows").style.height = `${Math.min(Math.max(height, 150), Math.max(280, Math.round(window.innerHeight * 0.62)))}px`;
  watchAppearance();
  legend();
  listen();
  followLinks();
  shape.height = byId("rows").clientHeight;
  const linked = incidentOfHash(location.hash);
  lookAtAll();
  if (linked) goTo(linked);
  else if (worst()) goTo(worst(), { hash: false });
  if (linked) byId("timeline").scrollIntoView({ block: "start" });
};
begin();
