// Building elements. Text goes in as text: nothing that came over the network is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** el("p", {class: "x"}, "text", child, ...); null attributes and children are left out. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Touches the page only when the text changed, so selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  good: "M3.5 8.5l3 3 6-7",
  bad: "M4 4l8 8M12 4l-8 8",
  warn: "M8 3v6M8 12.2v.1",
  wait: "M8 4v4.2l2.8 1.8",
  left: "M12 8H4.5M7.5 4.5L4 8l3.5 3.5",
  idle: "M4 8h8",
  theme: "M8 2v12a6 6 0 0 0 0-12z",
};

/** A small sign beside a word: shape and word carry the meaning, colour only repeats it. */
export function icon(name) {
  const ring = name === "wait" || name === "theme" ? svg("circle", { cx: 8, cy: 8, r: 6.2 }) : null;
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, ring, svg("path", { class: name, d: ICONS[name] ?? ICONS.idle }));
}

export function badge(tone, sign, words) {
  return el("span", { class: "badge", "data-tone": tone }, icon(sign), el("span", {}, words));
}
