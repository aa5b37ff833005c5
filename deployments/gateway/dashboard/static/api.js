// Requests to the gateway that serves this page, with the key that was typed into it.

const ROOT = new URL("../", import.meta.url);
const STORED_AS = "raymux.key";

export const key = {
  get: () => sessionStorage.getItem(STORED_AS) ?? "",
  set: (value) => sessionStorage.setItem(STORED_AS, value),
  forget: () => sessionStorage.removeItem(STORED_AS),
};

// A refusal of the gateway; its message is meant for people.
export class Refusal extends Error {
  constructor(status, error, retryAfterS) {
    super(error?.message ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = error?.code ?? null;
    this.requestId = error?.request_id ?? null;
    this.retryAfterS = retryAfterS;
  }
}

// The reply to a request, once its head is there. Throws a Refusal for any status but a success.
export async function send(method, path, { body, signal, accept } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (accept) headers.Accept = accept;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const reply = await fetch(new URL(path, ROOT), {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => null);
  throw new Refusal(reply.status, told?.error, Number(reply.headers.get("Retry-After")) || null);
}

// What went wrong, in a sentence.
export function inWords(error) {
  if (error instanceof Refusal) return error.message;
  if (error instanceof TypeError) return "The server does not answer. Check that raymux runs and can be reached.";
  return error?.message || "Something went wrong.";
}

const model = (name, verb) => `v1/models/${encodeURIComponent(name)}/${verb}`;

export const actions = {
  warm: (name, keepWarmS) => send("POST", "v1/warmup", { body: { model: name, keep_warm_s: keepWarmS } }),
  start: (name) => send("POST", model(name, "start")),
  stop: (name, drain) => send("POST", model(name, drain ? "stop?drain=true" : "stop")),
  promote: (name) => send("POST", model(name, "promote")),
};
