"""How lines begin that begin a block (CommonMark 0.31, chapters 4 and 5; tables: GFM 4.10)."""

from __future__ import annotations

import re

START_LIMIT = 1000
"""Characters of a line that tell what it is; what they leave open is text."""

ATX = re.compile(r"(#{1,6})(?: +|$)")
FENCE = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")
UNDERLINE = re.compile(r"(=+|-+) *$")
RULE = re.compile(r"(?:\* *){3,}$|(?:- *){3,}$|(?:_ *){3,}$")
BULLET = re.compile(r"([-+*])( +|$)")
NUMBER = re.compile(r"(\d{1,9})([.)])( +|$)")
TASK = re.compile(r"\[([ xX])\] +(?=\S)")
DELIMITER = re.compile(r"[|:\- ]*-[|:\- ]*$")
FORMULA = re.compile(r"(\\\[|\$\$) *$")
FORMULA_ENDS = {"\\[": "\\]", "$$": "$$"}

UNDECIDED = re.compile(
    r"#{1,6}$|`{1,2}$|`{3,}[^`]*$|~+$|~{3,}.*$|=+ *$|\d{1,9}[.)]?$|(?:\d{1,9}[.)]|[-+*]) *$"
    r"|(?:\* *)+$|(?:- *)+$|(?:_ *)+$|\${1,2} *$|\\\[? *$|<[!/?a-zA-Z0-9\-\[]*$"
)
"""What more of the line may yet make into another thing."""
UNDECIDED_DELIMITER = re.compile(r"[|:\- ]+$")
"""The same, below what may be the head of a table."""
UNDECIDED_TASK = re.compile(r"\[(?:[ xX](?:\] *)?)?$")

_CODE = "script|pre|style|textarea"
HTML = [
    (re.compile(rf"<(?:{_CODE})(?=[\s>]|$)", re.IGNORECASE), re.compile(rf"</(?:{_CODE})>", re.IGNORECASE)),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
]
"""The first five kinds of HTML blocks: how they begin and end."""
TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?=\s|/?>|$)")
"""How the sixth begins, if it is a block's; it ends before a blank line."""
TAGS = {
    "address", "article", "aside", "base", "basefont", "blockquote", "body", "caption", "center", "col",
    "colgroup", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html",
    "iframe", "legend", "li", "link", "main", "menu", "menuitem", "nav", "noframes", "ol", "optgroup", "option",
    "p", "param", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr",
    "track", "ul",
}  # fmt: skip
