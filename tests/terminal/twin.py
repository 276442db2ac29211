"""What markdown-it makes of a whole text, as plain lines without a width: slow and obvious, to compare with.

Where localllm.terminal differs from CommonMark on purpose (see document.py), the twin follows the source, too: blank
lines between blocks are left out of the comparison.
"""

from __future__ import annotations

from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token


def has_long_heading(text):
    """Whether a heading of several lines is underlined, which is text for localllm.terminal."""
    tokens = _parser().parse(text)
    return any(a.type == "heading_open" and a.markup in "=-" and "\n" in b.content for a, b in pairwise(tokens))


def lines(text):
    """The lines that are shown, without empty ones."""
    found = _Lines()
    for token in _parser().parse(text):
        getattr(found, token.type, found.other)(token)
    return [line for line in found.out if line.strip(" │")]


def _parser():
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.disable(["reference", "html_inline"])
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    return parser


class _Lines:
    def __init__(self):
        self.out = []
        self.first, self.rest = [""], [""]
        self.numbers = []
        self.rows = []

    def put(self, text):
        for line in text.split("\n"):
            self.out.append(("".join(self.first) + line).rstrip())
            self.first = list(self.rest)

    def other(self, token):
        pass

    def push(self, first, rest):
        self.first.append(first)
        self.rest.append(rest)

    def pop(self):
        if self.first != self.rest:
            self.put("")
        self.first.pop()
        self.rest.pop()

    def blockquote_open(self, _token):
        self.push("│ ", "│ ")

    def blockquote_close(self, _token):
        self.first.pop()
        self.rest.pop()

    def bullet_list_open(self, _token):
        self.numbers.append(None)

    def ordered_list_open(self, token):
        self.numbers.append(token.attrs.get("start", 1))

    def bullet_list_close(self, _token):
        self.numbers.pop()

    ordered_list_close = bullet_list_close

    def list_item_open(self, token):
        if self.numbers[-1] is None:
            label = "•◦▪"[(self.numbers.count(None) - 1) % 3]
        else:
            label = f"{self.numbers[-1]}{token.markup}"
            self.numbers[-1] += 1
        self.push(label + " ", " " * (len(label) + 1))

    def list_item_close(self, _token):
        self.pop()

    def inline(self, token):
        text = "".join(map(_inline, _linked(token.children)))
        if self.rows:
            self.rows[-1].append(text)
        else:
            self.put(text)

    def fence(self, token):
        self.put(token.markup + token.info.strip())
        if token.content:
            self.put(token.content.removesuffix("\n"))
        self.put(token.markup)

    def code_block(self, token):
        self.put("\n".join("    " + line for line in token.content.removesuffix("\n").split("\n")))

    def html_block(self, token):
        self.put(token.content.removesuffix("\n"))

    def hr(self, _token):
        self.put("─" * 40)

    def tr_open(self, _token):
        self.rows.append([])

    def table_close(self, _token):
        widths = [max(len(row[i]) if i < len(row) else 0 for row in self.rows) for i in range(len(self.rows[0]))]
        self.rows.insert(1, ["─" * max(1, n) for n in widths])
        for row in self.rows:
            self.put("  ".join(cell.ljust(max(1, n)) for cell, n in zip(row, widths, strict=True)))
        self.rows = []


def _linked(tokens):
    """The tokens, with the address behind each link."""
    out: list[Token] = []
    begin, address = 0, ""
    for token in tokens:
        if token.type == "link_open":
            begin, address = len(out), token.attrs["href"]
        if token.type == "link_close":
            text = "".join(map(_inline, out[begin:]))
            token.content = "" if address in ("", text) else f" ({address})" if text else address
        out.append(token)
    return out


def _inline(token):
    return "\n" if token.type in ("softbreak", "hardbreak") else token.content
