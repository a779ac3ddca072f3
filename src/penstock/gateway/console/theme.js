// Theme: follow the system, or hold light or dark. Kept across visits.

import { icon } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const KEY = "penstock.theme";

export function themeSwitch(button) {
  const root = document.documentElement;
  const current = () => root.dataset.theme ?? "system";
  const label = () => {
    const name = current();
    button.replaceChildren(icon("theme"), { system: "Auto", light: "Light", dark: "Dark" }[name]);
    button.setAttribute("aria-label", `Theme: ${name}. Switch to ${following(name)}`);
    button.title = "Theme";
  };
  const turn = () => {
    const next = following(current());
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try { localStorage.setItem(KEY, next); } catch { /* storage is switched off */ }
    label();
  };
  button.addEventListener("click", turn);
  label();
  return turn;
}

const following = (name) => ORDER[(ORDER.indexOf(name) + 1) % ORDER.length];
