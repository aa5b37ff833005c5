// The models with what they do, and what can be done to them.

import { actions } from "./api.js";
import { byId, el, keepList, setAttribute, setEmpty, setText } from "./dom.js";
import { number, plural, rate, seconds, stateName, stepName } from "./format.js";
import { fleet, now } from "./live.js";
import { families, loadOf, loadOfAll, numHolding, shapeOf } from "./state.js";

const COLUMNS = ["Model", "State", "Replicas", "Running", "Waiting", "Tokens/s", "Actions"];
const FIGURES = [["replicas", "Replicas"], ["running", "Running"], ["waiting", "Waiting"], ["tokens", "Tokens/s"]];
// Why `auto` took a variant, as docs/gpus.md has it.
const CHOSEN = {
  placeable: "chosen because it had room",
  addable: "chosen because a node may be added",
  spill: "stands in while GPUs are full",
  occupied: "chosen though others hold its place",
};
const RUNS = ["scheduling", "starting", "ready", "draining"];

export class ModelTable {
  // `act(wish, done, action)` does something to a model and says what came of it; `askToStop(name)` asks first.
  constructor(parent, act, askToStop) {
    this.parent = parent;
    this.act = act;
    this.askToStop = askToStop;
    this.body = el("div", { role: "rowgroup" });
    parent.append(el("div", { role: "rowgroup", className: "model-head" }, head()), this.body);
    byId("filter").addEventListener("input", () => this.show());
  }

  show() {
    const wanted = byId("filter").value.trim().toLowerCase();
    const rows = families().flatMap(rowsOf).filter((row) => row.filterBy.includes(wanted));
    keepList(this.body, rows, (row) => row.key, (row) => this.make(row), (node, row) => this.update(node, row));
    setEmpty(this.parent, fleet.isKnown && !rows.length, wanted ? "No model has this in its name." : "No models.");
    const isReadOnly = fleet.caller && !fleet.caller.is_admin;
    setText(byId("models-note"), isReadOnly ? "Read only: this key may not warm, stop or promote." : "");
  }

  make(row) {
    const kept = { name: el("span", { className: "name" }), meta: el("span", { className: "meta" }) };
    kept.pill = el("span", { className: "pill" });
    kept.note = el("p", { className: "row-note" });
    kept.buttons = el("div", { className: "buttons" });
    const figures = FIGURES.map(([name, label]) => {
      kept[name] = el("span", {});
      return el("div", { role: "cell", className: "figure", "data-label": label }, kept[name]);
    });
    const node = el(
      "div",
      { role: "row", className: `model-row ${row.kind}`, "data-key": row.key },
      el("div", { role: "rowheader", className: "model-name" }, kept.name, kept.meta, kept.note),
      el("div", { role: "cell", className: "model-state" }, kept.pill),
      ...figures,
      el("div", { role: "cell", className: "model-actions" }, kept.buttons),
    );
    node.parts = kept;
    return node;
  }

  update(node, row) {
    const parts = node.parts;
    setText(parts.name, row.name);
    setAttribute(parts.name, "title", row.title);
    setText(parts.meta, row.meta);
    setText(parts.pill, stateName(row.state));
    setAttribute(node, "data-state", row.state);
    for (const [name] of FIGURES) {
      setText(parts[name], row[name]);
      setAttribute(parts[name], "data-quiet", row[name] === "0" || row[name] === "–" ? "" : null);
    }
    setText(parts.note, row.note);
    setAttribute(parts.note, "data-kind", row.noteKind);
    keepList(parts.buttons, row.actions, (verb) => verb, (verb) => this.button(verb, row.name), () => {});
  }

  button(verb, name) {
    const warm = () => actions.warm(name, Number(byId("keep-warm").value));
    const press = {
      warm: () => this.act(`Warming ${name}`, `${name} is being warmed.`, warm),
      keep: () => this.act(`Keeping ${name} warm`, `${name} is kept warm.`, warm),
      start: () => this.act(`Starting ${name}`, `${name} is being started.`, () => actions.start(name)),
      promote: () =>
        this.act(`Promoting ${name}`, `${name} is promoted and being started.`, () => actions.promote(name)),
      stop: () => this.askToStop(name),
    }[verb];
    const label = { warm: "Warm", keep: "Keep warm", start: "Start", promote: "Promote", stop: "Stop" }[verb];
    return el("button", { type: "button", "aria-label": `${label} ${name}`, "data-verb": verb, onclick: press }, label);
  }
}

