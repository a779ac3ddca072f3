// A conversation with a model through the gateway, timed as a client sees it.

import { ApiError, chat } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { seconds, whole } from "./format.js";
import { events } from "./sse.js";

const KEY = "penstock.key";
const NEAR_END_PX = 40;

export class Playground {
  constructor(onLocked) {
    this.onLocked = onLocked;
    this.turns = [];
    this.running = null;
    this.log = byId("log");
    this.prompt = byId("prompt");
    try { byId("key").value = sessionStorage.getItem(KEY) ?? ""; } catch { /* storage is switched off */ }

    byId("ask").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    this.prompt.addEventListener("keydown", (event) => {
      // isComposing: Enter that picks a word in an input method is not a send.
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.send(); }
    });
    this.prompt.addEventListener("input", () => this.refresh());
    byId("stop").addEventListener("click", () => { this.stop(); this.prompt.focus(); });
    byId("clear").addEventListener("click", () => this.clear());
    byId("key").addEventListener("change", (event) => {
      try { sessionStorage.setItem(KEY, event.target.value); } catch { /* storage is switched off */ }
    });
  }

  /** What /admin/about says. */
  offer({ models = [], open }) {
    const select = byId("model");
    if ([...select.options].map(({ value }) => value).join("\n") !== models.join("\n")) {
      const kept = select.value;
      select.replaceChildren(...models.map((model) => el("option", { value: model }, model)));
      if (models.includes(kept)) select.value = kept;
      select.disabled = models.length === 0;
    }
    if (byId("key-field").hidden !== Boolean(open)) {
      byId("key-field").hidden = Boolean(open);
      if (!open && !byId("key").value) byId("settings").open = true;
    }
    this.refresh();
  }

  refresh() {
    const idle = this.running === null;
    // A disabled control drops the focus it holds, so it moves on first.
    if (idle && document.activeElement === byId("stop")) this.prompt.focus();
    byId("send").hidden = !idle;
    byId("stop").hidden = idle;
    byId("send").disabled = !this.prompt.value.trim() || !byId("model").value;
    byId("clear").disabled = this.log.querySelector(".turn") === null;
    byId("log-empty").hidden = !byId("clear").disabled;
  }

  stop() {
    this.running?.abort();
  }

  clear() {
    this.stop();
    this.turns = [];
    for (const turn of this.log.querySelectorAll(".turn")) turn.remove();
    this.refresh();
    this.prompt.focus();
  }

  async send() {
    const text = this.prompt.value.trim();
    const model = byId("model").value;
    if (!text || !model || this.running) return;
    const run = new AbortController();
    this.running = run;
    this.prompt.value = "";
    const question = { role: "user", content: text };
    const asked = [...this.turns, question];
    this.say("user", "You", text);
    const answer = this.say("assistant", model, "");
    this.log.setAttribute("aria-busy", "true");
    this.log.scrollTop = this.log.scrollHeight;
    this.refresh();

    const meter = new Meter();
    let content = "";
    let ending = "";
    try {
      const stream = await chat(this.body(model, asked), byId("key").value, run.signal);
      for await (const data of events(stream)) {
        if (data === "[DONE]") break;
        const part = JSON.parse(data);
        if (part.error) throw new ApiError(0, part.error.code, part.error.message);
        meter.usage = part.usage?.completion_tokens ?? meter.usage;
        const piece = part.choices?.[0]?.delta?.content;
        if (part.choices?.[0]?.finish_reason === "length") ending = "cut at max tokens";
        if (!piece) continue;
        meter.tick();
        content += piece;
        this.follow(() => answer.text.append(piece));
        setText(answer.note, meter.words());
      }
    } catch (error) {
      if (run.signal.aborted) ending = "stopped";
      else this.fail(error, answer, content, text);
    }
    // An answer that never came leaves no trace in what the model is shown next.
    if (content) this.turns = [...asked, { role: "assistant", content }];
    else if (!answer.node.dataset.failed) setText(answer.text, ending === "stopped" ? "" : "The model answered with nothing.");
    if (run === this.running) this.running = null;
    this.log.removeAttribute("aria-busy");
    this.follow(() => setText(answer.note, [meter.words(), ending].filter(Boolean).join(" · ")));
    this.refresh();
  }

  fail(error, answer, content, text) {
    answer.node.dataset.failed = "true";
    const words = error instanceof TypeError ? "The connection to the console broke." : error.message;
    this.follow(() => answer.node.append(el("p", { class: "wrong" }, words)));
    if (!content && !this.prompt.value) this.prompt.value = text;
    if (error.locked) this.onLocked();
    if (error.status === 401 && !error.locked) { byId("settings").open = true; byId("key-field").hidden = false; }
  }

  body(model, turns) {
    const system = byId("system").value.trim();
    const body = {
      model,
      messages: system ? [{ role: "system", content: system }, ...turns] : turns,
      stream: true,
      stream_options: { include_usage: true },
    };
    // An empty or impossible figure is left to the engine's own default.
    if (byId("temperature").value !== "" && byId("temperature").checkValidity()) body.temperature = byId("temperature").valueAsNumber;
    if (byId("max-tokens").value !== "" && byId("max-tokens").checkValidity()) body.max_tokens = byId("max-tokens").valueAsNumber;
    return body;
  }

  say(role, name, content) {
    const text = el("div", { class: "text" }, content);
    const note = el("p", { class: "note" });
    const node = el("article", { class: "turn", "data-role": role }, el("h3", {}, name), text, note);
    this.log.append(node);
    return { node, text, note };
  }

  /** Keeps the end in view, unless the reader has scrolled up. */
  follow(change) {
    const { log } = this;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    change();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
}

/** TTFT from the send; speed over the tokens after the first. */
class Meter {
  constructor() {
    this.start = performance.now();
    this.first = null;
    this.last = null;
    this.pieces = 0;
    this.usage = null;
  }

  tick() {
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
  }

  words() {
    if (this.first === null) return "";
    const tokens = this.usage ?? this.pieces;
    const took = (this.last - this.first) / 1000;
    const speed = tokens > 1 && took > 0 ? ` · ${whole((tokens - 1) / took)} tok/s` : "";
    return `TTFT ${seconds((this.first - this.start) / 1000)}${speed} · ${whole(tokens)} ${tokens === 1 ? "token" : "tokens"}`;
  }
}
