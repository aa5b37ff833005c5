// Fine-tuning jobs: how far each is, and the curve of its loss.

import { el, keepList, setAttribute, setText } from "./dom.js";
import { ago, rate, seconds } from "./format.js";
import { fleet, now } from "./live.js";

const MOST = 6;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 64;
const EDGE = 3;
const UNDER_WAY = ["validating_files", "queued", "running", "paused"];

export function showJobs(section, parent) {
  const jobs = Object.values(fleet.jobs);
  const isOpen = (job) => UNDER_WAY.includes(job.status);
  jobs.sort((one, other) => isOpen(other) - isOpen(one) || other.created_at_s - one.created_at_s);
  keepList(parent, jobs.slice(0, MOST), (job) => job.id, make, update);
  section.hidden = !jobs.length;
}

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function make(job) {
  const kept = { status: el("span", { className: "when" }), note: el("p", { className: "steps" }) };
  kept.curve = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "curve", role: "img" });
  kept.validation = svg("polyline", { class: "validation" });
  kept.training = svg("polyline", { class: "training" });
  kept.curve.append(kept.validation, kept.training);
  kept.range = el("p", { className: "range" });
  const name = el("span", { className: "name" }, job.name);
  const node = el("li", {}, el("div", { className: "line" }, name, kept.status), kept.curve, kept.note, kept.range);
  node.parts = kept;
  return node;
}

function update(node, job) {
  const parts = node.parts;
  const of = job.num_steps ? ` ${job.step}/${job.num_steps}` : "";
  const ended = job.finished_at_s ? `, ${ago(now() - job.finished_at_s)}` : "";
  setAttribute(node, "data-status", job.status);
  setText(parts.status, `${job.status.replaceAll("_", " ")}${job.status === "running" ? of : ended}`);
  setText(parts.note, noteOf(job));
  draw(parts, job.curve);
}

function noteOf(job) {
  if (job.error) return job.error;
  if (job.status === "running" && job.tokens_per_second) return `${rate(job.tokens_per_second)} tokens/s on ${job.gpu}`;
  if (job.waits_for) return job.waits_for;
  const tookS = job.finished_at_s && job.started_at_s ? job.finished_at_s - job.started_at_s : 0;
  return tookS > 0 ? `took ${seconds(tookS)} on ${job.gpu}` : "";
}

// Points are [step, loss, validation loss], either of which may be null.
function draw(parts, curve) {
  const losses = curve.flatMap(([, ...values]) => values.filter((value) => value !== null));
  setAttribute(parts.curve, "data-empty", losses.length > 1 ? null : "");
  if (losses.length < 2) {
    setText(parts.range, "");
    return;
  }
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const last = Math.max(...curve.map(([step]) => step), 1);
  const x = (step) => EDGE + ((WIDTH - 2 * EDGE) * step) / last;
  const y = (loss) => HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (loss - low)) / (high - low || 1);
  const points = (index) =>
    curve.filter((point) => point[index] !== null).map((point) => `${x(point[0]).toFixed(1)},${y(point[index]).toFixed(1)}`).join(" ");
  setAttribute(parts.training, "points", points(1));
  setAttribute(parts.validation, "points", points(2));
  const told = `loss ${high.toFixed(3)} to ${low.toFixed(3)} over ${last} steps`;
  setAttribute(parts.curve, "aria-label", told);
  setText(parts.range, told);
}
