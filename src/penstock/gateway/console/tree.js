// Organisations, their teams and keys, as one table that opens by organisation.

import { badge, byId, el, setText } from "./dom.js";
import { DASH, date, span } from "./format.js";

const STATES = { active: ["good", "good"], expired: ["warn", "wait"], revoked: ["idle", "bad"] };
const FEW = 5;
const MOST = 500;
const OPERATORS = "";

export class Tree {
  /** `on`: {create(org, team), revoke(key), failed(error)}. */
  constructor(admin, on) {
    this.admin = admin;
    this.on = on;
    this.table = byId("tree");
    this.orgs = [];
    this.inside = new Map();
    this.uses = new Map();
    this.cells = new Map();
    byId("tree-ended").addEventListener("change", () => this.draw());
  }

  /** Reads organisations, and what is inside those that are open. */
  async load() {
    this.orgs = await this.admin.list("/admin/orgs?", "orgs");
    const names = [OPERATORS, ...this.orgs.map(({ name }) => name)];
    const first = this.inside.size === 0;
    const open = first ? (names.length <= FEW ? names : []) : names.filter((name) => this.inside.has(name));
    const read = await Promise.all(open.map((name) => this.read(name)));
    this.inside = new Map(open.map((name, index) => [name, read[index]]));
    this.draw();
  }

  clear() {
    this.orgs = [];
    this.inside.clear();
    this.cells.clear();
    for (const body of this.table.querySelectorAll("tbody")) body.remove();
    this.table.hidden = true;
  }

  /** What people call a key that has been read. */
  nameOf(id) {
    for (const { keys } of this.inside.values()) {
      const found = keys.find((key) => key.id === id);
      if (found) return found.name;
    }
    return "";
  }

  /** Costs by key, for when each was used last. */
  used(rows) {
    this.uses = new Map(rows.map((row) => [row.key, row.last]));
    for (const [id, cell] of this.cells) setText(cell, this.lastUse(id));
  }

  lastUse(id) {
    const last = this.uses.get(id);
    return last ? `${span(Date.now() / 1000 - last)} ago` : DASH;
  }

  async read(org) {
    const keys = this.admin.list(`/admin/keys?org=${encodeURIComponent(org)}&`, "keys");
    const teams = org === OPERATORS ? [] : this.admin.list(`/admin/orgs/${encodeURIComponent(org)}/teams?`, "teams");
    return { keys: await keys, teams: await teams };
  }

  async toggle(org) {
    if (this.inside.has(org)) this.inside.delete(org);
    else {
      try { this.inside.set(org, await this.read(org)); } catch (error) { this.on.failed(error); return; }
    }
    this.draw();
  }

  draw() {
    const place = document.activeElement?.dataset.place;
    this.ended = byId("tree-ended").checked;
    this.cells.clear();
    for (const body of this.table.querySelectorAll("tbody")) body.remove();
    const orgs = this.orgs.filter((org) => this.ended || !org.deleted);
    this.table.append(...orgs.map((org) => this.org(org)), this.org({ name: OPERATORS, limits: [], deleted: 0 }));
    this.table.hidden = false;
    setText(byId("tree-count"), orgs.length ? String(orgs.length) : "");
    // Drawing anew must not take the focus away from who walks by keyboard.
    if (place) this.table.querySelector(`[data-place="${CSS.escape(place)}"]`)?.focus();
  }

  org(org) {
    const inside = this.inside.get(org.name);
    const title = org.name || "Operators";
    const opener = el(
      "button",
      { type: "button", class: "open", "aria-expanded": String(Boolean(inside)), "data-place": `org ${org.name}`, "aria-label": `${title}: teams and keys` },
      el("b", {}, title),
    );
    opener.addEventListener("click", () => this.toggle(org.name));
    const rows = [this.group(org, "org", opener, org.name, "")];
    if (inside) rows.push(...this.rows(org, inside));
    return el("tbody", {}, ...rows);
  }

  rows(org, { teams, keys }) {
    const title = (key) => key.name || key.id;
    const shown = keys.filter((key) => this.ended || key.state !== "revoked").sort((a, b) => title(a).localeCompare(title(b)));
    const rows = shown.filter((key) => !key.team).slice(0, MOST).map((key) => this.key(key, 1));
    for (const team of teams.filter((each) => this.ended || !each.deleted)) {
      rows.push(this.group(team, "team", el("span", {}, team.name), org.name, team.name));
      rows.push(...shown.filter((key) => key.team === team.name).slice(0, MOST).map((key) => this.key(key, 2)));
    }
    if (shown.length > MOST) rows.push(note(`${shown.length} keys are here, and at most ${MOST} of a team are shown: penstock key list shows all.`));
    else if (rows.length === 0) rows.push(note(org.name ? "No team and no key yet." : "No key of the operators."));
    return rows;
  }

  group(of, kind, title, org, team) {
    const create = el("button", { type: "button", class: "quiet small", "data-place": `new ${org} ${team}`, "aria-label": `New key for ${team ? `${org} / ${team}` : org || "operators"}` }, "New key");
    create.addEventListener("click", () => this.on.create(org, team));
    const weight = kind === "team" && of.weight !== 1 ? el("span", { class: "muted" }, ` weight ${of.weight}`) : null;
    return el(
      "tr",
      { class: `group ${kind}` },
      el("td", { class: "name", "data-depth": kind === "team" ? 1 : 0 }, title, weight),
      el("td", {}, of.deleted ? badge("idle", "bad", "deleted") : null),
      el("td", { class: "wide" }, bounds(of)),
      el("td", { class: "wide" }),
      el("td", { class: "num" }, of.deleted ? null : create),
    );
  }

  key(key, depth) {
    const [tone, sign] = STATES[key.state] ?? STATES.active;
    const used = el("td", { class: "wide" }, this.lastUse(key.id));
    this.cells.set(key.id, used);
    const title = key.name || key.id;
    const revoke = el("button", { type: "button", class: "quiet small", "data-place": `revoke ${key.id}`, "aria-label": `Revoke ${title}` }, "Revoke");
    revoke.addEventListener("click", () => this.on.revoke(key));
    return el(
      "tr",
      { class: "leaf" },
      el("td", { class: "name", "data-depth": depth }, el("span", {}, title), key.name ? el("code", { class: "muted id" }, key.id) : null, key.admin ? el("span", { class: "chip" }, "admin") : null),
      el("td", { title: key.expires ? `Expires ${date(key.expires)}` : null }, badge(tone, sign, key.state)),
      el("td", { class: "wide" }, bounds(key)),
      used,
      el("td", { class: "num" }, key.state === "revoked" ? null : revoke),
    );
  }
}

const note = (words) => el("tr", {}, el("td", { class: "empty", colspan: 5 }, words));

/** Limits and scopes as they are written. */
function bounds({ limits = [], models = [], endpoints = [] }) {
  const lines = [...limits, ...models.map((model) => `model ${model}`), ...endpoints];
  return el("span", { class: "chips" }, ...lines.map((line) => el("code", { class: "chip" }, line)));
}
