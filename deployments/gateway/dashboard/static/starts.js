// Cold starts by step: those under way, then the last one of each variant.

import { el, keepList, setAttribute, setEmpty, setText } from "./dom.js";
import { STEPS, ago, seconds, stepName } from "./format.js";
import { fleet, now } from "./live.js";
import { shapeOf } from "./state.js";

const MOST = 8;

export function showStarts(parent) {
  const starts = Object.values(fleet.variants).map(startOf).filter(Boolean);
  starts.sort((one, other) => other.isRunning - one.isRunning || other.atS - one.atS);
  const shown = starts.slice(0, MOST);
  const longestS = Math.max(...shown.map((start) => Math.max(start.totalS, start.expectedS ?? 0)), 0.1);
  keepList(parent, shown, (start) => start.key, make, (node, start) => update(node, start, longestS));
  setEmpty(parent, fleet.isKnown && !shown.length, "No model has been started yet.");
}

function startOf(variant) {
  const named = { key: `${variant.model}@${shapeOf(variant)}`, model: variant.model, shape: shapeOf(variant) };
  if (variant.start) {
    const { begun_at_s, step_began_at_s, step, steps_s } = variant.start;
    const steps = { ...steps_s, [step]: Math.max(0, now() - step_began_at_s) };
    const totalS = Math.max(0, now() - begun_at_s);
    const expectedS = variant.last_cold_start ? variant.expected_start_s : null;
    return { ...named, steps, step, totalS, expectedS, atS: begun_at_s, isRunning: true };
  }
  const last = variant.last_cold_start;
  return last && { ...named, steps: last.steps_s, step: null, totalS: last.total_s, atS: last.at_s, isRunning: false };
}

function make(start) {
  const kept = { total: el("span", { className: "total" }), when: el("span", { className: "when" }) };
  kept.bar = el("div", { className: "bar-track", "aria-hidden": "true" });
  kept.steps = el("p", { className: "steps" });
  const name = el("span", { className: "name" }, start.model, " ", el("span", { className: "shape" }, start.shape));
  const node = el("li", {}, el("div", { className: "line" }, name, kept.total), kept.bar,
    el("div", { className: "line" }, kept.steps, kept.when));
  node.parts = kept;
  return node;
}

function update(node, start, longestS) {
  const parts = node.parts;
  const known = STEPS.filter((step) => start.steps[step] !== undefined);
  setAttribute(node, "data-running", start.isRunning ? "" : null);
  setText(parts.total, seconds(start.totalS));
  setText(parts.when, start.isRunning ? "under way" : ago(now() - start.atS));
  setText(parts.steps, known.map((step) => `${stepName(step)} ${seconds(start.steps[step])}`).join(" · "));
  keepList(parts.bar, known, (step) => step, (step) => el("span", { "data-step": step }), (piece, step) => {
    piece.style.width = `${Math.max(0.5, (100 * start.steps[step]) / longestS)}%`;
    setAttribute(piece, "data-now", step === start.step ? "" : null);
  });
}
