// Where messages are written.

import { byId } from "./dom.js";

const GROWS = CSS.supports("field-sizing", "content"); // by itself, as style.css has it
const DRAFT = "localllm.draft";
const MAX_ROWS = 12;

export class Composer {
  #drafts = new Map(); // id of a conversation -> what was written but not sent

  /** handlers: {send(text), stop(), editLast() -> whether there was one}. */
  constructor(form, handlers) {
    this.form = form;
    this.area = form.querySelector("textarea");
    this.button = byId("send");
    this.handlers = handlers;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#act();
    });
    this.area.addEventListener("keydown", (event) => this.#key(event));
    this.area.addEventListener("input", () => this.#show());
    this.isTouch = matchMedia("(pointer: coarse)");
  }

  /** Whether an answer is arriving: the button stops it then. */
  set running(value) {
    this.isRunning = value;
    this.#show();
  }

  #show() {
    const { isRunning, button } = this;
    button.classList.toggle("stop", Boolean(isRunning));
    button.setAttribute("aria-label", isRunning ? "Stop (Esc)" : "Send");
    button.title = isRunning ? "Stop (Esc)" : "Send (Enter)";
    // Not `disabled`: that would take the focus away from who has just pressed it.
    button.setAttribute("aria-disabled", String(!isRunning && !this.area.value.trim()));
    if (!GROWS) this.area.rows = Math.min(MAX_ROWS, this.area.value.split("\n").length);
  }

  #act() {
    if (this.isRunning) return this.handlers.stop();
    const text = this.area.value.trim();
    if (!text) return undefined;
    this.area.value = "";
    return this.handlers.send(text);
  }

  #key(event) {
    const { area } = this;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !this.isTouch.matches) {
      event.preventDefault();
      if (!this.isRunning) this.#act();
    }
    if (event.key === "ArrowUp" && area.value === "" && this.handlers.editLast()) event.preventDefault();
  }

  /** Keep what is written for one conversation, and show what was written for another. */
  change(from, to) {
    if (from) this.#drafts.set(from, this.area.value);
    this.area.value = this.#drafts.get(to) ?? "";
    this.#show();
  }

  /** Keep what is written while the page is loaded anew. */
  keep() {
    sessionStorage.setItem(DRAFT, JSON.stringify([location.hash, this.area.value]));
  }

  restore() {
    const [place, text] = JSON.parse(sessionStorage.getItem(DRAFT) ?? "[]");
    sessionStorage.removeItem(DRAFT);
    if (place !== location.hash || this.area.value) return;
    this.area.value = text;
    this.#show();
  }

  focus() {
    if (!this.isTouch.matches) this.area.focus(); // a touch screen would show its keyboard
  }
}
