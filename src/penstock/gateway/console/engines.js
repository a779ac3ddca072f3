// One card per engine: can it answer, with what, since when, and what went wrong last.

import { badge, byId, el } from "./dom.js";
import { share, span, whole } from "./format.js";

const OLD_S = 10;

const STATES = {
  ready: ["good", "good"],
  starting: ["warn", "wait"], warming: ["warn", "wait"], restarting: ["warn", "wait"], stopping: ["warn", "wait"],
  unreachable: ["bad", "bad"], failed: ["bad", "bad"],
};

export function engines(root) {
  let shown = "";
  return (rows, workers) => {
    const now = Date.now() / 1000;
    const cards = rows.map(({ load, ...engine }) => ({
      ...engine, ...told(load), ...judged(engine.name, workers), since: span(engine.since ? now - engine.since : null),
    }));
    const next = JSON.stringify(cards);
    if (next === shown) return;
    shown = next;
    byId("engines-count").textContent = rows.length || "";
    root.replaceChildren(...(cards.length ? cards.map(card) : [el("p", { class: "empty" }, "No engine is configured. Add one under engines: in penstock.yaml.")]));
  };
}

/** What the engine says of its load; what it does not say is a dash, or no fact at all. */
function told(load) {
  if (!load) return { flags: [] };
  const flags = [];
  if (load.missing.length) flags.push(`Its metrics lack: ${load.missing.join(", ")}`);
  if (load.age_s > OLD_S) flags.push(`Its load was last read ${span(load.age_s)} ago`);
  return {
    requests: `${whole(load.running)} / ${whole(load.waiting)}`,
    kv: load.kv_utilisation === null ? null : share(load.kv_utilisation),
    flags,
  };
}

/** How the workers judge it: the least share that any gives it, and who leaves it alone. */
function judged(name, workers) {
  const views = workers.map((worker) => worker[name]).filter(Boolean);
  const out = views.filter((view) => view.breaker !== "closed" || view.ejected);
  const weight = Math.min(1, ...views.map((view) => view.weight));
  const state = out.length ? (out[0].ejected ? "ejected" : out[0].breaker.replace("_", " ")) : null;
  return {
    weight: weight < 1 ? share(weight) : null,
    breaker: out.length < views.length && state ? `${state} in ${out.length} of ${views.length}` : state,
    why: [...new Set(out.flatMap((view) => view.reasons))],
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
      ...fact("Run / wait", engine.requests), ...fact("KV cache", engine.kv), ...fact("Share", engine.weight),
      ...fact("Breaker", engine.breaker), ...fact("Restarts", engine.restarts), ...fact("Process", engine.pid), ...fact("Version", engine.version),
    ),
    ...[...engine.why, ...engine.flags].map((words) => el("p", { class: "flag" }, words)),
    engine.last_error ? el("p", { class: "wrong" }, engine.last_error) : null,
    engine.address ? el("p", { class: "where" }, el("code", {}, engine.address)) : null,
  );
}
