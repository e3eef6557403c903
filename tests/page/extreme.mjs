// Pages of traces with nothing in them, and with far too much: each part of them says something true. Called by browser.mjs, with what that has to look with.
export const extremes = async ({ open, check, text, settled, spied }) => {
  const parts = ["verdict", "timeline", "incidents", "matrix", "distributions", "load", "databases", "losses", "about"];
  const saysEach = async (page, wanted) => {
    for (const id of parts) {
      const said = (await page.innerText(`#${id}`)).trim();
      check(said.split("\n").length > (id === "verdict" ? 0 : 1), `#${id} says nothing: ${said}`);
    }
    for (const [id, what] of Object.entries(wanted)) check((await page.innerText(`#${id}`)).includes(what), `#${id} does not say "${what}": ${(await page.innerText(`#${id}`)).slice(0, 300)}`);
  };
  const nothing = "Nothing was recorded.", gone = "No record is left that could show it.";
  const all = (what) => ({ timeline: what, incidents: what, matrix: what, distributions: what, load: what, databases: what });
  for (const [name, wanted] of Object.entries({
    empty: { ...all(nothing), verdict: "locktrace doctor -- COMMAND", losses: "the trace has no records" },
    lost: { ...all(gone), verdict: "Every record of this trace is lost", losses: "2 missing from the file" },
    idle: { verdict: "No attempt to take a lock was refused", incidents: "No refusal that an application could see.", matrix: "No statement blocked another.", distributions: "2 holds", losses: "every record was read" },
    processes: { verdict: "`database is locked` 1 time", timeline: "Not every hold is drawn one by one", about: "702 connections" },
    incidents: { verdict: "6,666 times", timeline: "Of 10,000 incidents the 1,000 worst are drawn.", incidents: "9,000 more are in the sums above" },
    statements: { verdict: "19,999 times", matrix: "counted together", about: "are shown one by one" },
  })) {
    const page = await open(name);
    await saysEach(page, wanted);
    check((await page.isVisible("#stage")) === !["empty", "lost"].includes(name), "the timeline is there without anything to draw, or not there");
    await page.close();
  }

  // The rows of an incident say whose they are, where they stand apart from their process.
  const processes = await open("processes");
  const { texts } = await spied(processes, () => processes.click("#whole"));
  for (const row of ["499 c3", "250 c3", "In incident 1"]) check(texts.includes(row), `no row "${row}": ${texts.slice(0, 20)}`);
  check(texts.includes("app.db › pid 2 app --serve"), "processes stand in the order of their digits");
  await processes.close();

  // Every cause that is told leads to one of its incidents; and where they all are, the strip shows.
  const many = await open("incidents");
  check((await many.locator("#verdict .cause").count()) === (await many.locator('#verdict a[href^="#incident-"]').count()), "a cause without an incident");
  check((await many.locator("table.incidents tbody tr:visible").count()) === 1000, "not all of the thousand incidents are shown");
  await many.click("#whole");
  await settled(many);
  const strip = await many.evaluate(() => {
    const canvas = document.getElementById("canvas");
    const copy = new OffscreenCanvas(canvas.width, 40).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const at = (share, y) => copy.getImageData(Math.round(canvas.width * share), y, 1, 1).data.join();
    return { last: at(0.95, 20), ground: at(0.95, 35) };
  });
  check(strip.last !== strip.ground && strip.last !== "241,243,245,255", `the strip is empty where incidents are that are not listed: ${JSON.stringify(strip)}`);
  await many.close();

  // A statement among a hundred thousand is found.
  const statements = await open("statements");
  await statements.fill("#search", "set a = 88,");
  check((await text(statements, "#found")).startsWith("1 hold and 1 incident"), `search finds ${await text(statements, "#found")}`);
  await statements.close();
};

// Where an arrow ends.
export const arrows = async ({ open, check, spied }) => {
  // The hold was over long before: what was zoomed in on does not show it, and the arrow says so.
  const stale = await open("stale");
  const gutter = 190;
  const width = await stale.evaluate(() => document.getElementById("canvas").clientWidth);
  let { texts, curves } = await spied(stale, () => stale.click('#verdict a[href="#incident-1"]'));
  check(texts.some((one) => / ms earlier$/.test(one)), `it is not said how far away the hold is: ${texts}`);
  check(curves.length > 0 && curves.every((curve) => curve.end > gutter && curve.end < gutter + 20), `the arrow does not end at the edge: ${JSON.stringify(curves)}`);
  ({ texts, curves } = await spied(stale, () => stale.click("#whole")));
  check(!texts.some((one) => /earlier|later/.test(one)), "a hold in view is said to be out of it");
  check(curves.length > 0 && curves.every((curve) => curve.end > gutter + 20 && curve.end < gutter + 60), `the arrow does not end at the hold: ${JSON.stringify(curves)}`);
  await stale.close();

  // Between neighbours it stands out beside the rows.
  const near = await open("contended", { hash: "#incident-1" });
  ({ curves } = await spied(near, () => near.click("#whole")));
  check(curves.some((curve) => Math.abs(curve.out - curve.start) >= 14), `arrows do not stand out: ${JSON.stringify(curves)}`);
  check(curves.every((curve) => curve.end > gutter && curve.end < width), `an arrow leaves the picture: ${JSON.stringify(curves)}`);
  await near.close();
};
