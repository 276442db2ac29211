import assert from "node:assert/strict";
import { test } from "node:test";

import { parseInline, safeAddress } from "../../../../localllm/server/page/inline.js";
import { MarkdownStream, parseMarkdown } from "../../../../localllm/server/page/markdown.js";

/** A short notation of trees: names of nodes in lower case, children in parentheses. */
function show(nodes) {
  return nodes.map(one).join("");
}

const SHOWN = {
  code: (node) => (node.language === undefined ? `code(${node.text})` : `pre:${node.language}(${node.text})`),
  math: (node) => `math(${node.text})`,
  break: () => "/",
  rule: () => "hr",
  link: (node) => `a<${node.href}>(${show(node.children)})`,
  paragraph: (node) => `p(${show(node.children)})`,
  heading: (node) => `h${node.level}(${show(node.children)})`,
  quote: (node) => `quote(${show(node.children)})`,
  list: (node) =>
    `${node.ordered ? `ol${node.start}` : "ul"}${node.tight ? "" : "!"}(${node.items
      .map((item) => `${item.checked === null ? "" : item.checked ? "[x]" : "[ ]"}{${show(item.children)}}`)
      .join("")})`,
  table: (node) =>
    `table[${node.align.map((each) => each || "-")}](${[node.head, ...node.rows].map((row) => row.map(show).join("|")).join(";")})`,
};

function one(node) {
  if (typeof node === "string") return node;
  return SHOWN[node.type]?.(node) ?? `${node.type}(${show(node.children)})`;
}

const INLINE = [
  ["plain", "plain"],
  ["a *b* c", "a em(b) c"],
  ["a **b** c", "a strong(b) c"],
  ["***b***", "em(strong(b))"],
  ["**a *b* c**", "strong(a em(b) c)"],
  ["*a **b** c*", "em(a strong(b) c)"],
  ["*a**b**c*", "em(astrong(b)c)"],
  ["snake_case_name", "snake_case_name"],
  ["_a_ __b__", "em(a) strong(b)"],
  ["2 * 3 * 4", "2 * 3 * 4"],
  ["2*3*4", "2em(3)4"],
  ["~~gone~~ ~kept~", "del(gone) ~kept~"],
  ["*open", "*open"],
  ["**a*", "*em(a)"],
  ["`a*b*`", "code(a*b*)"],
  ["`` a`b ``", "code(a`b)"],
  ["`open", "`open"],
  ["\\*a\\*", "*a*"],
  ["\\(x_1 * y\\)", "math(x_1 * y)"],
  ["$$x_1$$", "math(x_1)"],
  ["costs $5 or $6", "costs $5 or $6"],
  ["[t](https://a.b/c)", "a<https://a.b/c>(t)"],
  ["[t](https://a.b/c_(d) \"title\")", "a<https://a.b/c_(d)>(t)"],
  ["[**t**](<https://a.b/c d>)", "a<https://a.b/c%20d>(strong(t))"],
  ["[t](javascript:alert(1))", "a<>(t)"],
  ["[t](JaVa\tscript:alert(1))", "[t](JaVa\tscript:alert(1))"],
  ["[t](data:text/html,x)", "a<>(t)"],
  ["[t](//evil.example/x)", "a<>(t)"],
  ["[t](/v1/models)", "a<>(t)"],
  ["[1] [a b]", "[1] [a b]"],
  ["![alt](https://a.b/i.png)", "a<https://a.b/i.png>(alt)"],
  ["[![alt](https://a.b/i.png)](https://c.d/)", "a<https://c.d/>(alt)"],
  ["<https://a.b/>", "a<https://a.b/>(https://a.b/)"],
  ["<me@a.b>", "a<mailto:me@a.b>(me@a.b)"],
  ["see https://a.b/c_d, or (https://e.f/g).", "see a<https://a.b/c_d>(https://a.b/c_d), or (a<https://e.f/g>(https://e.f/g))."],
  ["<script>alert(1)</script>", "<script>alert(1)</script>"],
  ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
  ["a<br>b", "a/b"],
  ["a\nb", "a/b"],
  ["a &amp; b &lt;i&gt; &#65; &#x42; &nothing; &", "a & b <i> A B &nothing; &"],
  ["他说**“你好”**吗", "他说strong(“你好”)吗"],
  ["これは**「重要」**です", "これはstrong(「重要」)です"],
  ["a**\"b\"**c", "a**\"b\"**c"],
  ["**Note:** text", "strong(Note:) text"],
  ["שלום **עולם**", "שלום strong(עולם)"],
];

