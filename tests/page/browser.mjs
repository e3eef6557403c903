// Pages in a real browser: node browser.mjs MODULES PAGE... ; each PAGE is name=path. Says how long each took to open; and what is wrong, and then ends with 1.
import { createRequire } from "node:module";
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arrows, extremes } from "./extreme.mjs";

const [modules, ...given] = process.argv.slice(2);
const require = createRequire(join(modules, "node_modules", "here.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const pages = Object.fromEntries(given.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]));

const wrong = [];
let about = "";
const check = (holds, what) => {
  if (!holds) wrong.push(`${about}: ${what}`);
};

const home = mkdtempSync(join(tmpdir(), "locktrace-browser-"));
const browser = await chromium.launchPersistentContext(home, {
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 900 },
});

// Opens a page; whatever it says, asks for or throws is wrong.
const open = async (name, { hash = "", width = 1280, height = 900, dark = false } = {}) => {
  about = name + hash;
  const page = await browser.newPage();
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  page.on("console", (said) => check(false, `console ${said.type()}: ${said.text()}`));
  page.on("pageerror", (error) => check(false, `error: ${error.stack}`));
  page.on("dialog", (dialog) => {
    check(false, `dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => check(request.url().startsWith("data:") || request.url().startsWith(`file://${pages[name]}`), `asked for ${request.url()}`));
  await page.goto(`file://${pages[name]}${hash}`);
  await settled(page);
  // From the request to the first picture.
  const drawn = await page.evaluate(() => performance.getEntriesByName("locktrace-drawn")[0]?.startTime ?? null);
  check(drawn !== null, "nothing was drawn");
  if (width === 1280 && !opened.has(name)) opened.set(name, drawn);
  return page;
};
const opened = new Map();
// Two frames: what was to be drawn is drawn.
const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))));

// What the canvas shows: how many colours, and a number that changes with the picture.
const picture = async (page) => {
  await settled(page);
  return page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    let sum = 7;
    for (let i = 0; i < data.length; i += 4) {
      const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      colours.add(colour);
      sum = (Math.imul(sum, 31) + colour) | 0;
    }
    return { colours: colours.size, sum };
  });
};
const range = async (page) => {
  await settled(page);
  return page.getAttribute("#canvas", "aria-label");
};
const text = (page, selector) => page.textContent(selector);
// What is written and which curves are drawn while this is done.
const spied = async (page, does) => {
  await page.evaluate(() => {
    const pen = CanvasRenderingContext2D.prototype;
    window.seen = { texts: [], curves: [] };
    if (pen.spied) return;
    pen.spied = true;
    const { fillText, bezierCurveTo, moveTo } = pen;
    let start = null;
    pen.fillText = function (text, ...rest) {
      window.seen.texts.push(text);
      return fillText.call(this, text, ...rest);
    };
    pen.moveTo = function (x, y) {
      start = x;
      return moveTo.call(this, x, y);
    };
    pen.bezierCurveTo = function (...points) {
      window.seen.curves.push({ start, out: points[0], end: points[4] });
      return bezierCurveTo.call(this, ...points);
    };
  });
  await does();
  await settled(page);
  return page.evaluate(() => window.seen);
};

