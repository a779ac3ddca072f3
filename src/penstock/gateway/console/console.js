// The console: wires the parts to the routes they show.

import { keepToken, read, token } from "./api.js";
import { copier } from "./copy.js";
import { byId, icon, setText } from "./dom.js";
import { engines } from "./engines.js";
import { Playground } from "./playground.js";
import { Poll } from "./poll.js";
import { live, recent } from "./requests.js";
import { Tenants } from "./tenants.js";
import { tiles } from "./tiles.js";
import { themeSwitch } from "./theme.js";
import { Views } from "./views.js";

const turnTheme = themeSwitch(byId("theme"));
const playground = new Playground(lock);
const tenants = new Tenants();
const show = {
  tiles: tiles(byId("tiles")),
  engines: engines(byId("engines")),
  live: live(byId("live"), byId("live-empty")),
  recent: recent(byId("recent"), byId("recent-empty"), byId("problems")),
};

const failing = new Map();
let locked = false;

const slow = {
  days: poll("cost by day", 60_000, () => tenants.readDays(), "tenants"),
  costs: poll("costs", 60_000, () => tenants.readCosts(), "tenants"),
};
const polls = [
  poll("timeline", 1000, async () => show.tiles(await read("/admin/timeline"))),
  poll("live", 1000, async () => show.live((await read("/admin/live")).requests)),
  poll("requests", 2000, async () => show.recent((await read("/admin/requests?limit=50")).requests)),
  poll("engines", 2000, async () => {
    // A worker that does not answer hides its judgement, not the engines.
    const health = read("/admin/health").catch(() => ({ workers: [] }));
    show.engines((await read("/admin/engines")).engines, (await health).workers);
  }),
  poll("ready", 2000, async () => showReady(await read("/readyz", 503))),
  poll("about", 10_000, async () => showAbout(await read("/admin/about"))),
  poll("limits", 2000, () => tenants.readLimits(), "tenants"),
  poll("fairness", 2000, () => tenants.readFairness(), "tenants"),
  poll("last uses", 60_000, () => tenants.readUses(), "tenants"),
  ...Object.values(slow),
];
const views = new Views((name) => {
  if (name === "tenants") tenants.load();
  for (const each of polls) each.now();
});
for (const each of polls) each.now();

for (const control of [tenants.cost.days, tenants.cost.by]) control.addEventListener("change", () => slow.costs.now());
tenants.cost.days.addEventListener("change", () => slow.days.now());

/** Asks while the page is open; with a `view`, while that is shown. */
function poll(name, everyMs, ask, view = null) {
  return new Poll(async () => { if (!locked && (view === null || view === views.shown)) await ask(); }, everyMs, (error) => {
    if (error?.locked) { lock(); return; }
    if (error) failing.set(name, error);
    else failing.delete(name);
    showTrouble();
  });
}

let readiness = { ready: null, reasons: [] };

function showReady(answer) {
  readiness = answer;
  showTrouble();
}

function showTrouble() {
  const banner = byId("banner");
  const [error] = failing.values();
  const silent = error && (error.name === "TypeError" || error.name === "TimeoutError");
  let lines = [];
  if (locked) {
    pill("warn", "warn", "Locked");
    lines = ["The console is locked: it needs the admin token. Reload to enter it."];
  } else if (silent) {
    pill("bad", "bad", "No answer");
    lines = ["The admin listener does not answer. The figures below are the last known; asking again."];
  } else if (error) {
    lines = [`Some figures are old: ${error.message}`];
  }
  if (!locked && !silent && readiness.ready !== null) {
    pill(readiness.ready ? "good" : "warn", readiness.ready ? "good" : "wait", readiness.ready ? "Ready" : "Not ready");
    if (!readiness.ready) lines.push(`Not ready: ${readiness.reasons.join("; ")}`);
  }
  setText(banner, lines.join(" "));
  banner.hidden = lines.length === 0;
  document.body.classList.toggle("stale", Boolean(silent));
}

// The playground is as tall as what the header and the banner leave of the window.
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--banner", `${target.offsetHeight}px`);
}).observe(byId("banner"));

function pill(tone, sign, words) {
  const node = byId("state");
  if (node.dataset.tone === tone && node.textContent === words) return;
  node.dataset.tone = tone;
  node.replaceChildren(icon(sign), words);
  document.title = words === "Ready" ? "Penstock console" : `${words} · Penstock console`;
}

function showAbout(about) {
  setText(byId("version"), about.version ?? "");
  setText(byId("address"), `${about.api}/v1`);
  byId("copy").disabled = false;
  playground.offer(about);
  tenants.offer(about);
}

copier(byId("copy"), () => byId("address"));

function lock() {
  if (locked) return;
  locked = true;
  setText(byId("unlock-error"), token() ? "This token was not accepted." : "");
  showTrouble();
  byId("unlock").showModal();
}

byId("unlock-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value);
  byId("token").value = "";
  locked = false;
  byId("unlock").close();
  showTrouble();
  for (const each of polls) each.now();
});

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
byId("help").addEventListener("click", () => byId("shortcuts").showModal());

const SHORTCUTS = {
  "?": () => byId("shortcuts").showModal(),
  "/": () => { views.go("fleet"); byId("prompt").focus(); },
  1: () => views.go("fleet"),
  2: () => views.go("tenants"),
  p: () => byId("problems").click(),
  t: turnTheme,
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") { playground.stop(); return; }
  const writing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(SHORTCUTS, event.key)) return;
  event.preventDefault();
  SHORTCUTS[event.key]();
});
