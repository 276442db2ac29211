// One message on the page.

import { copyFrom, h, icon, iconButton } from "./dom.js";
import { explainFinish } from "./explain.js";
import { count, seconds, speed, statistics, tokens } from "./format.js";
import { probabilityList } from "./logprobs.js";
import { MarkdownView } from "./render.js";

const LONG = 4000; // characters of a message of the user, after which it is folded
const OPEN_THINKING = "localllm.thinking";
const SPEED_EVERY = 500; // milliseconds
const FEW = 5; // pieces that tell nothing of the speed yet
const TITLES = { user: "You", assistant: "Answer", tool: "Result of a tool" };

/** Makes the element of a message: `element`; `update` brings it up to date. */
export class MessageView {
  #markdown = null;
  #thinking = null;
  #parts = {};
  #showsProbabilities = false;
  #told = 0;

  constructor(message) {
    this.message = message;
    this.#parts = { body: h("div", { class: "body" }), foot: h("div", { class: "foot" }) };
    const title = h("h2", { class: "visually-hidden", text: TITLES[message.role] });
    this.element = h("article", { class: `message ${message.role}` }, title, this.#parts.body, this.#parts.foot);
    if (message.role !== "assistant") this.#showText();
  }

  #showText() {
    const { content, role } = this.message;
    const text = h("div", { class: "text", dir: "auto", text: content });
    this.#parts.body.append(text);
    if (content.length > LONG || content.split("\n", 40).length === 40) {
      text.classList.add("folded");
      const unfold = h("button", { type: "button", class: "link", text: "Show all", on: { click: () => toggle() } });
      const toggle = () => (unfold.textContent = text.classList.toggle("folded") ? "Show all" : "Show less");
      this.#parts.body.append(unfold);
    }
    if (role === "tool") return;
    this.#parts.foot.append(h("div", { class: "actions" }, action("copy", "Copy"), action("edit", "Edit"), copied()));
  }

  /** state: {running, run, isLast, canLeaveOut, isUnanswered, nCtx, model}. */
  update(state) {
    this.element.classList.toggle("unanswered", state.isUnanswered);
    if (this.message.role !== "assistant") return;
    const { content, reasoning, toolCalls } = this.message;
    this.element.classList.toggle("running", state.running);
    this.element.setAttribute("aria-busy", String(state.running));
    if (reasoning) this.#updateThinking(reasoning, state);
    if (content || this.#markdown) this.#updateContent(content, state.running);
    if (toolCalls?.length) this.#replace("calls", () => callList(this.message, state));
    this.#replace("waiting", () => (state.running && !content && !toolCalls?.length ? waiting(this.message, reasoning) : null));
    this.#replace("note", () => (state.running ? null : note(this.message, state)));
    if (state.running) this.#showSpeed(state.run);
    else this.#showFoot(state);
  }

  /** Put an element of a name into the body: in place of the one before, or nothing. */
  #replace(name, make) {
    const next = make();
    if (next) {
      if (this.#parts[name]) this.#parts[name].replaceWith(next);
      else this.#parts.body.append(next);
    } else this.#parts[name]?.remove();
    this.#parts[name] = next ?? undefined;
  }

  #updateContent(content, running) {
    if (!this.#markdown) {
      this.#parts.content = h("div", { class: "markdown" });
      const before = this.#parts.calls ?? this.#parts.waiting ?? this.#parts.note;
      if (before) before.before(this.#parts.content);
      else this.#parts.body.append(this.#parts.content);
      this.#markdown = new MarkdownView(this.#parts.content);
    }
    this.#markdown.update(content, running || this.message.finish !== "stop"); // marks of one that was cut off stay closed
  }

  #updateThinking(reasoning, { running, run }) {
    if (!this.#thinking) {
      const text = h("div", { class: "markdown" });
      const label = h("span");
      const details = h("details", { class: "thoughts" }, h("summary", {}, icon("chevron"), label), text);
      details.open = localStorage.getItem(OPEN_THINKING) === "open";
      details.addEventListener("toggle", () => {
        localStorage.setItem(OPEN_THINKING, details.open ? "open" : "closed");
        if (details.open) this.#thinking.markdown.update(this.message.reasoning, this.element.classList.contains("running"));
      });
      this.#parts.body.prepend(details);
      this.#thinking = { details, label, markdown: new MarkdownView(text) };
    }
    const { details, label, markdown } = this.#thinking;
    const isThinking = running && !this.message.content;
    if (isThinking) this.message.thinkingSeconds = (performance.now() - run.firstPiece) / 1000;
    details.classList.toggle("active", isThinking);
    const time = this.message.thinkingSeconds;
    label.textContent = isThinking ? `Thinking… ${seconds(time)}` : time ? `Thought for ${seconds(time)}` : "Thoughts";
    if (details.open) markdown.update(reasoning, isThinking);
  }

  /** How fast the answer comes, twice a second: faster could not be read. */
  #showSpeed({ pieces = 0, firstPiece }) {
    const now = performance.now();
    if (!this.#parts.speed?.isConnected) {
      this.#parts.speed = h("p", { class: "facts" });
      this.#parts.foot.replaceChildren(this.#parts.speed);
    }
    if (pieces < FEW || now - this.#told < SPEED_EVERY) return;
    this.#told = now;
    this.#parts.speed.textContent = `about ${speed((1000 * (pieces - 1)) / (now - firstPiece))} tokens/s`;
  }