const OPEN = [
  ["a **bo", "a strong(bo)"],
  ["a **bo*", "a strong(bo)"],
  ["a *", "a "],
  ["a **", "a "],
  ["**a** *b", "strong(a) em(b)"],
  ["`co", "code(co)"],
  ["a `", "a "],
  ["[te", "te"],
  ["[text](htt", "a<>(text)"],
  ["[text]", "a<>(text)"],
  ["\\(x", "math(x)"],
  ["a \\", "a "],
  ["***b", "em(strong(b))"],
];

const BLOCKS = [
  ["a\n\nb", "p(a)p(b)"],
  ["# A\n## B ##\ntext", "h1(A)h2(B)p(text)"],
  ["#hashtag", "p(#hashtag)"],
  ["A\n===\nB\n---\nc", "h1(A)h2(B)p(c)"],
  ["a\n\n---\n\nb\n\n***", "p(a)hrp(b)hr"],
  ["```py\nx = 1\n\n# y\n```\nend", "pre:py(x = 1\n\n# y)p(end)"],
  ["```\n<script>\n", "pre:(<script>)"],
  ["~~~~\n~~~\n~~~~", "pre:(~~~)"],
  ["> a\n> > b\n> c", "quote(p(a)quote(p(b/c)))"],
  ["> a\nlazy\n\nb", "quote(p(a/lazy))p(b)"],
  ["- a\n- b\n  - c\n    - d\n- e", "ul({p(a)}{p(b)ul({p(c)ul({p(d)})})}{p(e)})"],
  ["1. a\n  - b\n2. c\n    - d", "ol1({p(a)ul({p(b)})}{p(c)ul({p(d)})})"],
  ["1) a\n2) b", "ol1({p(a)}{p(b)})"],
  ["1. **A**:\n   text\n\n2. **B**", "ol1!({p(strong(A):/text)}{p(strong(B))})"],
  ["3. a\n4. b", "ol3({p(a)}{p(b)})"],
  ["- a\n\n- b", "ul!({p(a)}{p(b)})"],
  ["1. a\n\n   ```sh\n   x\n\n   y\n   ```\n\n2. b", "ol1!({p(a)pre:sh(x\n\ny)}{p(b)})"],
  ["1. a\n```sh\nx\n```\n2. b", "ol1({p(a)})pre:sh(x)ol2({p(b)})"],
  ["- [ ] a\n- [x] b", "ul([ ]{p(a)}[x]{p(b)})"],
  ["text\n- a\n- b", "p(text)ul({p(a)}{p(b)})"],
  ["in\n1986. A year", "p(in/1986. A year)"],
  ["* a\n+ b", "ul({p(a)})ul({p(b)})"],
  ["-\n- a", "ul({}{p(a)})"],
  ["- a\nlazy", "ul({p(a/lazy)})"],
  ["- a\n\nb", "ul({p(a)})p(b)"],
  ["| a | b |\n|---|:-:|\n| 1 | **2** |\n| 3 |", "table[-,center](a|b;1|strong(2);3|)"],
  ["a | b\n--|--:\n`x|y` | \\|", "table[-,right](a|b;code(x|y)||)"],
  ["| a | b |\nno table", "p(| a | b |/no table)"],
  ["$$\nx_1\n- y\n$$\nz", "math(x_1\n- y)p(z)"],
  ["\\[\nx\n\\]", "math(x)"],
  ["    not code", "p(not code)"],
  ["<div onclick=x>\n\n<b>", "p(<div onclick=x>)p(<b>)"],
];

