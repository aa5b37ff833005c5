// Puts the page together.

import { Refusal, actions, inWords, key } from "./api.js";
import { showGpus, showNodes } from "./cluster.js";
import { showDecisions } from "./decisions.js";
import { byId, el, setAttribute, setText } from "./dom.js";
import { showJobs } from "./jobs.js";
import { Live, fleet } from "./live.js";
import { ModelTable } from "./models.js";
import { showOverview } from "./overview.js";
import { Playground } from "./playground.js";
import { showStarts } from "./starts.js";

const TICK_MS = 1000;
const SAID_FOR_MS = 6000;
const MOST_NOTICES = 3;

const table = new ModelTable(byId("model-table"), act, askToStop);
const playground = new Playground();
const live = new Live(show, showConnection);

function show() {
  showOverview(byId("overview"));
  table.show();
  playground.show();
  showStarts(byId("start-list"));
  showJobs(byId("jobs"), byId("job-list"));
  showDecisions(byId("decision-list"));
  showGpus(byId("gpu-list"));
  showNodes(byId("node-list"));
}

function showConnection(state, why) {
  const text = { connecting: "Connecting", live: "Live", lost: "Reconnecting", refused: "No access" }[state];
  setText(byId("connection"), text);
  setAttribute(byId("connection"), "data-state", state);
  setAttribute(byId("connection"), "title", state === "lost" ? why : null);
  setText(byId("key-button"), key.get() ? "API key in use" : "API key");
  if (state === "refused") {
    if (why.status === 401) askForKey(key.get() ? inWords(why) : "This raymux asks for an API key.");
    else complain(inWords(why));
  }
}

// What went wrong or what was done, in words

function complain(text) {
  const known = [...byId("notices").children];
  if (known.some((notice) => notice.firstChild.textContent === text)) return;
  if (known.length >= MOST_NOTICES) known[0].remove();
  const notice = el("div", { className: "notice" }, el("p", {}, text));
  notice.append(el("button", { type: "button", className: "quiet", onclick: () => notice.remove() }, "Dismiss"));
  byId("notices").append(notice);
}

let saidUntil = 0;
function say(text) {
  byId("said").className = "toast";
  setText(byId("said"), text);
  clearTimeout(saidUntil);
  saidUntil = setTimeout(() => {
    byId("said").className = "unseen";
    setText(byId("said"), "");
  }, SAID_FOR_MS);
}

// Do something to a model, and say what came of it: `done`, or that `wish` failed and why.
async function act(wish, done, action) {
  try {
    await action();
    say(done);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) askForKey(inWords(error));
    else complain(`${wish} failed. ${inWords(error)}`);
  }
}

// Dialogs

function askForKey(problem) {
  setText(byId("key-error"), problem);
  byId("key-error").hidden = !problem;
  byId("key-forget").hidden = !key.get();
  byId("key").value = "";
  if (!byId("key-dialog").open) byId("key-dialog").showModal();
  byId("key").focus();
}

function useKey(value) {
  if (value) key.set(value);
  else key.forget();
  byId("key").value = "";
  byId("key-dialog").close();
  byId("notices").replaceChildren();
  live.restart();
}

byId("key-button").addEventListener("click", () => askForKey(""));
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
byId("key-forget").addEventListener("click", () => useKey(""));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
});

let toStop = "";
function askToStop(name) {
  toStop = name;
  setText(byId("stop-title"), `Stop ${name}?`);
  byId("stop-drain").checked = true;
  byId("stop-dialog").showModal();
}

byId("stop-cancel").addEventListener("click", () => byId("stop-dialog").close());
byId("stop-form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("stop-dialog").close();
  const name = toStop;
  act(`Stopping ${name}`, `${name} is being stopped.`, () => actions.stop(name, byId("stop-drain").checked));
});

show();
live.restart();
setInterval(() => fleet.isKnown && show(), TICK_MS);
