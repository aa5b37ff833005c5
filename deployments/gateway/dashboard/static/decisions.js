// The last changes of the number of replicas, with their reasons.

import { el, keepList, setEmpty, setText } from "./dom.js";
import { ago } from "./format.js";
import { fleet, now } from "./live.js";
import { shapeOf } from "./state.js";

const MOST = 10;

export function showDecisions(parent) {
  const all = Object.values(fleet.variants).flatMap((variant) =>
    (variant.decisions ?? []).map((decision) => ({ ...decision, model: variant.model, shape: shapeOf(variant) })),
  );
  all.sort((one, other) => other.at_s - one.at_s);
  const keyOf = (each) => `${each.model}@${each.shape} ${each.at_s} ${each.after}`;
  keepList(parent, all.slice(0, MOST), keyOf, make, (node, each) => setText(node.when, ago(now() - each.at_s)));
  setEmpty(parent, fleet.isKnown && !all.length, "Nothing has been scaled yet.");
}

function make(decision) {
  const when = el("span", { className: "when" });
  const change = el("span", { className: "change", "data-way": decision.after > decision.before ? "up" : "down" },
    `${decision.before} → ${decision.after}`);
  const name = el("span", { className: "name" }, decision.model, " ", el("span", { className: "shape" }, decision.shape));
  const node = el("li", {}, el("div", { className: "line" }, change, name, when),
    el("p", { className: "reason" }, decision.reason));
  node.when = when;
  return node;
}
