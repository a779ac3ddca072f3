// How far limits are used, by all replicas: the fullest first.

import { bar } from "./bars.js";
import { badge, byId, el, setText } from "./dom.js";
import { money, share, whole } from "./format.js";

const NEAR = 0.8;
const SPANS = { 1: "second", 60: "minute", 3600: "hour" };
const LEVELS = { all: "everybody", org: "organisation", team: "team", key: "key" };

/** `nameOf(key id)`: what people call a key, if that is known. */
export function limits(root, nameOf) {
  let shown = "";
  return ({ enabled, how, store, total, limits: rows }) => {
    const problem = byId("limits-problem");
    problem.hidden = !store?.problem;
    setText(problem, store?.problem ? `The store of limits does not answer: ${store.problem}. Figures are the last known.` : "");
    setText(byId("limits-count"), total ? String(total) : "");
    const told = rows.map((row) => ({ ...row, name: row.level === "key" ? nameOf(row.subject) : "" }));
    const next = JSON.stringify([enabled, told, total]);
    if (next === shown) return;
    shown = next;
    byId("limits-legend").hidden = !told.some(({ held }) => Number(held) > 0);
    if (!told.length) {
      root.replaceChildren(el("li", { class: "empty" }, enabled ? "No limit was in use during the last minute." : how));
      return;
    }
    const rest = total > told.length ? [el("li", { class: "empty" }, `${whole(total - told.length)} more, less used than these.`)] : [];
    root.replaceChildren(...told.map(limit), ...rest);
  };
}

function limit(row) {
  const full = row.part >= 1;
  const shownAmount = row.measure === "spend" ? money : whole;
  const amounts = `${shownAmount(row.used)} / ${shownAmount(row.limit)}`;
  const who = row.name || row.subject || LEVELS.all;
  const what = `${row.measure.replaceAll("_", " ")}${span(row)}${row.model ? `, ${row.model}` : ""}`;
  const held = Math.min(row.part, row.limit > 0 ? row.held / row.limit : 0);
  const kind = full ? "bad" : row.part >= NEAR ? "warn" : "used";
  return el(
    "li",
    { class: "limit" },
    el(
      "p",
      { class: "heading" },
      el("span", { class: "who" }, el("b", {}, who), row.level === "all" ? null : el("span", { class: "muted" }, ` ${LEVELS[row.level] ?? row.level}`)),
      full ? badge("bad", "warn", "full") : el("span", { class: "muted" }, share(row.part)),
    ),
    bar(`${who}, ${what}: ${amounts}, of it ${shownAmount(row.held)} reserved here`, [kind, row.part - held], [`${kind} held`, held]),
    el("p", { class: "heading" }, el("span", { class: "what muted", title: `Limit ${row.rule}` }, what), el("span", { class: "num" }, amounts)),
  );
}

function span({ span: calendar, window_s: seconds }) {
  if (calendar) return ` per ${calendar}`;
  if (!seconds) return "";
  if (SPANS[seconds]) return ` per ${SPANS[seconds]}`;
  for (const [unit, name] of [[86_400, "d"], [3600, "h"], [60, "min"]]) if (seconds % unit === 0) return ` per ${seconds / unit} ${name}`;
  return ` per ${seconds} s`;
}
