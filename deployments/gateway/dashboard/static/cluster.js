// What the cluster has, and which replicas run on which node.

import { el, keepList, setAttribute, setEmpty, setText } from "./dom.js";
import { amount, plural, stateName } from "./format.js";
import { fleet } from "./live.js";
import { shapeOf } from "./state.js";

export function showGpus(parent) {
  const wanted = new Set(Object.values(fleet.variants).map((variant) => shapeOf(variant).split(":")[0]));
  const shown = Object.values(fleet.gpus).filter((gpu) => gpu.total > 0 || gpu.addable > 0 || wanted.has(gpu.type));
  keepList(parent, shown, (gpu) => gpu.type, makeGpu, updateGpu);
  setEmpty(parent, fleet.isKnown && !shown.length, "The manager has not told yet what the cluster has.");
}

function makeGpu(gpu) {
  const kept = { fill: el("span"), free: el("span", { className: "free" }), note: el("span", { className: "when" }) };
  const name = el("span", { className: "name" }, gpu.type === "CPU" ? "CPU cores" : gpu.type);
  const node = el("div", { className: "gpu" }, el("div", { className: "line" }, name, kept.free, kept.note),
    el("div", { className: "bar-track", "aria-hidden": "true" }, kept.fill));
  node.parts = kept;
  return node;
}

function updateGpu(node, gpu) {
  const used = gpu.total > 0 ? (gpu.total - gpu.free) / gpu.total : 0;
  node.parts.fill.style.width = `${100 * used}%`;
  setText(node.parts.free, gpu.total > 0 ? `${amount(gpu.free)} of ${amount(gpu.total)} free` : "none now");
  setText(node.parts.note, gpu.addable > 0 ? `${amount(gpu.addable)} may be added` : "");
}

export function showNodes(parent) {
  const nodes = new Map();
  for (const variant of Object.values(fleet.variants)) {
    for (const replica of variant.replicas ?? []) {
      if (!nodes.has(replica.node)) nodes.set(replica.node, []);
      nodes.get(replica.node).push({ ...replica, model: variant.model, shape: shapeOf(variant) });
    }
  }
  keepList(parent, [...nodes], ([node]) => node, makeNode, updateNode);
  setEmpty(parent, fleet.isKnown && !nodes.size, "No replica runs.");
}

function makeNode([name]) {
  const kept = { count: el("span", { className: "when" }), replicas: el("ul") };
  const node = el("li", {}, el("div", { className: "line" }, el("span", { className: "name" }, name || "unknown node"),
    kept.count), kept.replicas);
  node.parts = kept;
  return node;
}

function updateNode(node, [, replicas]) {
  setText(node.parts.count, plural(replicas.length, "replica"));
  keepList(node.parts.replicas, replicas, (replica) => replica.id, makeReplica, (item, replica) => {
    const load = `${plural(replica.running, "request")}`;
    const kv = replica.kv_usage_ratio > 0 ? `, KV cache ${Math.round(100 * replica.kv_usage_ratio)} %` : "";
    setText(item.load, replica.state === "ready" ? (replica.is_asleep ? "asleep" : load + kv) : stateName(replica.state));
    setAttribute(item, "data-state", replica.state);
  });
}

function makeReplica(replica) {
  const load = el("span", { className: "when" });
  const item = el("li", { className: "line" }, el("span", { className: "dot", "aria-hidden": "true" }),
    el("span", { className: "name" }, replica.model, " ", el("span", { className: "shape" }, replica.shape)), load);
  item.load = load;
  return item;
}
