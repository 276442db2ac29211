// The list of conversations.

import { h, iconButton } from "./dom.js";
import { period } from "./format.js";

const SEARCH_PAUSE = 150; // milliseconds after the last key

export class Sidebar {
  #found = null; // ids that the search has found, or null
  #heads = [];
  #timer = 0;

  /** handlers: {rename(id, title), export(id), remove(id)}. */
  constructor(nav, search, store, handlers) {
    Object.assign(this, { nav, search, store, handlers, current: null, isRunning: () => false });
    search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), SEARCH_PAUSE);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !search.value) return;
      event.stopPropagation();
      search.value = "";
      this.refresh();
    });
  }

  /** Read the list anew. */
  async refresh() {
    const text = this.search.value.trim();
    [this.#heads, this.#found] = await Promise.all([this.store.list(), text ? this.store.search(text) : null]);
    this.draw();
  }

  draw() {
    const shown = this.#found ? this.#heads.filter(({ id }) => this.#found.has(id)) : this.#heads;
    const groups = byPeriod(shown);
    const sections = [...groups].map(([name, heads], index) => {
      const id = `period-${index}`;
      return h("section", { "aria-labelledby": id }, h("h2", { id, text: name }), h("ul", {}, ...heads.map((head) => this.#row(head))));
    });
    const empty = h("p", { class: "hint", text: this.#found ? "Nothing found." : "No conversations yet." });
    const focused = this.nav.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
    this.nav.replaceChildren(...(sections.length ? sections : [empty]));
    if (focused) this.#rowOf(focused)?.querySelector("a")?.focus();
  }

  #row({ id, title }) {
    const isCurrent = id === this.current;
    const link = h("a", { href: `#${id}`, "aria-current": isCurrent ? "page" : null, dir: "auto", title }, title);
    const actions = h(
      "div",
      { class: "row-actions" },
      iconButton("edit", `Rename “${title}”`, { on: { click: () => this.#rename(id, title) } }),
      iconButton("export", `Export “${title}”`, { on: { click: () => this.handlers.export(id) } }),
      iconButton("delete", `Delete “${title}”`, { on: { click: () => this.handlers.remove(id) } }),
    );
    return h("li", { data: { id }, class: this.isRunning(id) ? "running" : null }, link, actions);
  }

  #rowOf(id) {
    return [...this.nav.querySelectorAll("li")].find((row) => row.dataset.id === id);
  }

  #rename(id, title) {
    const row = this.#rowOf(id);
    const input = h("input", { "aria-label": "Title", maxlength: 200, dir: "auto" });
    input.value = title;
    const close = async (isKept, hadFocus = true) => {
      input.removeEventListener("blur", onBlur);
      if (isKept && input.value.trim()) await this.handlers.rename(id, input.value.trim());
      else this.draw();
      if (hadFocus) this.#rowOf(id)?.querySelector("a").focus();
    };
    const onBlur = () => close(true, false);
    input.addEventListener("blur", onBlur);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation();
      if (event.key === "Escape" || (event.key === "Enter" && !event.isComposing)) close(event.key === "Enter");
    });
    row.replaceChildren(input);
    input.select();
  }
}

/** Map.groupBy does this in browsers from 2024 on. */
function byPeriod(heads) {
  const groups = new Map();
  for (const head of heads) {
    const name = period(head.updated);
    groups.set(name, [...(groups.get(name) ?? []), head]);
  }
  return groups;
}
