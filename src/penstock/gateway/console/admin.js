// The routes that ask for an administrator. The credential is in this page's memory alone: a reload forgets it.

import { ask, token } from "./api.js";

const PAGE = 1000;
const MOST = 10_000;

export class Admin {
  #credential = "";

  /** Whether there is something to show at the door. */
  get known() {
    return Boolean(this.#credential || token());
  }

  /** Whether `forget` has something to forget. */
  get own() {
    return Boolean(this.#credential);
  }

  use(credential) {
    this.#credential = credential.trim();
  }

  forget() {
    this.#credential = "";
  }

  /** Sends and reads JSON; ApiError says why not. */
  send(method, path, body) {
    return ask(method, path, body, this.#credential || token());
  }

  /** All rows of a list, page by page. `path` ends where parameters go on. */
  async list(path, noun) {
    const rows = [];
    let after = "";
    do {
      const page = await this.send("GET", `${path}limit=${PAGE}&after=${encodeURIComponent(after)}`);
      rows.push(...page[noun]);
      after = page.next;
    } while (after && rows.length < MOST);
    return rows;
  }
}
