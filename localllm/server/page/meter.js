// How much of the context is used.

import { usedTokens } from "./answer.js";
import { h } from "./dom.js";
import { count } from "./format.js";

export class Meter {
  constructor(element) {
    this.element = element;
    this.bar = h("progress", { max: 1, value: 0, "aria-hidden": "true" });
    this.text = h("span");
    element.append(this.text, this.bar);
  }

  show({ messages }, nCtx) {
    const last = messages.findLast((message) => message.role === "assistant" && usedTokens(message));
    const used = last ? usedTokens(last) : 0;
    this.element.hidden = !nCtx && !used;
    this.bar.hidden = !nCtx;
    const share = nCtx ? used / nCtx : 0;
    this.bar.value = share;
    this.element.classList.toggle("high", share > 0.85);
    this.text.textContent = nCtx ? `${count(Math.max(0, nCtx - used))} of ${count(nCtx)} tokens left` : `${count(used)} tokens`;
  }
}