const OPEN_BLOCKS = [
  ["Items:\n-", "p(Items:)"],
  ["Items:\n- a\n-", "p(Items:)ul({p(a)})"],
  ["Title\n=", "p(Title)"],
  ["a\n\n#", "p(a)"],
  ["a\n\n1", "p(a)"],
  ["a\n\n``", "p(a)"],
  ["```py\nx\n``", "pre:py(x)"],
  ["- [ ", ""],
  ["| a | **b", "table[-,-](a|strong(b))"],
  ["| a | b |\n|--", "table[-,-](a|b)"],
  ["- a **b\n- c", "ul({p(a **b)}{p(c)})"],
  ["- a\n- **b", "ul({p(a)}{p(strong(b))})"],
];

for (const [text, tree] of INLINE) test(`inline ${JSON.stringify(text)}`, () => assert.equal(show(parseInline(text)), tree));
for (const [text, tree] of OPEN) test(`open ${JSON.stringify(text)}`, () => assert.equal(show(parseInline(text, true)), tree));
for (const [text, tree] of BLOCKS) test(`blocks ${JSON.stringify(text)}`, () => assert.equal(show(parseMarkdown(text)), tree));
for (const [text, tree] of OPEN_BLOCKS)
  test(`open blocks ${JSON.stringify(text)}`, () => assert.equal(show(parseMarkdown(text, true)), tree));

test("a text that grows character by character ends as the whole text does", () => {
  for (const [text] of [...BLOCKS, ...INLINE, [BLOCKS.map(([each]) => each).join("\n\n")]]) {
    const stream = new MarkdownStream();
    for (let end = 1; end <= text.length; end += 1) stream.update(text.slice(0, end), true);
    assert.equal(show(stream.update(text, false)), show(parseMarkdown(text)), text);
  }
});

test("blocks that are complete stay the same objects", () => {
  const stream = new MarkdownStream();
  const before = stream.update("one\n\ntwo\n\nthr", true);
  const after = stream.update("one\n\ntwo\n\nthree\n\nfour", true);
  assert.equal(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.equal(show(after), "p(one)p(two)p(three)p(four)");
});

test("a text that is replaced is parsed anew", () => {
  const stream = new MarkdownStream();
  stream.update("one\n\ntwo\n\nthree", false);
  assert.equal(show(stream.update("other", false)), "p(other)");
});

test("only addresses of the web and of mail are followed", () => {
  assert.equal(safeAddress("https://a.b/"), "https://a.b/");
  assert.equal(safeAddress("mailto:a@b.c"), "mailto:a@b.c");
  for (const bad of ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "vbscript:x", "data:text/html,x", "blob:x", "file:///etc/passwd", "x", ""])
    assert.equal(safeAddress(bad), "", bad);
});

const HOSTILE = ["*a ", "**a ", "_a", "`a``b", "[a", "![", "[a](", "> ", "- ", "  - a\n", "| a ", "|", "<", "&", "\\(", "$$", "~~a ", "a_*b", "](", "```\n", "1. ", "*_", "\n", "https://"];

test("hostile repetitions lose no letter, and end: what grows with the square of their length would take minutes", () => {
  for (const part of HOSTILE) {
    const text = part.repeat(100_000 / part.length);
    const letters = (shown) => shown.split("a").length - 1;
    assert.equal(letters(words(parseMarkdown(text))), letters(text), JSON.stringify(part));
    assert.ok(words(parseMarkdown(text, true)).length <= text.length);
  }
});

/** All text of a tree. */
function words(nodes) {
  return nodes
    .map((node) => {
      if (typeof node === "string") return node;
      const parts = [node.children, ...(node.items ?? []).map((item) => item.children), ...(node.rows ?? []).flat(), ...(node.head ?? [])];
      return (node.text ?? "") + parts.filter(Boolean).map(words).join("");
    })
    .join("");
}
