// Follows `/v1/events`, and keeps what it tells.

import { Refusal, inWords, send } from "./api.js";
import { events } from "./sse.js";

const SILENT_AFTER_MS = 40_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

export const fleet = { caller: null, models: {}, variants: {}, gpus: {}, jobs: {}, isKnown: false };

let serverAheadS = 0;

// The server's time, in seconds since the epoch: the browser's clock may be off.
export const now = () => Date.now() / 1000 + serverAheadS;

export class Live {
  // `onChange` is called after each event, `onConnection` with `connecting`, `live`, `lost` or `refused`, and why.
  constructor(onChange, onConnection) {
    this.onChange = onChange;
    this.onConnection = onConnection;
    this.attempt = null;
  }

  // Begin, or begin anew with another key.
  restart() {
    this.attempt?.abort();
    this.attempt = new AbortController();
    this.run(this.attempt.signal);
  }

  async run(stopped) {
    let pauseMs = FIRST_PAUSE_MS;
    this.onConnection("connecting");
    while (!stopped.aborted) {
      const silence = new AbortController();
      let retryAfterMs = 0;
      try {
        await this.follow(AbortSignal.any([stopped, silence.signal]), silence, () => (pauseMs = FIRST_PAUSE_MS));
      } catch (error) {
        if (stopped.aborted) return;
        if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
          forget();
          this.onChange();
          this.onConnection("refused", error);
          return;
        }
        retryAfterMs = (error.retryAfterS ?? 0) * 1000;
        this.onConnection("lost", error instanceof Refusal ? inWords(error) : "The server does not answer.");
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(retryAfterMs, pauseMs)));
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    }
  }

  async follow(signal, silence, onLive) {
    let watchdog = 0;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silence.abort(), SILENT_AFTER_MS);
    };
    heard();
    try {
      const reply = await send("GET", "v1/events", { signal, accept: "text/event-stream" });
      for await (const { event, data } of events(reply, heard)) {
        if (!data) continue;
        take(event, JSON.parse(data));
        onLive();
        this.onConnection("live");
        this.onChange();
      }
    } finally {
      clearTimeout(watchdog);
    }
  }
}

function forget() {
  Object.assign(fleet, { caller: null, models: {}, variants: {}, gpus: {}, jobs: {}, isKnown: false });
}

function take(event, told) {
  serverAheadS = told.now_s - Date.now() / 1000;
  if (event === "snapshot") {
    forget();
    fleet.caller = told.caller;
    fleet.isKnown = true;
  }
  for (const section of ["models", "variants", "gpus", "jobs"]) {
    for (const [key, entry] of Object.entries(told[section] ?? {})) {
      if (entry === null) delete fleet[section][key];
      else fleet[section][key] = entry;
    }
  }
}
