// One card per engine: can it answer, with what, since when, and what went wrong last.

import { badge, byId, el } from "./dom.js";
import { span } from "./format.js";

const STATES = {
  ready: ["good", "good"],
  starting: ["warn", "wait"], warming: ["warn", "wait"], restarting: ["warn", "wait"], stopping: ["warn", "wait"],
  unreachable: ["bad", "bad"], failed: ["bad", "bad"],
};

export function engines(root) {
  let shown = "";
  return (rows) => {
    const now = Date.now() / 1000;
    const cards = rows.map((engine) => ({ ...engine, since: span(engine.since ? now - engine.since : null) }));
    const next = JSON.stringify(cards);
    if (next === shown) return;
    shown = next;
    byId("engines-count").textContent = rows.length || "";
    root.replaceChildren(...(cards.length ? cards.map(card) : [el("p", { class: "empty" }, "No engine is configured. Add one under engines: in penstock.yaml.")]));
  };
}

function card(engine) {
  const [tone, sign] = STATES[engine.state] ?? ["idle", "idle"];
  const fact = (name, value) => (value === null || value === undefined || value === "" ? [] : [el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))]);
  return el(
    "article",
    { class: "card", "aria-label": `Engine ${engine.name}` },
    el("div", { class: "heading" }, el("h3", {}, engine.name), badge(tone, sign, engine.state)),
    el("p", { class: "chips" }, ...(engine.models ?? []).map((model) => el("code", { class: "chip" }, model))),
    el(
      "dl",
      { class: "facts" },
      ...fact("Kind", engine.kind), ...fact("For", engine.since), ...fact("In flight", engine.in_flight),
      ...fact("Restarts", engine.restarts), ...fact("Process", engine.pid), ...fact("Version", engine.version),
    ),
    engine.last_error ? el("p", { class: "wrong" }, engine.last_error) : null,
    engine.address ? el("p", { class: "where" }, el("code", {}, engine.address)) : null,
  );
}
