// Talking to the admin listener. The token lives as long as the tab.

const TOKEN = "penstock.token";
const TIMEOUT_MS = 5000;
const ADMIN_TIMEOUT_MS = 15_000;

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  get locked() {
    return this.status === 401 && this.code === "invalid_admin_token";
  }
}

export function token() {
  try { return sessionStorage.getItem(TOKEN) ?? ""; } catch { return ""; }
}

export function keepToken(value) {
  try { sessionStorage.setItem(TOKEN, value); } catch { /* storage is switched off: asked again */ }
}

/** JSON of a read route; `also` names a status besides 200 that carries an answer. */
export async function read(path, also = 200, timeoutMs = TIMEOUT_MS) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(timeoutMs) });
  if (answer.status !== 200 && answer.status !== also) throw await refused(answer);
  return answer.json();
}

/** A route that asks for an administrator, who shows `credential`. */
export async function ask(method, path, body, credential) {
  const headers = { authorization: `Bearer ${credential}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(ADMIN_TIMEOUT_MS),
  });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

/** The relay. `authorization` belongs to the API key here, so the token has its own header. */
export async function chat(body, key, signal) {
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  if (token()) headers["x-penstock-admin-token"] = token();
  if (key) headers.authorization = `Bearer ${key}`;
  const answer = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!answer.ok) throw await refused(answer);
  return answer.body;
}

async function refused(answer) {
  let error = {};
  try { error = (await answer.json()).error ?? {}; } catch { /* not ours, or cut off: the status must do */ }
  return new ApiError(answer.status, error.code, error.message ?? `HTTP ${answer.status}`);
}
