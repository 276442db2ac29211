// Elements without strings of HTML: texts become text nodes, whatever they contain.

const SVG = "http://www.w3.org/2000/svg";

/** An element. props: `text`, `on` (event name to listener), `data`, `class`, or any other attribute; attributes that
 * are null, undefined or false are left out. children: nodes, strings, or nothing. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** One of the icons that index.html defines. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button that shows an icon alone; `label` is its name for screen readers and its tooltip. */
export function iconButton(name, label, props = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...props }, icon(name));
}

export const byId = (id) => document.getElementById(id);

/** Copy a text, and show for a moment on the button that it was done. */
export async function copyFrom(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // no permission, or the page is served over plain HTTP from another machine
  }
  button.dataset.done = "";
  setTimeout(() => delete button.dataset.done, 1500);
}

function copyBySelection(text) {
  const area = h("textarea", { class: "visually-hidden", readonly: true });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}

/** Offer a text as a file. */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
