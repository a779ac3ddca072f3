// Making a key, whose secret is shown once, and revoking one.

import { byId, setText } from "./dom.js";
import { copier } from "./copy.js";

const DAY_S = 86_400;

export class Keys {
  /** `changed` is called when the tree has to be read anew. */
  constructor(admin, changed) {
    this.admin = admin;
    this.changed = changed;
    this.place = { org: "", team: "" };
    this.ending = null;
    this.wrote = false;
    byId("key-form").addEventListener("submit", (event) => { event.preventDefault(); this.create(); });
    byId("revoke-form").addEventListener("submit", (event) => { event.preventDefault(); this.revoke(); });
    for (const dialog of ["key-dialog", "revoke-dialog"]) byId(dialog).addEventListener("close", () => this.closed());
    copier(byId("key-copy"), () => byId("key-secret"));
  }

  askNew(org, team) {
    this.place = { org, team };
    byId("key-form").reset();
    setText(byId("key-for"), team ? `${org} / ${team}` : org || "the operators");
    byId("key-admin-field").hidden = Boolean(org);
    setText(byId("key-error"), "");
    byId("key-form").hidden = false;
    byId("key-made").hidden = true;
    byId("key-dialog").showModal();
  }

  askRevoke(key) {
    this.ending = key;
    setText(byId("revoke-name"), key.name ? `${key.name} (${key.id})` : key.id);
    setText(byId("revoke-error"), "");
    byId("revoke-dialog").showModal();
  }

  /** However a dialog closes, a secret leaves the page with it. The tree is read after the focus is back in it. */
  closed() {
    byId("key-secret").value = "";
    if (this.wrote) this.changed();
    this.wrote = false;
  }

  create() {
    const lines = (id) => byId(id).value.split(/[\n\s]+/).map((line) => line.trim()).filter(Boolean);
    const days = Number(byId("key-expires").value);
    const body = { ...this.place, name: byId("key-name").value.trim(), limits: lines("key-limits"), models: lines("key-models") };
    if (days) body.expires = Math.floor(Date.now() / 1000) + days * DAY_S;
    if (!this.place.org && byId("key-admin").checked) body.admin = true;
    return this.write(byId("key-create"), byId("key-error"), async () => {
      const made = await this.admin.send("POST", "/admin/keys", body);
      this.wrote = true;
      byId("key-secret").value = made.secret;
      setText(byId("key-id"), made.key.id);
      byId("key-form").hidden = true;
      byId("key-made").hidden = false;
      byId("key-copy").focus();
    });
  }

  revoke() {
    return this.write(byId("revoke-confirm"), byId("revoke-error"), async () => {
      await this.admin.send("DELETE", `/admin/keys/${encodeURIComponent(this.ending.id)}`);
      this.wrote = true;
      byId("revoke-dialog").close();
    });
  }

  /** One write at a time: a second press must not make a second key. */
  async write(button, wrong, send) {
    if (button.disabled) return;
    button.disabled = true;
    setText(wrong, "");
    try {
      await send();
    } catch (error) {
      setText(wrong, error.message);
    } finally {
      button.disabled = false;
    }
  }
}