  #showFoot({ isLast, model }) {
    const { message } = this;
    const canContinue = isLast && message.content && !message.toolCalls?.length;
    const actions = h(
      "div",
      { class: "actions" },
      message.content && action("copy", "Copy"),
      isLast && !message.error && action("regenerate", "Answer anew"),
      canContinue && action("continue", "Go on with this answer"),
      message.logprobs?.length > 0 && action("probabilities", "Token probabilities", { "aria-pressed": String(this.#showsProbabilities) }),
      copied(),
    );
    const facts = [...(message.model && message.model !== model ? [message.model] : []), ...statistics(message)];
    this.#parts.foot.replaceChildren(actions, facts.length ? h("p", { class: "facts", text: facts.join(" · ") }) : "");
  }

  /** Show the tokens of the answer by their probabilities in place of its text, or the text again. */
  toggleProbabilities() {
    this.#showsProbabilities = !this.#showsProbabilities;
    this.#replace("probabilities", () => (this.#showsProbabilities ? probabilityList(this.message.logprobs) : null));
    if (this.#parts.content) this.#parts.content.hidden = this.#showsProbabilities;
    this.element.querySelector("[data-action=probabilities]").setAttribute("aria-pressed", String(this.#showsProbabilities));
  }

  copy(button) {
    return copyFrom(button, this.message.content);
  }

  /** A form in place of the text; `send` is called with the new one. */
  edit(send, replaced) {
    const area = h("textarea", { "aria-label": "Edit message", dir: "auto", rows: 3 });
    area.value = this.message.content;
    const close = () => {
      form.remove();
      this.element.classList.remove("editing");
      this.element.querySelector("[data-action=edit]").focus();
    };
    const submit = (event) => {
      event.preventDefault();
      if (area.value.trim()) send(area.value);
    };
    const form = h(
      "form",
      { class: "edit", on: { submit, keydown: (event) => editKeys(event, form, close) } },
      area,
      h("p", { class: "hint", text: replaced > 0 ? `Sending replaces the ${count(replaced)} messages below.` : "" }),
      h("div", { class: "buttons" }, h("button", { type: "button", text: "Cancel", on: { click: close } }), h("button", { class: "primary", text: "Send" })),
    );
    this.element.classList.add("editing");
    this.#parts.body.append(form);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

function editKeys(event, form, close) {
  if (event.key === "Escape") {
    event.stopPropagation();
    close();
  }
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
}

function action(name, label, props = {}) {
  return iconButton(name, label, { "data-action": name, ...props });
}

/** Seen while its sibling button says that it has copied. */
function copied() {
  return h("span", { class: "copied", "aria-hidden": "true", text: "Copied" });
}

/** While nothing of the answer is there: how much of the prompt is read, or that it is waited for. */
function waiting({ progress }, reasoning) {
  if (reasoning) return null;
  if (!progress || progress.processed >= progress.total) {
    return h("p", { class: "waiting" }, h("span", { class: "dots", role: "img", "aria-label": "Waiting for the answer" }, h("i"), h("i"), h("i")));
  }
  const text = `Reading ${count(progress.processed)} of ${tokens(progress.total)}`;
  return h("p", { class: "waiting" }, h("progress", { max: progress.total, value: progress.processed, "aria-label": "Prompt read" }), text);
}

/** An error, or why the answer ended where it does. */
function note(message, { isLast, canLeaveOut, nCtx }) {
  if (message.error) {
    const { text, advice, kind } = message.error;
    if (!isLast) return h("p", { class: "note", text: message.content ? text : `${text} The question is not sent again.` });
    const retry = h("button", { type: "button", "data-action": "retry", text: "Try again" });
    const leave = canLeaveOut && kind === "context" && h("button", { type: "button", "data-action": "leave-out", text: "Leave out the oldest messages" });
    return h("div", { class: "note error", role: "alert" }, h("p", {}, h("strong", { text }), advice ? ` ${advice}` : ""), h("div", { class: "buttons" }, leave, retry));
  }
  const text = explainFinish(message, nCtx);
  return text ? h("p", { class: "note", text }) : null;
}

/** The calls of tools, and where they have none yet, fields for their results. */
function callList({ toolCalls }, { running, isLast }) {
  const items = toolCalls.map((call, index) =>
    h(
      "li",
      {},
      h("p", { class: "call" }, icon("tool"), h("strong", { text: call.name })),
      h("pre", { tabindex: "0", dir: "ltr", "aria-label": `Arguments of ${call.name}`, role: "group", text: pretty(call.arguments) }),
      !running && isLast && h("label", {}, "Result", h("textarea", { name: `result-${index}`, rows: 2, required: true })),
    ),
  );
  const button = !running && isLast && h("button", { class: "primary", text: "Send results" });
  return h("form", { class: "calls", "data-form": "results", "aria-label": "Calls of tools" }, h("ul", {}, ...items), button);
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // not complete yet
  }
}
