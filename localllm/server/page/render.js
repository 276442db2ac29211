// Trees of Markdown to the page. What is on the page already is changed as little as possible, so that nothing flickers
// while an answer arrives, and what the reader has selected stays selected.

import { highlight } from "./highlight.js";
import { MarkdownStream } from "./markdown.js";

/** Markdown in an element, as it grows. */
export class MarkdownView {
  #stream = new MarkdownStream();
  #shown = [];
  #nodes = new WeakMap(); // node of Markdown -> what it is on the page: complete blocks are not made again
  #topLevel = 0; // of the first heading, which is put right below the page's own two levels

  constructor(element) {
    this.element = element;
  }

  update(text, open) {
    const next = this.#stream.update(text, open).map((block) => this.#virtual(block));
    patch(this.element, this.#shown, next);
    this.#shown = next;
  }

  #virtual(block) {
    if (!this.#nodes.has(block)) this.#nodes.set(block, block.type === "heading" ? this.#heading(block) : virtual(block));
    return this.#nodes.get(block);
  }

  #heading(block) {
    this.#topLevel ||= block.level;
    return heading(block, block.level - this.#topLevel);
  }
}

/** Bring the children of `parent` from one list of virtual nodes to another. A virtual node is a text or {tag, attrs,
 * children}; each is one node of the page. */
export function patch(parent, before, after) {
  const common = Math.min(before.length, after.length);
  for (let index = 0; index < common; index += 1) {
    if (before[index] !== after[index]) patchNode(parent.childNodes[index], before[index], after[index]);
  }
  while (parent.childNodes.length > after.length) parent.lastChild.remove();
  parent.append(...after.slice(common).map(create));
}

function patchNode(node, before, after) {
  if (typeof before === "string" && typeof after === "string") {
    if (after.startsWith(before)) node.appendData(after.slice(before.length));
    else node.data = after;
  } else if (typeof before === "string" || typeof after === "string" || before.tag !== after.tag) {
    node.replaceWith(create(after));
  } else {
    for (const name of Object.keys(before.attrs)) if (!(name in after.attrs)) node.removeAttribute(name);
    for (const [name, value] of Object.entries(after.attrs)) if (before.attrs[name] !== value) node.setAttribute(name, value);
    patch(node, before.children, after.children);
  }
}

function create(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const element = document.createElement(node.tag);
  for (const [name, value] of Object.entries(node.attrs)) element.setAttribute(name, value);
  element.append(...node.children.map(create));
  return element;
}

const v = (tag, attrs, ...children) => ({ tag, attrs, children });
const all = (nodes) => nodes.map(virtual);
const AUTO = { dir: "auto" };

function virtual(node) {
  return typeof node === "string" ? node : VIRTUAL[node.type](node);
}

function heading(node, depth) {
  const tag = `h${Math.min(Math.max(depth, 0) + 3, 6)}`;
  return v(tag, { ...AUTO, class: `level-${node.level}` }, ...all(node.children));
}

const VIRTUAL = {
  paragraph: (node) => v("p", AUTO, ...all(node.children)),
  heading: (node) => heading(node, node.level), // within a quote or an item
  quote: (node) => v("blockquote", AUTO, ...all(node.children)),
  rule: () => v("hr", {}),
  list,
  table,
  code: (node) => (node.language === undefined ? v("code", {}, node.text) : codeBlock(node)),
  math: (node) => v("code", { class: "math" }, node.text),
  strong: (node) => v("strong", {}, ...all(node.children)),
  em: (node) => v("em", {}, ...all(node.children)),
  del: (node) => v("del", {}, ...all(node.children)),
  break: () => v("br", {}),
  link: (node) => (node.href ? v("a", { href: node.href, ...LINK }, ...all(node.children)) : v("span", {}, ...all(node.children))),
};

const LINK = { target: "_blank", rel: "noopener noreferrer nofollow" };

function list(node) {
  const attrs = { ...AUTO, ...(node.tight ? { class: "tight" } : {}), ...(node.ordered && node.start !== 1 ? { start: node.start } : {}) };
  return v(node.ordered ? "ol" : "ul", attrs, ...node.items.map(item));
}

function item({ checked, children }) {
  if (checked === null) return v("li", {}, ...all(children));
  const box = v("input", { type: "checkbox", disabled: "", "aria-label": checked ? "done" : "to do", ...(checked ? { checked: "" } : {}) });
  return v("li", { class: "task" }, box, v("div", {}, ...all(children)));
}

function table(node) {
  const cell = (tag) => (children, column) =>
    v(tag, { ...AUTO, ...(node.align[column] ? { class: node.align[column] } : {}), ...(tag === "th" ? { scope: "col" } : {}) }, ...all(children));
  const head = v("thead", {}, v("tr", {}, ...node.head.map(cell("th"))));
  const body = v("tbody", {}, ...node.rows.map((row) => v("tr", {}, ...row.map(cell("td")))));
  return v("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, v("table", {}, head, body));
}

function codeBlock({ language, text }) {
  const button = v("button", { type: "button", class: "copy", "data-action": "copy-code", "aria-label": "Copy code" }, "Copy");
  const head = v("figcaption", {}, v("span", {}, language || "text"), button);
  const label = `Code${language ? ` in ${language}` : ""}`;
  const body = v("pre", { tabindex: "0", role: "group", "aria-label": label, dir: "ltr" }, v("code", {}, ...highlight(text, language).map(part)));
  return v("figure", { class: "code" }, head, body);
}

function part([kind, text]) {
  return kind ? v("span", { class: `code-${kind}` }, text) : text;
}