const head = () =>
  el("div", { role: "row", className: "model-row" }, ...COLUMNS.map((name) => el("div", { role: "columnheader" }, name)));

function rowsOf({ model, variants, guests }) {
  const filterBy = [model, ...guests].flatMap((each) => [each.id, ...each.aliases]).join(" ").toLowerCase();
  const rows = [{ ...modelRow(model, variants), filterBy }];
  if (variants.length > 1) {
    rows.push(...variants.map((variant) => ({ ...variantRow(variant), filterBy })));
  }
  rows.push(...guests.map((guest) => ({ ...guestRow(guest, model, variants), filterBy })));
  return rows;
}

function modelRow(model, variants) {
  const busiest = variants.find((variant) => variant.state === model.state) ?? variants[0];
  const kind = variants.length ? (model.parent ? `checkpoint of ${model.parent}` : model.tasks.join(", ")) : model.owned_by;
  const shapes = variants.length === 1 ? shapeOf(variants[0]) : variants.length ? `${variants.length} variants` : "";
  return {
    key: `model ${model.id}`,
    kind: "base",
    name: model.id,
    title: model.aliases.length ? `Also ${model.aliases.join(", ")}` : null,
    meta: [shapes, kind].filter(Boolean).join(" · "),
    state: model.state,
    actions: actionsOf(model, variants),
    ...(variants.length ? figuresOf(loadOfAll(variants)) : none()),
    ...(variants.length === 1 ? noteOf(busiest) : {}),
  };
}

function variantRow(variant) {
  return {
    key: `variant ${variant.model}@${shapeOf(variant)}`,
    kind: "variant",
    name: shapeOf(variant),
    meta: CHOSEN[variant.chosen_because] ?? "",
    state: variant.state,
    actions: [],
    ...figuresOf(loadOf(variant)),
    ...noteOf(variant),
  };
}

function guestRow(guest, base, variants) {
  const holding = numHolding(variants, guest.id);
  return {
    key: `model ${guest.id}`,
    kind: "guest",
    name: guest.id,
    title: guest.aliases.length ? `Also ${guest.aliases.join(", ")}` : null,
    meta: `${guest.kind === "checkpoint" ? "checkpoint" : "adapter"} of ${base.id}`,
    state: guest.state === "ready" && !holding ? "cold" : guest.state,
    actions: guest.needs_promotion ? ["promote"] : guest.state === "stopped" ? [] : [holding ? "keep" : "warm"],
    ...none(),
    replicas: number(holding),
  };
}

function actionsOf(model, variants) {
  if (!variants.length) return [];
  if (model.state === "stopped") return ["start"];
  if (model.needs_promotion) return ["promote"];
  return RUNS.includes(model.state) ? ["keep", "stop"] : ["warm", "stop"];
}

const none = () => ({ replicas: "–", running: "–", waiting: "–", tokens: "–" });

function figuresOf(load) {
  const isPart = load.numReplicas !== load.numReady;
  return {
    replicas: isPart ? `${number(load.numReady)}/${number(load.numReplicas)}` : number(load.numReady),
    running: number(load.running),
    waiting: number(load.waiting),
    tokens: load.numReady ? rate(load.tokensPerS) : "–",
  };
}

function noteOf(variant) {
  if (variant.start) {
    const elapsed = seconds(Math.max(0, now() - variant.start.begun_at_s));
    const expected = variant.last_cold_start ? `, about ${seconds(variant.expected_start_s)} expected` : "";
    return { note: `${stepName(variant.start.step)} for ${elapsed}${expected}`, noteKind: "progress" };
  }
  if (variant.last_error) {
    const waitS = variant.retry_at_s ? variant.retry_at_s - now() : 0;
    const next = waitS > 0 ? ` The next start may be tried in ${plural(Math.ceil(waitS), "second")}.` : "";
    return { note: `Failed to start: ${variant.last_error.replace(/\.?$/, ".")}${next}`, noteKind: "error" };
  }
  return {};
}
