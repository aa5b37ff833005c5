// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const number = (value) => whole.format(value);

// A count that may be a part of one, as half a GPU is.
export const amount = (value) => (Number.isInteger(value) ? whole.format(value) : tenths.format(value));

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 10 ? tenths.format(value) : whole.format(Math.round(value));
}

export function seconds(value) {
  if (value < 0.95) return `${Math.round(value * 1000)} ms`;
  if (value < 99.5) return `${tenths.format(value)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  return minutes < 100 ? `${minutes} min ${Math.round(value) % 60} s` : `${Math.round(minutes / 60)} h`;
}

export function ago(value) {
  if (value < 5) return "just now";
  if (value < 60) return `${Math.floor(value / 5) * 5} s ago`;
  if (value < 3600) return `${Math.floor(value / 60)} min ago`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ago`;
  return `${Math.floor(value / 86400)} d ago`;
}

const STATES = {
  cold: "Cold",
  scheduling: "Scheduling",
  starting: "Starting",
  ready: "Ready",
  draining: "Draining",
  stopped: "Stopped",
  failed: "Failed",
  unavailable: "Unavailable",
};
export const stateName = (state) => STATES[state] ?? state;

export const STEPS = ["scheduling", "fetching", "importing", "loading", "warming_up"];
export const stepName = (step) => step.replaceAll("_", " ");

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
