// The view of tenants: who there is, how far their limits are used, what it cost, and how fair it was.

import { Admin } from "./admin.js";
import { read } from "./api.js";
import { Cost } from "./cost.js";
import { byId, setText } from "./dom.js";
import { fairness } from "./fairness.js";
import { Keys } from "./keys.js";
import { limits } from "./limits.js";
import { Tree } from "./tree.js";

const LEDGER_MS = 25_000;

export class Tenants {
  constructor() {
    this.kept = null;
    this.admin = new Admin();
    this.tree = new Tree(this.admin, {
      create: (org, team) => this.keys.askNew(org, team),
      revoke: (key) => this.keys.askRevoke(key),
      failed: (error) => this.refused(error),
    });
    this.keys = new Keys(this.admin, () => this.load());
    const nameOf = (id) => this.tree.nameOf(id);
    this.showLimits = limits(byId("limits"), nameOf);
    this.showFairness = fairness(byId("fairness"), byId("fairness-empty"));
    this.cost = new Cost(nameOf);
    byId("admin-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.admin.use(byId("admin-credential").value);
      byId("admin-credential").value = "";
      this.load(true);
    });
    byId("admin-forget").addEventListener("click", () => {
      this.admin.forget();
      this.refresh();
      byId("admin-credential").focus();
    });
  }

  /** What /admin/about says. */
  offer({ tenants }) {
    if (this.kept === tenants) return;
    this.kept = tenants;
    this.refresh();
    this.load();
  }

  /** The tree, the form that asks who wants to see it, or why there is none. */
  refresh() {
    const open = Boolean(this.kept && this.admin.known);
    byId("tree-off").hidden = this.kept !== false;
    byId("admin-form").hidden = !this.kept || open;
    byId("tree-tools").hidden = !open;
    byId("admin-forget").hidden = !this.admin.own;
    if (!open) { this.tree.clear(); setText(byId("tree-count"), ""); }
  }

  /** Reads the tree anew; `entered` when somebody has just shown a credential. */
  async load(entered = false) {
    if (!this.kept || !this.admin.known) return;
    try {
      await this.tree.load();
      setText(byId("admin-error"), "");
      this.refresh();
      if (entered) this.tree.table.querySelector("button")?.focus();
      await this.readUses();
    } catch (error) {
      this.refused(error);
    }
  }

  refused(error) {
    if (error.status === 401 || error.status === 403) this.admin.forget();
    setText(byId("admin-error"), error.status === 401 ? "This credential was not accepted." : error.message);
    this.refresh();
    // A credential of the whole console that is no administrator's leaves room for another.
    if (error.status === 401 || error.status === 403) {
      byId("admin-form").hidden = false;
      byId("tree-tools").hidden = true;
      this.tree.clear();
      byId("admin-credential").focus();
    }
  }

  async readLimits() {
    this.showLimits(await read("/admin/limits?limit=100"));
  }

  async readFairness() {
    this.showFairness(await read("/admin/fairness"));
  }

  async readDays() {
    const { days } = this.cost;
    let asked;
    do {
      asked = days.value;
      this.cost.showDays(await read(`/admin/cost?by=day&days=${asked}`, 200, LEDGER_MS));
    } while (asked !== days.value);
  }

  async readCosts() {
    const { by, days } = this.cost;
    let asked;
    do {
      asked = `by=${by.value}&days=${days.value}`;
      this.cost.showTable(await read(`/admin/cost?${asked}&limit=50`, 200, LEDGER_MS));
    } while (asked !== `by=${by.value}&days=${days.value}`);
  }

  /** When keys were used last, for those that are shown. */
  async readUses() {
    if (this.tree.cells.size) this.tree.used((await read("/admin/cost?by=key&days=30&limit=1000", 200, LEDGER_MS)).costs);
  }
}
