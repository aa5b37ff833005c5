// The figures at the top.

import { el, keepList, setText } from "./dom.js";
import { amount, number, rate } from "./format.js";
import { fleet } from "./live.js";
import { families, loadOfAll } from "./state.js";

export function showOverview(parent) {
  const all = families();
  const loads = all.map((family) => loadOfAll(family.variants));
  const sum = (name) => loads.reduce((total, load) => total + (load[name] ?? 0), 0);
  const models = Object.values(fleet.models);
  const figures = [
    ["Models ready", number(models.filter((model) => model.ready).length), `of ${number(models.length)}`],
    ["Replicas", number(sum("numReady")), sum("numReplicas") > sum("numReady") ? `of ${number(sum("numReplicas"))}` : "ready"],
    ["Running", number(sum("running")), "requests"],
    ["Waiting", number(sum("waiting")), "requests"],
    ["Completion tokens", rate(sum("tokensPerS")), "a second"],
    accelerators(),
  ];
  keepList(parent, figures, ([name]) => name, make, ({ parts }, [, value, note]) => {
    setText(parts.value, fleet.isKnown ? value : "–");
    setText(parts.note, fleet.isKnown ? note : "");
  });
}

function make([name]) {
  const value = el("span", { className: "value" });
  const note = el("span", { className: "unit" });
  const figure = el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", note));
  figure.parts = { value, note };
  return figure;
}

function accelerators() {
  const gpus = Object.values(fleet.gpus).filter((gpu) => gpu.type !== "CPU" && gpu.total > 0);
  const [name, counted] = gpus.length ? ["GPUs free", gpus] : ["CPU cores free", [fleet.gpus.CPU].filter(Boolean)];
  const sum = (field) => counted.reduce((total, gpu) => total + gpu[field], 0);
  return [name, counted.length ? amount(sum("free")) : "–", counted.length ? `of ${amount(sum("total"))}` : ""];
}
