// Four figures now, and their last five minutes.

import { el, setText } from "./dom.js";
import { DASH, duration, rate, seconds } from "./format.js";
import { Spark } from "./spark.js";

const SPAN_S = 300;

const SERIES = [
  { key: "requests_s", name: "Requests", unit: "/s", note: (now) => `${rate(now.errors_s)} errors/s` },
  { key: "tokens_s", name: "Tokens", unit: "/s", note: (now) => `${now.in_flight} in flight` },
  { key: "ttft_p50_s", name: "TTFT p50", full: "Time to first token, median", note: (now) => `p95 ${seconds(now.ttft_p95_s)}` },
  { key: "itl_p50_s", name: "ITL p50", full: "Inter-token latency, median", note: (now) => `p95 ${seconds(now.itl_p95_s)}` },
];

export function tiles(root) {
  const drawn = SERIES.map((series) => tile(root, series));
  return ({ now, points }) => {
    for (const draw of drawn) draw(now, points);
  };
}

function tile(root, series) {
  const figure = el("span", { class: "figure" }, DASH);
  const unit = el("span", { class: "unit" });
  const note = el("p", { class: "note" }, "\u00a0");
  const spark = new Spark(SPAN_S);
  const show = (value) => (series.unit ? [rate(value), series.unit] : duration(value));
  const name = el("h2", {}, series.full ? el("abbr", { title: series.full }, series.name) : series.name);
  root.append(el("article", { class: "tile" }, name, el("p", { class: "value" }, figure, unit), note, spark.node));

  let resting = "";
  let picked = false;
  spark.node.addEventListener("pointermove", (event) => {
    const box = spark.node.getBoundingClientRect();
    const point = spark.pick((event.clientX - box.left) / box.width);
    if (!point) return;
    picked = true;
    setText(note, `${show(point[1]).join(" ")}, ${Math.round(spark.end - point[0])} s ago`);
  });
  spark.node.addEventListener("pointerleave", () => {
    picked = false;
    spark.unpick();
    setText(note, resting);
  });

  return (now, points) => {
    const [value, of] = show(now[series.key]);
    setText(figure, value);
    setText(unit, value === DASH ? "" : of);
    resting = series.note(now);
    if (!picked) setText(note, resting);
    const line = points.map((point) => [point.t, point[series.key]]);
    const peak = Math.max(...line.map(([, v]) => v ?? 0), 0);
    spark.draw(line, now.t, `${series.full ?? series.name}${series.unit ? " per second" : ""}, last five minutes. Now ${value} ${of}, peak ${show(peak).join(" ")}.`);
  };
}
