// One conversation of the playground: a model, what was said, and how fast it answered.

import { inWords, send } from "./api.js";
import { el, keepList, setText } from "./dom.js";
import { number, rate, seconds } from "./format.js";
import { events } from "./sse.js";

const GROUPS = [
  ["Models", (model) => model.kind === "base"],
  ["Adapters", (model) => model.kind === "adapter"],
  ["Checkpoints", (model) => model.kind === "checkpoint"],
  ["Providers", () => true],
];

export class Pane {
  constructor(ordinal) {
    this.history = [];
    this.select = el("select", { "aria-label": `${ordinal} model`, onchange: () => this.clear() });
    this.log = el("div", { className: "log", role: "log", tabIndex: 0, "aria-label": `Conversation with the ${ordinal.toLowerCase()} model` });
    this.node = el("div", { className: "pane" }, this.select, this.log);
    this.clear();
  }

  get model() {
    return this.select.value;
  }

  // Offer these models, and keep the one that is chosen while it is there.
  offer(models, preferred) {
    const chosen = this.model || preferred;
    const left = new Set(models);
    const groups = GROUPS.map(([name, isIn]) => {
      const found = models.filter((model) => left.has(model) && isIn(model));
      found.forEach((model) => left.delete(model));
      return { name, models: found };
    });
    keepList(this.select, groups.filter((group) => group.models.length), (group) => group.name,
      (group) => el("optgroup", { label: group.name }), (node, group) =>
        keepList(node, group.models, (model) => model.id, (model) => el("option", { value: model.id }), (option, model) =>
          setText(option, model.ready ? model.id : `${model.id} (${model.state})`)));
    if (chosen && this.model !== chosen && models.some((model) => model.id === chosen)) this.select.value = chosen;
  }

  clear() {
    this.history = [];
    this.log.replaceChildren(el("p", { className: "empty" }, "Nothing has been said yet."));
  }

  // Ask the model, and show its answer as it comes. Never throws: what goes wrong is shown in the conversation.
  async ask(prompt, options, signal) {
    if (!this.history.length) this.log.replaceChildren();
    this.history.push({ role: "user", content: prompt });
    this.log.append(el("p", { className: "message user" }, prompt));
    const answer = new Answer(this.log);
    this.log.setAttribute("aria-busy", "true");
    try {
      await this.stream(answer, options, signal);
      answer.end();
    } catch (error) {
      answer.end(signal.aborted ? "Stopped." : inWords(error), !signal.aborted);
    } finally {
      this.log.setAttribute("aria-busy", "false");
      if (answer.text) this.history.push({ role: "assistant", content: answer.text });
      else this.history.pop();
    }
  }

  async stream(answer, options, signal) {
    const body = { model: this.model, messages: this.history, stream: true, stream_options: { include_usage: true }, ...options };
    const reply = await send("POST", "v1/chat/completions", { body, signal });
    for await (const { comment, data } of events(reply)) {
      if (comment !== undefined) answer.wait(comment);
      if (!data || data === "[DONE]") continue;
      const told = JSON.parse(data);
      if (told.error) throw new Error(told.error.message);
      const delta = told.choices?.[0]?.delta;
      answer.take(delta?.reasoning_content ?? delta?.reasoning, delta?.content);
      if (told.usage) answer.usage = told.usage;
    }
  }
}

// An answer that grows, with its measures: from the moment it was asked for, as this browser sees it.
class Answer {
  constructor(log) {
    this.log = log;
    this.text = "";
    this.usage = null;
    this.numPieces = 0;
    this.askedMs = performance.now();
    this.firstMs = this.lastMs = null;
    this.thought = el("span", { className: "thought" });
    this.said = el("span");
    this.measures = el("p", { className: "measures" }, "Waiting");
    this.node = el("div", { className: "message model" }, el("p", {}, this.thought, this.said), this.measures);
    log.append(this.node);
    this.follow();
  }

  // A comment of the gateway: the model starts, or others are served first.
  wait(comment) {
    const facts = Object.fromEntries([...comment.matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name, value]));
    const step = facts.step ? `, ${facts.step.replaceAll("_", " ")}` : "";
    const waited = facts.waited_s ? ` for ${facts.waited_s} s` : "";
    if (this.firstMs === null) setText(this.measures, `${facts.step ? "The model starts" : "Waiting"}${step}${waited}`);
    this.follow();
  }

  take(thought, content) {
    if (!thought && !content) return;
    const nowMs = performance.now();
    this.firstMs ??= nowMs;
    this.lastMs = nowMs;
    this.numPieces += 1;
    this.text += content ?? "";
    if (thought) this.thought.append(thought);
    if (content) this.said.append(content);
    setText(this.measures, this.inFigures());
    this.follow();
  }

  end(problem, isError = false) {
    setText(this.measures, this.firstMs === null ? "" : this.inFigures());
    this.measures.hidden = this.firstMs === null;
    if (problem) this.node.append(el("p", { className: isError ? "error" : "hint" }, problem));
    else if (this.firstMs === null) this.node.append(el("p", { className: "hint" }, "The answer is empty."));
    this.follow();
  }

  // Until the usage comes, pieces stand for tokens: nearly always each is one.
  inFigures() {
    const tokens = this.usage?.completion_tokens ?? this.numPieces;
    const elapsedS = (this.lastMs - this.firstMs) / 1000;
    const speed = tokens > 1 && elapsedS > 0 ? `${rate((tokens - 1) / elapsedS)} tokens/s` : null;
    const first = `First token ${seconds((this.firstMs - this.askedMs) / 1000)}`;
    const total = this.usage ? `${seconds((this.lastMs - this.askedMs) / 1000)} in all` : null;
    return [first, speed, `${number(tokens)} token${tokens === 1 ? "" : "s"}`, total].filter(Boolean).join(" · ");
  }

  follow() {
    this.log.scrollTop = this.log.scrollHeight;
  }
}
