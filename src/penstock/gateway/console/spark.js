// A line over five minutes. Gaps stay gaps; a lone value is a dot.

import { svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 44;
const PAD = 3;

export class Spark {
  constructor(span) {
    this.span = span;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.cursor = svg("path", { class: "cursor" });
    this.node = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      this.area, this.line, this.cursor,
    );
    this.points = [];
  }

  /** points: [[epoch seconds, value or null], ...] oldest first. */
  draw(points, end, label) {
    this.points = points;
    this.end = end;
    const top = Math.max(...points.map(([, value]) => value ?? 0), Number.MIN_VALUE);
    const runs = [];
    let run = null;
    for (const [t, value] of points) {
      if (value === null) { run = null; continue; }
      if (run === null) runs.push(run = []);
      run.push([this.x(t), HEIGHT - PAD - (value / top) * (HEIGHT - 2 * PAD)]);
    }
    const at = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
    this.line.setAttribute("d", runs.map((r) => `M${r.map(at).join("L")}${r.length === 1 ? "h.01" : ""}`).join(""));
    this.area.setAttribute("d", runs.map((r) => `M${r[0][0].toFixed(1)} ${HEIGHT}L${r.map(at).join("L")}L${r.at(-1)[0].toFixed(1)} ${HEIGHT}Z`).join(""));
    this.node.setAttribute("aria-label", label);
  }

  x(t) {
    return WIDTH - PAD - ((this.end - t) / this.span) * (WIDTH - 2 * PAD);
  }

  /** The point under a pointer at `fraction` of the width, or null; marks it. */
  pick(fraction) {
    const known = this.points.filter(([, value]) => value !== null);
    if (!known.length) return null;
    const away = ([t]) => Math.abs(this.x(t) - fraction * WIDTH);
    const nearest = known.reduce((best, point) => (away(point) < away(best) ? point : best));
    this.cursor.setAttribute("d", `M${this.x(nearest[0]).toFixed(1)} 0V${HEIGHT}`);
    return nearest;
  }

  unpick() {
    this.cursor.removeAttribute("d");
  }
}
