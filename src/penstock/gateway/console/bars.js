// Bars: one that fills, and a row of them over days.

import { svg } from "./dom.js";

/** `parts`: [class, 0 to 1] from left to right; what is above 1 together is cut off. */
export function bar(label, ...parts) {
  let x = 0;
  const rects = parts.map(([kind, part]) => {
    const width = Math.max(0, Math.min(100 - x, 100 * part));
    const rect = svg("rect", { class: kind, x, y: 0, width, height: 6 });
    x += width;
    return rect;
  });
  return svg(
    "svg",
    { class: "bar-line", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { class: "track", x: 0, y: 0, width: 100, height: 6 }), ...rects,
  );
}

const STEP = 10;
const HEIGHT = 100;

/** A chart that a pointer or the arrow keys walk through; `picked(point or null)` hears of it. */
export class Bars {
  constructor(picked) {
    this.picked = picked;
    this.points = [];
    this.at = -1;
    this.node = svg("svg", { class: "bars", preserveAspectRatio: "none", role: "group", "aria-roledescription": "bar chart", tabindex: 0 });
    this.node.addEventListener("pointermove", (event) => {
      const box = this.node.getBoundingClientRect();
      this.pick(Math.floor(((event.clientX - box.left) / box.width) * this.points.length));
    });
    this.node.addEventListener("pointerleave", () => this.pick(-1));
    this.node.addEventListener("blur", () => this.pick(-1));
    this.node.addEventListener("keydown", (event) => {
      const last = this.points.length - 1;
      const from = this.at < 0 ? last + 1 : this.at;
      const to = { ArrowLeft: from - 1, ArrowRight: Math.min(from + 1, last), Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.pick(Math.max(0, to));
    });
  }

  /** points: [{value, ...}] oldest first. */
  draw(points, label) {
    this.points = points;
    const top = Math.max(...points.map(({ value }) => value), 0) || 1;
    this.node.setAttribute("viewBox", `0 0 ${points.length * STEP} ${HEIGHT}`);
    this.node.setAttribute("aria-label", label);
    this.node.replaceChildren(...points.map(({ value }, index) => {
      // A day with little is seen too; one with nothing is not.
      const height = value > 0 ? Math.max(1.5, (value / top) * HEIGHT) : 0;
      return svg("rect", { x: index * STEP + 1, y: HEIGHT - height, width: STEP - 2, height });
    }));
    this.mark();
    this.picked(points[this.at] ?? null);
  }

  pick(index) {
    const at = index >= 0 && index < this.points.length ? index : -1;
    if (at === this.at) return;
    this.at = at;
    this.mark();
    this.picked(this.points[at] ?? null);
  }

  mark() {
    [...this.node.children].forEach((rect, index) => rect.classList.toggle("picked", index === this.at));
  }
}
