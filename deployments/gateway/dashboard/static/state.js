// What follows from the entries that `/v1/events` tells.

import { fleet } from "./live.js";

export const shapeOf = (variant) => variant.variant;

// Models with variants of their own, each with those that use its replicas: adapters, and checkpoints that are adapters.
export function families() {
  const owners = new Map();
  for (const variant of Object.values(fleet.variants)) {
    if (!owners.has(variant.model)) owners.set(variant.model, []);
    owners.get(variant.model).push(variant);
  }
  const found = new Map();
  const guests = [];
  for (const model of Object.values(fleet.models)) {
    if (!owners.has(model.id) && model.parent && fleet.models[model.parent]) guests.push(model);
    else found.set(model.id, { model, variants: owners.get(model.id) ?? [], guests: [] });
  }
  for (const guest of guests) found.get(guest.parent)?.guests.push(guest);
  return [...found.values()];
}

// What a variant does now.
export function loadOf(variant) {
  const replicas = variant.replicas ?? [];
  return {
    numReady: replicas.filter((replica) => replica.state === "ready").length,
    numReplicas: replicas.length,
    running: variant.num_running ?? 0,
    waiting: variant.num_waiting ?? 0,
    tokensPerS: variant.completion_tokens_per_s ?? null,
  };
}

// Of several variants of one model; its queue in the gateway is in front of all of them.
export function loadOfAll(variants) {
  const loads = variants.map(loadOf);
  const sum = (name) => loads.reduce((total, load) => total + load[name], 0);
  const known = loads.filter((load) => load.tokensPerS !== null);
  return {
    numReady: sum("numReady"),
    numReplicas: sum("numReplicas"),
    running: sum("running"),
    waiting: sum("waiting") + (variants[0]?.num_queued ?? 0),
    tokensPerS: known.length ? known.reduce((total, load) => total + load.tokensPerS, 0) : null,
  };
}

export const numHolding = (variants, adapter) =>
  variants.flatMap((variant) => variant.replicas ?? []).filter((replica) => replica.adapters.includes(adapter)).length;
