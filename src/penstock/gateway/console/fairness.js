// How tenants that queue share the engines.

import { bar } from "./bars.js";
import { byId, el, setText } from "./dom.js";
import { DASH, seconds, share, span, whole } from "./format.js";

export function fairness(body, empty) {
  return ({ enabled, how, window_s: length, index, tenants }) => {
    const figure = byId("fairness-index");
    setText(figure.querySelector(".figure"), typeof index === "number" ? index.toFixed(2) : DASH);
    setText(figure.querySelector(".note"), index === null ? "fewer than two tenants waited" : `1 is even, over the last ${span(length)}`);
    figure.hidden = !enabled;
    const rows = [...tenants].sort((a, b) => (b.share ?? 0) - (a.share ?? 0));
    body.replaceChildren(...rows.map(tenant));
    body.closest("table").hidden = rows.length === 0;
    setText(empty, enabled ? "No tenant was served lately." : how ?? "");
    empty.hidden = rows.length > 0;
  };
}

function tenant(row) {
  const name = row.tenant || "no tenant";
  return el(
    "tr",
    {},
    el("td", { class: "name" }, name),
    el("td", { class: "num wide" }, String(row.weight ?? DASH)),
    el("td", { class: "part" }, bar(`Share of ${name}: ${share(row.share)}`, ["used", row.share ?? 0]), el("span", { class: "num" }, share(row.share))),
    el("td", { class: "num" }, whole(row.waiting)),
    el("td", { class: "num" }, seconds(row.wait_p95_s)),
  );
}
