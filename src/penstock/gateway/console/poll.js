// Asks again and again while the page is seen; falls silent when it is not.

const SLOWEST_MS = 10_000;

export class Poll {
  /** `ask` returns a promise; `told` hears of each failure, and null on each success. */
  constructor(ask, everyMs, told) {
    this.ask = ask;
    this.everyMs = everyMs;
    this.told = told;
    this.timer = 0;
    this.failures = 0;
    this.busy = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.now()));
  }

  stop() {
    clearTimeout(this.timer);
  }

  async now() {
    this.stop();
    if (this.busy || document.hidden) return;
    this.busy = true;
    try {
      await this.ask();
      this.failures = 0;
      this.told(null);
    } catch (error) {
      this.failures += 1;
      this.told(error);
    } finally {
      this.busy = false;
    }
    // A visit to another tab while the answer was on its way must not restart the clock.
    if (!document.hidden) this.timer = setTimeout(() => this.now(), Math.min(this.everyMs * 2 ** this.failures, SLOWEST_MS));
  }
}
