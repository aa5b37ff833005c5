// The playground: one prompt, to one model or to two side by side.

import { byId } from "./dom.js";
import { fleet } from "./live.js";
import { Pane } from "./pane.js";

export class Playground {
  constructor() {
    this.panes = [new Pane("First"), new Pane("Second")];
    this.asking = null;
    byId("panes").append(...this.panes.map((pane) => pane.node));
    byId("compare").addEventListener("change", () => this.arrange());
    byId("clear").addEventListener("click", () => this.panes.forEach((pane) => pane.clear()));
    byId("halt").addEventListener("click", () => this.asking?.abort());
    byId("prompt-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask();
    });
    this.arrange();
  }

  get used() {
    return byId("compare").checked ? this.panes : this.panes.slice(0, 1);
  }

  arrange() {
    this.panes[1].node.hidden = !byId("compare").checked;
  }

  show() {
    const models = Object.values(fleet.models).filter((model) => model.tasks.includes("generate"));
    const best = [...models].sort((one, other) => other.ready - one.ready);
    this.panes.forEach((pane, index) => pane.offer(models, best[index % Math.max(1, best.length)]?.id));
    if (!this.asking) byId("send").disabled = !models.length;
  }

  async ask() {
    const prompt = byId("prompt").value.trim();
    if (!prompt || this.asking || !this.panes[0].model) return;
    this.asking = new AbortController();
    byId("prompt").value = "";
    this.setAsking(true);
    const options = { max_tokens: Number(byId("max-tokens").value) || undefined };
    if (byId("temperature").value !== "") options.temperature = Number(byId("temperature").value);
    await Promise.all(this.used.map((pane) => pane.ask(prompt, options, this.asking.signal)));
    this.asking = null;
    this.setAsking(false);
  }

  setAsking(isAsking) {
    const hadFocus = [byId("send"), byId("halt")].includes(document.activeElement);
    byId("halt").hidden = !isAsking;
    byId("send").disabled = isAsking;
    if (hadFocus) (isAsking ? byId("halt") : byId("prompt")).focus({ preventScroll: true });
  }
}
