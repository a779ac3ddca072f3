// Two tables: what runs now, and what has ended.

import { badge, byId, el, setText } from "./dom.js";
import { bytes, clock, DASH, date, seconds, whole } from "./format.js";

const OUTCOMES = {
  success: ["good", "good", "success"],
  client_left: ["idle", "left", "client left"],
  rejected: ["warn", "warn", "rejected"],
  timed_out: ["bad", "wait", "timed out"],
  upstream_failed: ["bad", "bad", "upstream failed"],
  unavailable: ["bad", "bad", "unavailable"],
  internal_error: ["bad", "bad", "internal error"],
};

const cell = (text, kind) => el("td", { class: kind }, text);

export function live(body, empty) {
  const rows = new Map();
  return (requests) => {
    const keyed = new Map();
    for (const request of requests) {
      // Clients may choose ids, so two requests may share one.
      let key = request.id;
      while (keyed.has(key)) key += "'";
      keyed.set(key, request);
    }
    for (const [key, row] of rows) {
      if (!keyed.has(key)) { row.node.remove(); rows.delete(key); }
    }
    for (const [key, request] of keyed) {
      const row = rows.get(key) ?? liveRow(request, body);
      rows.set(key, row);
      row.update(request);
    }
    setText(byId("live-count"), requests.length ? String(requests.length) : "");
    empty.hidden = requests.length > 0;
    body.closest("table").hidden = requests.length === 0;
  };
}

function liveRow(request, body) {
  const state = el("td");
  const events = cell("", "num");
  const age = cell("", "num");
  const node = el("tr", {}, state, cell(request.model || DASH, "name"), cell(request.engine || DASH, "wide"), cell(request.path || DASH, "wide path"), events, age);
  body.append(node);
  let phase = "";
  return {
    node,
    update(now) {
      const next = !now.first_byte ? "waiting" : now.stream ? "streaming" : "answering";
      if (next !== phase) state.replaceChildren(badge(next === "waiting" ? "warn" : "live", next === "waiting" ? "wait" : "good", next));
      phase = next;
      setText(events, now.stream ? whole(now.events) : DASH);
      setText(age, `${now.age_s.toFixed(1)} s`);
    },
  };
}

export function recent(body, empty, problems) {
  const rows = new Map();
  let last = [];
  let serial = 0;
  const keyOf = ({ id, time }) => `${time} ${id}`;
  const show = () => {
    const wanted = last.filter((record) => !problems.checked || record.outcome !== "success");
    const keys = new Set(wanted.map(keyOf));
    for (const [key, nodes] of rows) {
      if (!keys.has(key)) { nodes.forEach((node) => node.remove()); rows.delete(key); }
    }
    // A Record never changes, so rows are only added and removed: an open row stays open, focus stays put.
    let place = body.firstChild;
    for (const record of wanted) {
      let nodes = rows.get(keyOf(record));
      if (!nodes) rows.set(keyOf(record), nodes = recordRows(record, `record-${++serial}`));
      if (nodes[0] === place) { place = nodes[1].nextSibling; continue; }
      place ? place.before(...nodes) : body.append(...nodes);
    }
    setText(byId("recent-count"), wanted.length ? String(wanted.length) : "");
    setText(empty, last.length ? "No problem among the recent requests." : "No request has finished yet.");
    empty.hidden = wanted.length > 0;
    body.closest("table").hidden = wanted.length === 0;
  };
  problems.addEventListener("change", show);
  return (records) => { last = records; show(); };
}

function recordRows(record, name) {
  const [tone, sign, words] = OUTCOMES[record.outcome] ?? ["idle", "idle", String(record.outcome ?? "unknown").replaceAll("_", " ")];
  const detail = el("tr", { class: "detail", id: name, hidden: true });
  const opener = el(
    "button",
    { type: "button", class: "open", "aria-expanded": "false", "aria-controls": detail.id, "aria-label": `Request at ${clock(record.time)}, ${words}: details` },
    clock(record.time),
  );
  const tokens = (record.tokens_source ?? "none") === "none" ? DASH : `${whole(record.input_tokens)} / ${whole(record.output_tokens)}`;
  const row = el(
    "tr",
    { class: "record" },
    el("td", {}, opener),
    el("td", {}, badge(tone, sign, words)),
    cell(record.model || DASH, "name"),
    cell(record.engine || DASH, "wide"),
    cell(seconds(record.ttft_s), "num mid"),
    cell(seconds(record.itl?.count ? record.itl.mean_s : null), "num wide"),
    cell(tokens, "num wide"),
    cell(seconds(record.duration_s), "num"),
  );
  const toggle = () => {
    detail.hidden = !detail.hidden;
    opener.setAttribute("aria-expanded", String(!detail.hidden));
    if (!detail.hidden && !detail.firstChild) detail.append(el("td", { colspan: "8" }, fields(record)));
  };
  opener.addEventListener("click", (event) => { event.stopPropagation(); toggle(); });
  // A drag that selected text is not a click on the row.
  row.addEventListener("click", () => { if (document.getSelection()?.isCollapsed ?? true) toggle(); });
  return [row, detail];
}

function fields(record) {
  const list = el("dl", { class: "fields-of" });
  for (const [name, value] of flat(record)) {
    list.append(el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  }
  return list;
}

function* flat(object, prefix = "") {
  for (const [name, value] of Object.entries(object)) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) yield* flat(value, `${prefix}${name}.`);
    else yield [prefix + name, written(name, value)];
  }
}

function written(name, value) {
  if (value === null || value === undefined || value === "") return DASH;
  if (name === "time") return date(value);
  if (name.endsWith("_s") && typeof value === "number") return seconds(value);
  if (name.startsWith("bytes_") && typeof value === "number") return bytes(value);
  if (Array.isArray(value)) return value.map(line).join("\n") || DASH;
  return String(value);
}

/** One attempt: its fields in one line. */
function line(item) {
  if (item === null || typeof item !== "object") return String(item);
  return Object.entries(item).map(([name, value]) => `${name} ${written(name, value)}`).join(", ");
}