const accessible = async (page, how) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const one of violations) check(false, `axe, ${how}: ${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
};

const changes = async (page, what, does) => {
  const before = await picture(page);
  await does();
  const after = await picture(page);
  check(before.sum !== after.sum, `${what} changes nothing in the picture`);
};

const contended = async () => {
  const page = await open("contended");
  check((await picture(page)).colours > 20, "the timeline is blank");
  check((await text(page, "#details h3")).startsWith("Incident"), "the worst incident is not told");
  await page.focus("#canvas");
  for (const key of ["Home", "+", "+", "ArrowRight", "-", "ArrowLeft"]) await changes(page, `key ${key}`, () => page.keyboard.press(key));
  await page.keyboard.press("Home");
  const whole = await range(page);
  for (const id of ["zoom-in", "zoom-out", "zoom-in", "whole"]) await page.click(`#${id}`);
  await settled(page);
  check((await range(page)) === whole, "the whole trace is not the whole trace again");

  // One cannot lose sight of it.
  await page.focus("#canvas");
  for (const key of ["+", "+", ...new Array(30).fill("ArrowLeft")]) await page.keyboard.press(key);
  const [, from, to] = /locks, \+([0-9.]+) s to \+([0-9.]+) s/.exec(await range(page)) ?? [];
  check(Number(from) === 0 && Number(to) > 0.001, `far to the left there is ${await range(page)}`);
  await page.keyboard.press("Home");

  // Wheel: the page scrolls until somebody clicked on the timeline.
  const box = await page.locator("#canvas").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 100);
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.wheel(0, -50);
  await settled(page);
  check((await range(page)) === whole, "the wheel zooms before a click");
  await page.locator("#canvas").scrollIntoViewIfNeeded();
  await page.focus("#canvas");
  const at = await page.locator("#canvas").boundingBox();
  await page.mouse.move(at.x + at.width / 2, at.y + 100);
  await changes(page, "the wheel", () => page.mouse.wheel(0, -400));
  await changes(page, "dragging", async () => {
    await page.mouse.down();
    await page.mouse.move(at.x + at.width / 2 - 120, at.y + 100, { steps: 4 });
    await page.mouse.up();
  });

  // Links, and the list.
  await page.click('#verdict a[href="#incident-1"]');
  await settled(page);
  check((await page.evaluate(() => location.hash)) === "#incident-1", "a link leaves no address");
  check((await text(page, "#details h3")) === "Incident 1: hold-exceeds-timeout + idle-in-transaction", `the link tells ${await text(page, "#details h3")}`);
  check((await text(page, "#details")).includes("BEGIN IMMEDIATE") && /locktrace explain \S+ --incident 1/.test(await text(page, "#details")), "no culprit or proof in what is told");
  check((await page.getAttribute("#incident-1", "aria-current")) === "true", "the list does not show what is selected");
  await page.focus("#incident-1 a");
  await page.keyboard.press("ArrowDown");
  check((await page.evaluate(() => document.activeElement.closest("tr")?.id)) === "incident-2", "arrow keys do not go down the list");
  await page.focus("#canvas");
  await page.keyboard.press("ArrowUp");
  check((await text(page, "#said")).startsWith("Incident 1"), "arrow keys do not go from incident to incident");
  await page.keyboard.press("Enter");
  check((await page.evaluate(() => document.activeElement.closest("tr")?.id)) === "incident-1", "Enter does not go to the list");

  // Hovering and clicking a hold.
  await page.focus("#canvas");
  await page.keyboard.press("Home");
  await settled(page);
  await page.locator("#canvas").scrollIntoViewIfNeeded();
  const spot = await page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    const room = canvas.getBoundingClientRect();
    for (let y = 60; y < room.height; y += 2) {
      for (let x = room.width * 0.5; x < room.width * 0.6; x += 8) {
        canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: room.left + x, clientY: room.top + y, pointerId: 9 }));
        if (document.getElementById("tip").textContent.includes("X WRITE held")) return { x: room.left + x, y: room.top + y };
      }
    }
    return null;
  });
  check(spot !== null, "no hold is under any point");
  if (spot) {
    await page.mouse.click(spot.x, spot.y);
    check((await text(page, "#details")).includes("X WRITE held for 8.80 ms") && (await text(page, "#details")).includes("+0.000110 s"), `a click tells ${await text(page, "#details h3")}`);
    check((await text(page, "#details")).includes("web-1"), "no thread in what is told");
    check((await page.locator("#details a[href='#incident-1']").count()) === 1, "a hold does not lead to the incident it made");
  }

  // Search and filters.
  const listed = () => page.locator("table.incidents tbody tr:visible").count();
  check((await listed()) === 3, "not all incidents are listed");
  await changes(page, "search", () => page.fill("#search", "INSERT into ORDERS"));
  check((await listed()) === 1 && (await text(page, "#found")).includes("1 incident"), `search finds ${await listed()}, ${await text(page, "#found")}`);
  await page.fill("#search", "no such thing");
  check((await listed()) === 0, "search finds what is not there");
  await page.fill("#search", "");
  await page.selectOption("#by-cause", "unexplained");
  check((await listed()) === 2, "the filter by cause does not work");
  await page.selectOption("#by-cause", "idle-in-transaction");
  check((await listed()) === 1, "the filter by cause does not find what contributes");
  for (let i = 0; i < 2; i++) await page.click("#next");
  check((await text(page, "#details h3")).startsWith("Incident 1"), "the next incident is one that the filter hides");
  await page.selectOption("#by-cause", "");
  await page.fill("#search", "begin immediate");
  check((await text(page, "#found")).startsWith("2 holds"), `search finds ${await text(page, "#found")}`);
  await page.selectOption("#by-database", { label: "other.db" });
  check((await text(page, "#found")).startsWith("0 holds"), `search finds ${await text(page, "#found")} in another database`);
  await page.fill("#search", "");
  check((await listed()) === 1, "the filter by database does not work");
  await page.selectOption("#by-database", "");
  for (const [process, incidents] of [["pid 100 app --serve", 1], ["pid 200 app --serve", 3]]) {
    await page.selectOption("#by-process", { label: process });
    check((await listed()) === incidents, `the filter by process finds ${await listed()} of ${process}`);
  }
  await page.close();

  const linked = await open("contended", { hash: "#incident-2" });
  check((await text(linked, "#details h3")).startsWith("Incident 2"), "an address does not lead to its incident");
  await linked.close();
};

