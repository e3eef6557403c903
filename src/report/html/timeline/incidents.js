// The link between the list of incidents and the timeline: an incident that is selected in one is shown in the other.
const entries = incidents.map((incident) => byId(`incident-${incident.id}`));

// Shows the incidents that pass the filters, and returns how many there are.
const listIncidents = () => {
  let listed = 0;
  incidents.forEach((incident, index) => {
    const shown = incidentIsListed(incident);
    listed += shown;
    if (entries[index]) entries[index].hidden = !shown;
  });
  const remark = byId("incidents-shown");
  if (remark) remark.textContent = listed === incidents.length ? "" : `${listed.toLocaleString("en")} of ${many(incidents.length, "incident")} shown: search and filters of the timeline apply here, too.`;
  return listed;
};

const select = (what) => {
  const before = view.selected?.incident;
  if (before) entries[before.index]?.removeAttribute("aria-current");
  view.selected = what;
  if (what?.incident) entries[what.incident.index]?.setAttribute("aria-current", "true");
  showDetails();
  repaint();
};

// Scrolls the rows of an incident into view.
const scrollToRows = (incident) => {
  const box = byId("rows");
  layOut(box.clientHeight - HEAD);
  const tops = [incident.victim, ...incident.blockers.slice(0, 1).map((blocker) => blocker.held)].map((row) => view.top.get(row)).filter((top) => top !== undefined);
  if (tops.length === 0) return;
  const [low, high] = [Math.min(...tops), Math.max(...tops) + ROW];
  const room = shape.height - HEAD;
  if (low < box.scrollTop || high > box.scrollTop + room) box.scrollTop = Math.max(0, low - GROUP);
};

const goTo = (incident, { look: looking = true, hash = true } = {}) => {
  select({ incident });
  if (looking) lookAtIncident(incident);
  scrollToRows(incident);
  if (hash) history.replaceState(null, "", `#incident-${incident.id}`);
};

// Goes to the next or previous incident in time, without those that the filters hide.
const step = (by) => {
  const some = incidents.filter(incidentIsListed);
  if (some.length === 0) return;
  const now = some.indexOf(view.selected?.incident);
  const next = now < 0 ? (by > 0 ? 0 : some.length - 1) : (now + by + some.length) % some.length;
  goTo(some[next]);
};

const incidentOfHash = (hash) => incidentOf.get(Number(/^#incident-(\d+)$/.exec(hash)?.[1]));

const followLinks = () => {
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest?.('a[href^="#incident-"]');
    const incident = anchor && incidentOfHash(anchor.getAttribute("href"));
    if (!incident) return;
    event.preventDefault();
    goTo(incident);
    if (anchor.hasAttribute("data-list")) {
      entries[incident.index]?.querySelector("a").focus();
      entries[incident.index]?.scrollIntoView({ block: "center" });
    } else byId("timeline").scrollIntoView({ block: "start" });
  });
  window.addEventListener("hashchange", () => {
    const incident = incidentOfHash(location.hash);
    if (incident && incident !== view.selected?.incident) goTo(incident, { hash: false });
  });
  const table = document.querySelector("table.incidents");
  table?.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || !event.target.closest("tr")) return;
    event.preventDefault();
    const some = incidents.filter(incidentIsListed);
    const now = some.findIndex((incident) => entries[incident.index] === event.target.closest("tr"));
    const next = some[now + by];
    if (!next) return;
    goTo(next);
    entries[next.index].querySelector("a").focus();
  });
};
