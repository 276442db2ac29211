// Blocks of Markdown to a tree of plain objects: CommonMark and GFM as language models write them. Indented code and
// HTML blocks are left out: models mean neither. Nested lists may be indented by two characters under any marker.
//
// Nodes: {type: "paragraph", children}; {type: "heading", level, children}; {type: "code", language, text};
// {type: "math", text}; {type: "quote", children}; {type: "rule"};
// {type: "list", ordered, start, tight, items: [{checked: true | false | null, children}]};
// {type: "table", align: ["left" | "center" | "right" | ""], head: [children], rows: [[children]]}.

import { parseInline } from "./inline.js";

const MAX_DEPTH = 16; // quotes and lists within each other; deeper ones are paragraphs
const FENCE = /^\s*(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^\s{0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^\s{0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^\s{0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:([ \t]+)(\S.*)?)?$/;
const MATH = /^\s*(\$\$|\\\[)\s*$/;
const MATH_END = { $$: /\$\$\s*$/, "\\[": /\\\]\s*$/ };
const TASK = /^\[([ xX])\][ \t]+/;
// A last line that consists of marks alone: what they mean is not known before more of it has arrived.
const MARKS = /^[\s>]*(?:[-*+=_]+|#{1,6}|`+|~+|\d{1,9}[.)]?|\||[-*+]\s+\[[ xX]?\]?)?\s*$/;

/** Parse a whole text. open: more of it is still arriving. */
export function parseMarkdown(text, open = false) {
  return parseBlocks(linesOf(text, open), open, 0);
}

/** A text that grows at its end: only its last block is parsed anew, and the nodes of the others stay the same objects. */
export class MarkdownStream {
  #text = "";
  #done = [];
  #doneLength = 0;

  /** The nodes of `text`. open: more of it is still arriving. */
  update(text, open) {
    if (!text.startsWith(this.#text)) {
      this.#done = [];
      this.#doneLength = 0;
    }
    this.#text = text;
    const rest = text.slice(this.#doneLength);
    const lines = linesOf(rest, open);
    const nodes = parseBlocks(lines, open, 0);
    if (nodes.length > 1) {
      const { line } = nodes.at(-1);
      this.#doneLength += lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0);
      this.#done.push(...nodes.slice(0, -1));
      return [...this.#done, nodes.at(-1)];
    }
    return [...this.#done, ...nodes];
  }
}

function linesOf(text, open) {
  const lines = text.split("\n");
  if (open && MARKS.test(lines.at(-1))) lines[lines.length - 1] = "";
  return lines;
}

function parseBlocks(lines, open, depth) {
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [node, next] = BLOCKS.map((block) => block(lines, at, open, depth)).find(Boolean) ?? paragraph(lines, at, open);
    nodes.push({ ...node, line: at });
    at = next;
  }
  return nodes;
}

// Each of these takes the lines and the number of one, and gives [node, number of the line after it], or nothing.
// Only the first that fits is used, so that they are cheap where they do not.
const BLOCKS = [fence, math, heading, rule, quote, list, table];

function fence(lines, at) {
  const found = FENCE.exec(lines[at]);
  if (!found) return null;
  const [, mark, info] = found;
  const indent = indentOf(lines[at]);
  const end = new RegExp(`^\\s*${mark[0]}{${mark.length},}\\s*$`);
  let last = at + 1;
  while (last < lines.length && !end.test(lines[last])) last += 1;
  const text = lines.slice(at + 1, last).map((line) => line.slice(Math.min(indent, indentOf(line))));
  return [{ type: "code", language: info.trim().split(/\s+/)[0], text: text.join("\n").replace(/\n$/, "") }, last + 1];
}

function math(lines, at) {
  const found = MATH.exec(lines[at]);
  if (!found) return null;
  let last = at + 1;
  while (last < lines.length && !MATH_END[found[1]].test(lines[last])) last += 1;
  const text = lines.slice(at + 1, last + 1).join("\n").replace(MATH_END[found[1]], "");
  return [{ type: "math", text: text.trim() }, last + 1];
}

function heading(lines, at, open) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const text = (found[2] ?? "").trim().replace(/(^|\s)#+$/, "").trim();
  return [{ type: "heading", level: found[1].length, children: parseInline(text, isLast(lines, at, open)) }, at + 1];
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? [{ type: "rule" }, at + 1] : null;
}

function quote(lines, at, open, depth) {
  if (!QUOTE.test(lines[at]) || depth >= MAX_DEPTH) return null;
  let last = at;
  const inner = [];
  while (last < lines.length && (QUOTE.test(lines[last]) || isLazy(lines, last))) {
    inner.push(lines[last].replace(QUOTE, ""));
    last += 1;
  }
  return [{ type: "quote", children: parseBlocks(inner, open && last >= lines.length, depth + 1) }, last];
}

/** A line that goes on with a paragraph of the quote or the item above it, though it lacks their mark or indentation. */
function isLazy(lines, at) {
  if (isBlank(lines[at]) || isBlank(lines[at - 1])) return false;
  return !startsBlock(lines, at) && !ITEM.test(lines[at]) && !FENCE.test(lines[at - 1]);
}

function list(lines, at, open, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first || depth >= MAX_DEPTH) return null;
  const node = { type: "list", ordered: /\d/.test(first[2]), start: Number.parseInt(first[2], 10) || 0, tight: true, items: [] };
  const indent = width(first[1]);
  let next = at;
  for (let found = first; found; ) {
    const [inner, after, loose] = itemLines(lines, next, found);
    const task = TASK.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    const children = parseBlocks(inner, open && after >= lines.length, depth + 1);
    node.items.push({ checked: task ? task[1] !== " " : null, children });
    next = after;
    while (next < lines.length && isBlank(lines[next])) next += 1;
    found = next < lines.length && !RULE.test(lines[next]) ? ITEM.exec(lines[next]) : null;
    if (found && (found[2].at(-1) !== first[2].at(-1) || width(found[1]) >= indent + 2)) found = null;
    if (loose || (found && next > after)) node.tight = false;
  }
  return [node, next];
}

/** The lines of an item, without its indentation; the number of the line after it; whether blank lines part its blocks. */
function itemLines(lines, at, [, space, mark, gap = " ", text = ""]) {
  const own = width(space);
  const content = own + mark.length + Math.min(width(gap), 4);
  const inner = [text];
  let loose = false;
  let next = at + 1;
  let fenced = FENCE.test(text);
  while (next < lines.length) {
    if (isBlank(lines[next])) {
      let after = next + 1;
      while (after < lines.length && isBlank(lines[after])) after += 1;
      if (after === lines.length || !belongs(lines[after], own, content)) break;
      inner.push(...lines.slice(next, after).map(() => ""));
      loose ||= !fenced && !ITEM.test(lines[after]);
      next = after;
      continue;
    }
    if (!belongs(lines[next], own, content) && (fenced || !isLazy(lines, next))) break;
    const line = lines[next].slice(cut(lines[next], content));
    if (FENCE.test(line)) fenced = !fenced;
    inner.push(line);
    next += 1;
  }
  return [inner, next, loose];
}

function belongs(line, own, content) {
  const indent = indentOf(line);
  return indent >= content || (indent >= own + 2 && (ITEM.test(line) || FENCE.test(line)));
}

function table(lines, at, open) {
  if (!lines[at].includes("|")) return null;
  const head = cells(lines[at]);
  const coming = open && lines[at].trimStart().startsWith("|") && isPartialHead(lines, at);
  const align = coming ? head.map(() => "") : alignment(lines[at + 1], head.length);
  if (!align) return null;
  let last = at + 2;
  const rows = [];
  while (last < lines.length && !isBlank(lines[last]) && !startsBlock(lines, last)) {
    const row = cells(lines[last]);
    const isEnd = isLast(lines, last, open);
    rows.push(head.map((_, column) => parseInline(row[column] ?? "", isEnd && column === row.length - 1)));
    last += 1;
  }
  return [{ type: "table", align, head: head.map((cell) => parseInline(cell, coming)), rows }, Math.min(last, lines.length)];
}

/** The first line of a table, whose second line is not there yet or not complete. */
function isPartialHead(lines, at) {
  return lines.length <= at + 2 && /^[\s|:-]*$/.test(lines[at + 1] ?? "");
}

function alignment(line, count) {
  if (line === undefined || !line.includes("-") || !/^[\s|:-]+$/.test(line)) return null;
  const parts = cells(line);
  if (parts.length !== count || !parts.every((part) => /^:?-+:?$/.test(part))) return null;
  return parts.map((part) => (part.endsWith(":") ? (part.startsWith(":") ? "center" : "right") : part.startsWith(":") ? "left" : ""));
}

/** The cells of a row. A bar in inline code or after a backslash is part of a cell. */
function cells(line) {
  const row = line.trim().replace(/^\|/, "");
  const parts = [""];
  for (const [piece] of row.matchAll(/\\\||`+[^`]*`+|\||[^|\\`]+|[\\`]/g)) {
    if (piece === "|") parts.push("");
    else parts[parts.length - 1] += piece === "\\|" ? "|" : piece;
  }
  if (parts.length > 1 && parts.at(-1).trim() === "") parts.pop();
  return parts.map((part) => part.trim());
}

function paragraph(lines, at, open) {
  let last = at + 1;
  while (last < lines.length && !isBlank(lines[last]) && !startsBlock(lines, last) && !underline(lines, at, last)) last += 1;
  const text = lines.slice(at, last).map((line) => line.trim()).join("\n");
  const level = last < lines.length ? underline(lines, at, last) : 0;
  if (level) return [{ type: "heading", level, children: parseInline(text) }, last + 1];
  return [{ type: "paragraph", children: parseInline(text, open && last >= lines.length) }, last];
}

/** The level of the heading that a line under a paragraph of one line makes of it, or 0. */
function underline(lines, at, last) {
  if (last !== at + 1) return 0;
  if (/^\s{0,3}=+\s*$/.test(lines[last])) return 1;
  return /^\s{0,3}-{2,}\s*$/.test(lines[last]) ? 2 : 0;
}

function startsBlock(lines, at) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || MATH.test(line)) return true;
  if (RULE.test(line)) return !/^\s{0,3}-+\s*$/.test(line) || at < 1 || isBlank(lines[at - 1]) || !underline(lines, at - 1, at);
  const item = ITEM.exec(line);
  if (item?.[4] !== undefined) return !/\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1;
  return line.includes("|") && alignment(lines[at + 1], cells(line).length) !== null;
}

function isLast(lines, at, open) {
  return open && at >= lines.length - 1;
}

function isBlank(line) {
  return line.trim() === "";
}

function indentOf(line) {
  return width(/^\s*/.exec(line)[0]);
}

/** Columns of white space; a tab reaches to the next multiple of four. */
function width(space) {
  let columns = 0;
  for (const each of space) columns = each === "\t" ? columns - (columns % 4) + 4 : columns + 1;
  return columns;
}

/** How many characters of white space at the start of a line make up at most `columns` columns. */
function cut(line, columns) {
  let count = 0;
  while (count < line.length && /\s/.test(line[count]) && width(line.slice(0, count + 1)) <= columns) count += 1;
  return count;
}
