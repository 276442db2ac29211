// How likely each token of an answer was: coloured, with the alternatives for the one that is pointed at.

import { h } from "./dom.js";

const STEPS = [0.9, 0.7, 0.5, 0.3, 0.1]; // probabilities that part the classes p0 (sure) to p5 (a surprise)

/** An element with a token after the other. Arrow keys go from one to the next. */
export function probabilityList(logprobs) {
  const list = h("div", { class: "tokens", role: "group", "aria-label": "Tokens by probability: arrow keys go from one to the next", dir: "auto" });
  const details = h("div", { class: "alternatives", role: "status" });
  list.append(...logprobs.map(([text, logprob], index) => token(text, logprob, index)));
  const show = ({ target }) => {
    const index = target.closest("[data-index]")?.dataset.index;
    if (index !== undefined) details.replaceChildren(alternatives(logprobs[index]));
    for (const each of list.querySelectorAll(".shown")) each.classList.remove("shown");
    target.closest("[data-index]")?.classList.add("shown");
  };
  list.addEventListener("pointerover", show);
  list.addEventListener("focusin", show);
  list.addEventListener("keydown", move);
  details.append(h("p", { class: "hint", text: "Point at a token to see what else might have stood there." }));
  return h("div", { class: "probabilities" }, legend(), list, details);
}

function token(text, logprob, index) {
  const level = STEPS.findIndex((step) => Math.exp(logprob) >= step);
  const label = `${visible(text)}, ${percent(logprob)}`;
  const props = { class: `token p${level < 0 ? STEPS.length : level}`, role: "button", tabindex: index ? "-1" : "0", "aria-label": label, "data-index": String(index), text };
  return h("span", props);
}

function move(event) {
  const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = step && event.target[step];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** The chosen token and the likeliest ones, with bars. */
function alternatives([text, logprob, top]) {
  const others = top.some(([each]) => each === text) ? top : [[text, logprob], ...top];
  const rows = others.map(([each, value]) => {
    const bar = h("progress", { max: "1", value: String(Math.exp(value)), "aria-hidden": "true" });
    return h("tr", { class: each === text ? "chosen" : null }, h("th", { scope: "row" }, h("code", { text: visible(each) })), h("td", {}, bar), h("td", { text: percent(value) }));
  });
  return h("table", {}, h("caption", { class: "visually-hidden", text: "Alternatives" }), h("tbody", {}, ...rows));
}

function legend() {
  const steps = ["> 90 %", "> 70 %", "> 50 %", "> 30 %", "> 10 %", "less"];
  return h("p", { class: "legend" }, ...steps.map((text, index) => h("span", { class: `token p${index}`, text })));
}

const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";

function percent(logprob) {
  const value = 100 * Math.exp(logprob);
  return `${value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(1) : "< 0.1"} %`;
}