// Two fingers on a telephone: what is between them grows.
const touched = async () => {
  const page = await open("contended", { width: 390, height: 844 });
  check(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "a telephone has to scroll sideways");
  await page.click("#whole");
  await settled(page);
  const before = await range(page);
  await page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    canvas.setPointerCapture = () => {};
    const room = canvas.getBoundingClientRect();
    const finger = (type, id, x) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: id, pointerType: "touch", clientX: room.left + x, clientY: room.top + 80, button: 0 }));
    finger("pointerdown", 1, 200);
    finger("pointerdown", 2, 240);
    finger("pointermove", 1, 120);
    finger("pointermove", 2, 320);
    finger("pointerup", 1, 120);
    finger("pointerup", 2, 320);
  });
  await settled(page);
  check((await range(page)) !== before, "two fingers change nothing");
  await page.close();
};

const everywhere = async (name) => {
  for (const dark of [false, true]) {
    const page = await open(name, { dark });
    await accessible(page, dark ? "dark" : "light");
    await page.emulateMedia({ media: "print" });
    await settled(page);
    const pdf = await page.pdf();
    check(pdf.length > 10_000, "print is empty");
    await page.close();
  }
};

const hostile = async () => {
  const page = await open("hostile");
  check(await page.evaluate(() => window.pwned === undefined), "a name was run");
  check((await page.locator("script").count()) === 2 && (await page.locator("img, iframe, object, embed, form").count()) === 0, "a name is markup");
  const shown = await page.evaluate(() => document.body.innerText);
  check(!/[\u202a-\u202e\u2066-\u2069\u0000-\u0008\u001b]/.test(shown), "control characters reach the page");
  check(shown.includes("<script>"), "the hostile name is not shown as text");
  await page.close();
};

const plain = async () => {
  const context = await browser.browser()?.newContext({ javaScriptEnabled: false });
  if (!context) return;
  const page = await context.newPage();
  await page.goto(`file://${pages.contended}`);
  about = "without a script";
  const shown = await page.evaluate(() => document.body.innerText).catch(() => page.innerText("body"));
  for (const wantedText of ["The application saw `database is locked` 2 times", "hold-exceeds-timeout", "BEGIN IMMEDIATE", "needs JavaScript"]) check(shown.includes(wantedText), `no ${wantedText}`);
  await context.close();
};

const big = async () => {
  const page = await open("big");
  check((await picture(page)).colours > 20, "the timeline is blank");
  check((await text(page, "#aggregated")).includes("are drawn as density"), "it is not said what is aggregated");
  await page.focus("#canvas");
  await changes(page, "Home", () => page.keyboard.press("Home"));
  await page.close();
};

try {
  await contended();
  await touched();
  await hostile();
  await plain();
  await big();
  await arrows({ open, check, spied });
  await extremes({ open, check, text, settled, spied });
  for (const name of Object.keys(pages)) {
    const page = await open(name);
    await page.close();
    if (!["big", "incidents", "statements"].includes(name)) await everywhere(name);
  }
} catch (error) {
  wrong.push(`${about}: ${error.stack}`);
} finally {
  await browser.close();
  rmSync(home, { recursive: true, force: true });
}
for (const [name, drawn] of opened) console.log(`${name}: drawn ${Math.round(drawn)} ms after it was asked for`);
if (wrong.length > 0) {
  console.log(wrong.join("\n"));
  process.exit(1);
}
