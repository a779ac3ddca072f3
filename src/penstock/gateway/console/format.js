// Figures as people read them. null and NaN are a dash: unknown is not zero.

export const DASH = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Seconds as [figure, unit], three significant digits. */
export function duration(value) {
  if (!known(value)) return [DASH, ""];
  if (value < 0.001) return [(value * 1e6).toFixed(0), "µs"];
  if (value < 0.01) return [(value * 1e3).toFixed(2), "ms"];
  if (value < 0.1) return [(value * 1e3).toFixed(1), "ms"];
  if (value < 1) return [(value * 1e3).toFixed(0), "ms"];
  if (value < 10) return [value.toFixed(2), "s"];
  return [value.toFixed(value < 100 ? 1 : 0), "s"];
}

export function rate(value) {
  if (!known(value)) return DASH;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}k`;
  return value < 100 ? value.toFixed(1) : whole(value);
}

export const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : DASH);

/** 0 to 1 as a percentage. */
export const share = (value) => (known(value) ? `${whole(100 * value)}\u202f%` : DASH);

export const seconds = (value) => duration(value).filter(Boolean).join("\u202f");

/** How long ago, or for how long: two units at most. */
export function span(value) {
  if (!known(value)) return DASH;
  const s = Math.max(0, Math.floor(value));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** Money as a number or as exact text: two digits behind the point, and more where there is little. */
export function money(value) {
  const number = Number(value);
  if (!Number.isFinite(number)) return DASH;
  const digits = number !== 0 && Math.abs(number) < 1 ? { minimumSignificantDigits: 2, maximumSignificantDigits: 3 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return number.toLocaleString("en", digits);
}

export const exact = (text, currency) => `${text} ${currency}`;

export function bytes(value) {
  if (!known(value)) return DASH;
  if (value < 1024) return `${value} B`;
  const power = value < 1024 ** 2 ? 1 : 2;
  return `${(value / 1024 ** power).toFixed(1)} ${["", "KiB", "MiB"][power]}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** A day in UTC, 2026-07-01, in few letters. */
export const day = (text) => DAY.format(Date.parse(text));

export const clock = (epoch) => (known(epoch) ? CLOCK.format(epoch * 1000) : DASH);
export const date = (epoch) => (known(epoch) ? new Date(epoch * 1000).toISOString() : DASH);
