// Inline Markdown to a tree of plain objects (CommonMark 0.31 and GFM's strikethrough and bare links). No HTML: what
// looks like a tag is text. One pass with a stack of open delimiters, so that time grows linearly with the text.
//
// Nodes: a string; {type: "code" | "math", text}; {type: "strong" | "em" | "del", children};
// {type: "link", href, children} (href "" where the address is not there yet or may not be followed); {type: "break"}.

const MAX_DEPTH = 40; // open delimiters; more are text
const MAX_COMING = 120; // characters after an open bracket for which it may still become a link
const SPECIAL = /[\\`*_~[\]<&!\n]|\$\$|https?:\/\//g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/u;
// What may stand beside a mark that has punctuation on its other side: Chinese, Japanese and Korean set no spaces.
const EDGE = /[\s\p{P}\p{S}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00A0", copy: "©", reg: "®", hellip: "…", mdash: "—", ndash: "–",
  larr: "←", rarr: "→", uarr: "↑", darr: "↓", times: "×", deg: "°", euro: "€", bull: "•", middot: "·", le: "≤", ge: "≥", ne: "≠",
};
const MATH = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };

/** Parse the text of one block. open: it is the end of a text that is still arriving, so that what is not closed yet is
 * shown as if it were, and marks at the very end are left out. */
export function parseInline(text, open = false) {
  return new Inline(text, open).parse();
}

/** The address if it is one that a link may have (http, https, mailto), or "". */
export function safeAddress(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : "";
  } catch {
    return ""; // no address, or a relative one: answers have no place that it could be relative to
  }
}

class Inline {
  constructor(text, open) {
    this.text = text;
    this.open = open;
    this.at = 0;
    this.stack = [{ mark: "", children: [] }]; // the first frame is the block itself
    this.unclosed = new Set(); // lengths of backtick runs, and openers of formulas, that have no partner ahead
  }

  parse() {
    const { text } = this;
    while (this.at < text.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(text);
      const next = found ? found.index : text.length;
      if (next > this.at) this.push(text.slice(this.at, next));
      this.at = next;
      if (found) this.special(found[0]);
    }
    this.close();
    return this.stack[0].children;
  }

  push(node) {
    const { children } = this.stack.at(-1);
    if (typeof node === "string" && typeof children.at(-1) === "string") children[children.length - 1] += node;
    else if (node !== "") children.push(node);
  }

  special(found) {
    const handle = HANDLERS[found];
    if (!handle.call(this, found)) {
      this.push(found);
      this.at += found.length;
    }
  }

  /** Frames from `index` on become text: their marks, and what stood in them. */
  flatten(index) {
    const frames = this.stack.splice(index);
    for (const frame of frames) {
      this.push(frame.mark.repeat(frame.count));
      frame.children.forEach((child) => this.push(child));
    }
  }

  /** The end of the text: frames that are still open are text, or, in an open text, closed here. */
  close() {
    if (!this.open) return this.flatten(1);
    while (this.stack.length > 1) {
      const frame = this.stack.pop();
      if (!frame.children.length) continue;
      if (frame.mark.endsWith("[")) {
        if (this.text.length - frame.at > MAX_COMING) this.push(frame.mark);
        frame.children.forEach((child) => this.push(child));
      } else this.push(emphasis(frame, frame.count));
    }
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "(" || next === "[") return this.math(`\\${next}`) || this.escaped(next);
    if (next === undefined) return this.open && this.skip(1);
    if (next === "\n") {
      this.push({ type: "break" });
      return this.skip(2);
    }
    return /[!-/:-@[-`{-~]/.test(next) && this.escaped(next);
  }

  escaped(next) {
    this.push(next);
    return this.skip(2);
  }

  skip(count) {
    this.at += count;
    return true;
  }

  math(opener) {
    const start = this.at + opener.length;
    let end = this.unclosed.has(opener) ? -1 : this.text.indexOf(MATH[opener], start);
    if (end < 0) this.unclosed.add(opener);
    if (end < 0 && !this.open) return false;
    if (end < 0) end = this.text.length;
    this.push({ type: "math", text: this.text.slice(start, end).trim() });
    this.at = Math.min(end + 2, this.text.length);
    return true;
  }

  code() {
    const fence = /`+/y;
    fence.lastIndex = this.at;
    const { length } = fence.exec(this.text)[0];
    const start = this.at + length;
    let end = this.unclosed.has(length) ? -1 : this.fenceEnd(length, start);
    if (end < 0) {
      this.unclosed.add(length);
      if (!this.open) {
        this.push("`".repeat(length));
        return this.skip(length);
      }
      end = this.text.length;
    }
    const code = this.text.slice(start, end).replaceAll("\n", " ");
    const padded = /^ .* $/.test(code) && code.trim() !== "";
    if (code) this.push({ type: "code", text: padded ? code.slice(1, -1) : code });
    this.at = Math.min(end + length, this.text.length);
    return true;
  }

  fenceEnd(length, start) {
    const runs = /`+/g;
    runs.lastIndex = start;
    for (let run = runs.exec(this.text); run; run = runs.exec(this.text)) if (run[0].length === length) return run.index;
    return -1;
  }

  /** A run of * or _ or ~: closes what it can, opens the rest (CommonMark's rules of flanking and of three). */
  delimiters(mark) {
    const { text, at } = this;
    let count = 1;
    while (text[at + count] === mark) count += 1;
    const before = at ? text[at - 1] : "\n";
    const after = text[at + count] ?? "\n";
    this.at += count;
    if (this.open && this.at === text.length && this.isComing(mark, count)) return true;
    const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || EDGE.test(before));
    const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || EDGE.test(after));
    const canOpen = left && (mark !== "_" || !right || PUNCTUATION.test(before));
    const canClose = right && (mark !== "_" || !left || PUNCTUATION.test(after));
    const total = count;
    if (mark === "~" && count !== 2) return this.literal(mark, count);
    if (canClose) count = this.closeRun(mark, count, total, canOpen);
    if (!count) return true;
    if (!canOpen || this.stack.length > MAX_DEPTH) return this.literal(mark, count);
    this.stack.push({ mark, count, total, canClose, children: [] });
    return true;
  }

  /** At the end of an open text: a run that opens something, or the first half of one that closes. */
  isComing(mark, count) {
    return count < (this.stack.findLast((frame) => frame.mark === mark)?.count ?? Infinity);
  }

  literal(mark, count) {
    this.push(mark.repeat(count));
    return true;
  }

  closeRun(mark, count, total, canOpen) {
    while (count) {
      const index = this.stack.findLastIndex((frame) => {
        const both = frame.canClose || canOpen;
        const three = both && (frame.total + total) % 3 === 0 && !(frame.total % 3 === 0 && total % 3 === 0);
        return frame.mark === mark && !three;
      });
      if (index < 1) return count;
      this.flatten(index + 1);
      const frame = this.stack[index];
      const used = Math.min(frame.count, count, 2);
      const node = emphasis(frame, used);
      frame.count -= used;
      count -= used;
      frame.children = [node];
      if (!frame.count) {
        this.stack.pop();
        this.push(node);
      }
    }
    return 0;
  }

  bracket(mark) {
    if (this.stack.length > MAX_DEPTH) return this.literal(mark, 1) && this.skip(mark.length);
    this.stack.push({ mark, count: 1, total: 1, at: this.at, children: [] });
    return this.skip(mark.length);
  }

  image() {
    return this.text[this.at + 1] === "[" && this.bracket("![");
  }

  /** "]": a link where "(address)" follows, text otherwise. An image is a link too: nothing is loaded from elsewhere. */
  closeBracket() {
    const index = this.stack.findLastIndex((frame) => frame.mark.endsWith("["));
    if (index < 1) return false;
    const target = /\]\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\)){0,2000}))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
    target.lastIndex = this.at;
    const found = target.exec(this.text);
    const coming = !found && this.open && /^\](?:\([^\n)]*)?$/.test(this.text.slice(this.at));
    if (!found && !coming) {
      this.flatten(index);
      return false;
    }
    this.flatten(index + 1);
    const { children } = this.stack.pop();
    const address = found ? (found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1") : "";
    this.push({ type: "link", href: safeAddress(address), children: plainLinks(children.length ? children : [address]) });
    this.at = found ? target.lastIndex : this.text.length;
    return true;
  }

  angle() {
    const tag = /<br\s*\/?>/iy;
    tag.lastIndex = this.at;
    if (tag.test(this.text)) {
      this.push({ type: "break" });
      this.at = tag.lastIndex;
      return true;
    }
    const auto = /<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/y;
    auto.lastIndex = this.at;
    const found = auto.exec(this.text);
    if (!found) return false;
    const address = found[1].includes(":") ? found[1] : `mailto:${found[1]}`;
    this.push({ type: "link", href: safeAddress(address), children: [found[1]] });
    this.at = auto.lastIndex;
    return true;
  }

  entity() {
    const pattern = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,8}));/iy;
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return false;
    const [whole, decimal, hex, name] = found;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    const known = name ? ENTITIES[name] : code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\uFFFD";
    if (known === undefined) return false;
    this.push(known);
    return this.skip(whole.length);
  }

  /** An address without marks around it; punctuation at its end belongs to the sentence. */
  address() {
    if (/[\p{L}\p{N}]/u.test(this.text[this.at - 1] ?? " ")) return false;
    const pattern = /https?:\/\/[^\s<>"`*[\]]+/y;
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found || this.inLink()) return false;
    let address = found[0].replace(/[.,;:!?'_~]+$/, "");
    while (address.endsWith(")") && address.split(")").length > address.split("(").length) address = address.slice(0, -1);
    const href = safeAddress(address);
    if (!href) return false;
    this.push({ type: "link", href, children: [address] });
    return this.skip(address.length);
  }

  inLink() {
    return this.stack.some((frame) => frame.mark === "[");
  }

  newline() {
    const last = this.stack.at(-1).children;
    if (typeof last.at(-1) === "string") last[last.length - 1] = last.at(-1).trimEnd();
    this.push({ type: "break" });
    return this.skip(1);
  }
}

const HANDLERS = {
  "\\": Inline.prototype.escape,
  "`": Inline.prototype.code,
  "*": Inline.prototype.delimiters,
  _: Inline.prototype.delimiters,
  "~": Inline.prototype.delimiters,
  "[": Inline.prototype.bracket,
  "]": Inline.prototype.closeBracket,
  "!": Inline.prototype.image,
  "<": Inline.prototype.angle,
  "&": Inline.prototype.entity,
  "\n": Inline.prototype.newline,
  $$: Inline.prototype.math,
  "http://": Inline.prototype.address,
  "https://": Inline.prototype.address,
};

function emphasis(frame, count) {
  if (frame.mark === "~") return { type: "del", children: frame.children };
  const inner = { type: count === 2 ? "strong" : "em", children: frame.children };
  return count > 2 ? { type: "em", children: [{ type: "strong", children: frame.children }] } : inner;
}

/** A link holds no other link: inner ones become what they show. */
function plainLinks(children) {
  return children.flatMap((child) => {
    if (typeof child === "string") return [child];
    if (child.type === "link") return child.children;
    return child.children ? [{ ...child, children: plainLinks(child.children) }] : [child];
  });
}
