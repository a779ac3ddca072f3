// Which part of the console is shown: the fragment of the address says it, so views can be linked and gone back to.

import { byId, setText } from "./dom.js";

const VIEWS = {
  fleet: { skip: "#prompt", words: "Skip to the playground" },
  tenants: { skip: "#tenants-view", words: "Skip to the tenants" },
};

/** Calls `changed(name)` when another view is shown. */
export class Views {
  constructor(changed) {
    this.changed = changed;
    this.shown = "";
    window.addEventListener("hashchange", () => this.follow());
    this.follow();
  }

  go(name) {
    window.location.hash = name;
    this.follow();
  }

  follow() {
    const name = window.location.hash.startsWith("#tenants") ? "tenants" : "fleet";
    if (name === this.shown) return;
    const first = this.shown === "";
    this.shown = name;
    for (const view of Object.keys(VIEWS)) {
      byId(`${view}-view`).hidden = view !== name;
      if (view === name) byId(`to-${view}`).setAttribute("aria-current", "page");
      else byId(`to-${view}`).removeAttribute("aria-current");
    }
    byId("skip").setAttribute("href", VIEWS[name].skip);
    setText(byId("skip"), VIEWS[name].words);
    if (first) return;
    window.scrollTo(0, 0);
    this.changed(name);
  }
}
