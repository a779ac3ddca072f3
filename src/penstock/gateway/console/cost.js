// What was used and what it cost: a bar for each day, and a table by whom.

import { Bars } from "./bars.js";
import { badge, byId, el, setText } from "./dom.js";
import { DASH, day, exact, money, whole } from "./format.js";

const DAY_MS = 86_400_000;
const MEASURES = {
  cost: { of: (row) => Number(row.cost), words: (value, currency) => `${money(value)} ${currency}` },
  tokens: { of: (row) => row.input + row.output, words: (value) => `${whole(value)} tokens` },
  requests: { of: (row) => row.requests, words: (value) => `${whole(value)} requests` },
};
const NAMES = { org: "Organisation", team: "Team", key: "Key", model: "Model" };

/** `nameOf(key id)`: what people call a key, if that is known. */
export class Cost {
  constructor(nameOf) {
    this.nameOf = nameOf;
    this.days = byId("cost-days");
    this.by = byId("cost-by");
    this.measure = byId("cost-measure");
    this.bars = new Bars((point) => this.note(point));
    byId("cost-chart").append(this.bars.node);
    this.daily = null;
    this.resting = "";
    this.measure.addEventListener("change", () => { this.chosen = true; this.draw(); });
    this.chosen = false;
  }

  showDays(answer) {
    this.daily = answer;
    byId("cost-off").hidden = answer.enabled;
    setText(byId("cost-off"), answer.how ?? "");
    byId("cost-body").hidden = !answer.enabled;
    byId("cost-problem").hidden = !answer.problem;
    setText(byId("cost-problem"), answer.problem ? `The newest requests are missing: ${answer.problem}` : "");
    if (!answer.enabled) return;
    const unpriced = answer.costs.reduce((sum, row) => sum + row.unpriced, 0);
    byId("cost-unpriced").hidden = unpriced === 0;
    setText(byId("cost-unpriced"), `${whole(unpriced)} requests had no price and count as 0: name their models in ledger.prices.`);
    // Where nothing has a price, tokens say more than a row of zeros.
    if (!this.chosen && unpriced) this.measure.value = answer.costs.some((row) => Number(row.cost)) ? "cost" : "tokens";
    this.draw();
  }

  draw() {
    if (!this.daily?.enabled) return;
    const { costs, days } = this.daily;
    const measure = MEASURES[this.measure.value];
    const currency = most(costs);
    // Sums of money in two currencies are no sum.
    const rows = this.measure.value === "cost" ? costs.filter((row) => row.currency === currency) : costs;
    const byDay = new Map();
    for (const row of rows) byDay.set(row.day, (byDay.get(row.day) ?? 0) + measure.of(row));
    const today = new Date().toISOString().slice(0, 10);
    const end = Date.parse([today, ...byDay.keys()].sort().at(-1));
    const points = Array.from({ length: days }, (_, index) => {
      const name = new Date(end - (days - 1 - index) * DAY_MS).toISOString().slice(0, 10);
      const value = byDay.get(name) ?? 0;
      return { name, value, words: `${day(name)}: ${measure.words(value, currency)}` };
    });
    const sum = points.reduce((total, { value }) => total + value, 0);
    const peak = points.reduce((best, point) => (point.value > best.value ? point : best));
    const [figure, ...unit] = measure.words(sum, currency).split(" ");
    setText(byId("cost-sum"), figure);
    setText(byId("cost-unit"), unit.join(" "));
    this.resting = sum ? `most on ${peak.words}` : "nothing in this time";
    const others = new Set(costs.filter((row) => row.currency !== currency).map((row) => row.currency));
    if (this.measure.value === "cost" && others.size) this.resting += `; without ${[...others].join(", ")}, see the table`;
    setText(byId("cost-first"), day(points[0].name));
    setText(byId("cost-last"), day(points.at(-1).name));
    this.bars.draw(points, `${this.measure.selectedOptions[0].text} by day, last ${days} days. Sum ${measure.words(sum, currency)}, ${this.resting}. Arrow keys walk through the days.`);
  }

  note(point) {
    setText(byId("cost-note"), point?.words ?? this.resting);
  }

  showTable(answer) {
    const body = byId("cost-rows");
    setText(byId("cost-head"), NAMES[answer.by]);
    body.replaceChildren(...answer.costs.map((row) => this.row(answer.by, row)));
    body.closest("table").hidden = answer.costs.length === 0;
    const more = answer.total - answer.costs.length;
    byId("cost-empty").hidden = answer.costs.length > 0 && more === 0;
    setText(byId("cost-empty"), more ? `${whole(more)} more, cheaper than these.` : "No request is in the ledger for this time.");
  }

  row(by, row) {
    const path = { org: [row.org], team: [row.org, row.team], key: [row.org, row.team, this.nameOf(row.key) || row.key], model: [row.model] }[by];
    const flags = [[row.unpriced, "unpriced", "no price: counts as 0"], [row.unknown, "unknown", "interrupted: tokens are in no sum"]];
    return el(
      "tr",
      {},
      el("td", { class: "name" }, path.filter(Boolean).join(" / ") || (by === "model" ? "no model" : "no tenant")),
      el("td", { class: "num wide" }, whole(row.requests)),
      el("td", { class: "num mid" }, `${whole(row.input)} / ${whole(row.output)}`),
      el(
        "td",
        { class: "num" },
        ...flags.filter(([count]) => count).map(([count, word, why]) => el("span", { class: "marked", title: `${whole(count)} requests had ${why}` }, badge("warn", "warn", `${whole(count)} ${word}`))),
        el("span", { title: exact(row.cost, row.currency) }, `${row.cost === "0" && row.unpriced === row.requests ? DASH : money(row.cost)} ${row.currency}`),
      ),
    );
  }
}

/** The currency that most requests were charged in. */
function most(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.currency, (counts.get(row.currency) ?? 0) + row.requests);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
}
