// The messages of the conversation that is shown.

import { canLeaveOut, cutFrom } from "./conversation.js";
import { copyFrom, h } from "./dom.js";
import { MessageView } from "./message.js";
import { isUnanswered as isUnansweredAt } from "./request.js";

const FIRST_SHOWN = 60; // messages of a long conversation that are put on the page at once
const NEAR = 48; // pixels from the end within which the page follows the answer

export class Thread {
  #views = [];
  #follows = true;
  #lastTop = 0;
  #isDue = false;
  #cost = 0; // milliseconds that the last message takes

  /** element: scrolls; list: holds the messages. handlers: {send(text, index), regenerate, continue, leaveOut, results}. */
  constructor(element, list, jump, handlers) {
    Object.assign(this, { element, list, jump, handlers, conversation: null, state: {} });
    element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.follow());
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("submit", (event) => this.#submitted(event));
  }

  /** Show a conversation. state: {run: of it or undefined, nCtx}. */
  show(conversation, state) {
    this.conversation = conversation;
    this.state = state;
    this.#views = [];
    const hidden = Math.max(0, conversation.messages.length - FIRST_SHOWN);
    this.list.replaceChildren();
    if (hidden) this.list.append(this.#earlier(hidden));
    this.#append(hidden);
    this.follow();
  }

  /** New messages at the end, or new states of those that are there. */
  refresh(state) {
    this.state = state;
    this.#append(this.#firstShown + this.#views.length);
  }

  get #firstShown() {
    return this.#views.length ? this.conversation.messages.indexOf(this.#views[0].message) : Math.max(0, this.conversation.messages.length - FIRST_SHOWN);
  }

  #append(first) {
    const fresh = this.conversation.messages.slice(first).map((message) => new MessageView(message));
    this.#views.push(...fresh);
    this.list.append(...fresh.map((view) => view.element));
    this.#views.forEach((view) => view.update(this.#stateOf(view)));
    this.#divide();
    this.#keepAtEnd();
  }

  #stateOf(view) {
    const { run, nCtx } = this.state;
    const { messages, model } = this.conversation;
    const index = messages.indexOf(view.message);
    const isLast = index === messages.length - 1;
    const isUnanswered = index < messages.length - 2 && isUnansweredAt(messages, index);
    const running = run?.message === view.message;
    return { running, run, isLast, isUnanswered, canLeaveOut: canLeaveOut(this.conversation), nCtx, model };
  }

  #earlier(hidden) {
    const button = h("button", { type: "button", class: "earlier", text: `Show ${hidden} earlier messages` });
    button.addEventListener("click", () => {
      const views = this.conversation.messages.slice(0, hidden).map((message) => new MessageView(message));
      const height = this.element.scrollHeight;
      button.replaceWith(...views.map((view) => view.element));
      this.#views.unshift(...views);
      views.forEach((view) => view.update(this.#stateOf(view)));
      this.#divide();
      this.element.scrollTop += this.element.scrollHeight - height;
      this.list.querySelector("[data-action]")?.focus({ preventScroll: true });
    });
    return button;
  }

  /** A line above the first message that is sent, where older ones are left out. */
  #divide() {
    this.list.querySelector(".divider")?.remove();
    const { from = 0, messages } = this.conversation;
    const view = from > 0 && this.#views.find(({ message }) => message === messages[from]);
    if (view) view.element.before(h("p", { class: "divider", text: "Messages above are not sent to the model." }));
  }

  /** The last message has grown: it alone is drawn anew, once a frame, and less often where that takes long. */
  grow() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => requestAnimationFrame(() => this.#drawLast()), this.#cost > 8 ? 3 * this.#cost : 0);
  }

  #drawLast() {
    this.#isDue = false;
    const view = this.#views.at(-1);
    if (!view) return;
    const begun = performance.now();
    view.update(this.#stateOf(view));
    this.#keepAtEnd();
    this.#cost = performance.now() - begun;
  }

  follow() {
    this.#follows = true;
    this.#keepAtEnd();
  }

  #keepAtEnd() {
    if (this.#follows) this.element.scrollTop = this.element.scrollHeight;
    this.#lastTop = this.element.scrollTop;
    this.#showJump();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    if (scrollTop < this.#lastTop - 1) this.#follows = false;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#follows = true;
    this.#lastTop = scrollTop;
    this.#showJump();
  }

  #showJump() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    this.jump.hidden = this.#follows || scrollHeight - scrollTop - clientHeight < NEAR;
  }

  #clicked(event) {
    const button = event.target.closest("[data-action]");
    if (!button) return;
    const view = this.#views.find(({ element }) => element.contains(button));
    CLICKS[button.dataset.action]?.call(this, view, button);
  }

  #submitted(event) {
    const form = event.target.closest("[data-form=results]");
    if (!form) return;
    event.preventDefault();
    this.handlers.results([...form.querySelectorAll("textarea")].map((area) => area.value));
  }

  edit(view) {
    const index = this.conversation.messages.indexOf(view.message);
    const send = (text) => {
      this.cut(index);
      this.handlers.send(text);
    };
    view.edit(send, this.conversation.messages.length - index - 1);
  }

  /** Edit the last message of the user. */
  editLast() {
    const view = this.#views.findLast(({ message }) => message.role === "user");
    if (view && !this.state.run) this.edit(view);
    return Boolean(view);
  }

  /** Remove the messages from `index` on, from the conversation and from the page. */
  cut(index) {
    const kept = Math.max(0, index - this.#firstShown);
    cutFrom(this.conversation, index);
    this.#views.splice(kept).forEach((view) => view.element.remove());
  }

  get last() {
    return this.#views.at(-1);
  }
}

const CLICKS = {
  "copy-code": (_, button) => copyFrom(button, button.closest("figure").querySelector("pre").textContent),
  copy: (view, button) => view.copy(button),
  probabilities: (view) => view.toggleProbabilities(),
  edit(view) {
    if (!this.state.run) this.edit(view);
  },
  regenerate() {
    this.handlers.regenerate();
  },
  retry() {
    this.handlers.regenerate();
  },
  continue() {
    this.handlers.continue();
  },
  "leave-out"() {
    this.handlers.leaveOut();
  },
};
