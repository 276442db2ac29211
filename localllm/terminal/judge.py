"""What a line is, given what is open: the first phase of CommonMark's parsing strategy, for parts of lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from localllm.terminal import starts
from localllm.terminal.containers import Container
from localllm.terminal.leaves import Leaf, Paragraph
from localllm.terminal.table import Table, is_delimiter


@dataclass(frozen=True)
class OpenBlock:
    """The leaf under way."""

    leaf: Leaf
    kind: str
    """ "paragraph", "heading", "fence", "indented", "html", "formula", "table" """
    fence: str = ""
    indent: int = 0
    """Of a fence."""
    end: re.Pattern[str] | None = None
    """What a line holds that is the last one. A blank line ends formulas, too, and HTML where this is None."""


@dataclass(frozen=True)
class NewItem:
    """An item that a line begins."""

    mark: str
    number: int
    indent: int
    task: str = ""
    """ "[ ]" or "[x]" """


@dataclass(frozen=True)
class Start:
    """What a line begins or goes on with."""

    kind: str
    """As OpenBlock's, or: "blank", "continue", "lazy", "end of fence", "underline", "rule"."""
    text: str = ""
    """What of the line the block holds."""
    n_matched: int = 0
    """How many containers go on, the document included."""
    opens: Sequence[NewItem | None] = ()
    """Containers that begin; None: a quote."""
    level: int = 0
    """Of a heading."""
    fence: tuple[str, str, int] = ("", "", 0)
    """Fence, info, indentation."""
    end: re.Pattern[str] | None = None


@dataclass
class Line:
    """A line under judgement."""

    text: str
    is_whole: bool
    stack: Sequence[Container]
    block: OpenBlock | None
    position: int = 0
    n_matched: int = 1
    opens: list[NewItem | None] = field(default_factory=list)

    @property
    def indent(self) -> int:
        """Spaces ahead."""
        rest = self.text[self.position :]
        return len(rest) - len(rest.lstrip(" "))

    @property
    def goes_on(self) -> bool:
        """Whether the line stands where the open block stands."""
        return self.n_matched == len(self.stack) and not self.opens

    @property
    def paragraph(self) -> Paragraph | None:
        """The paragraph that the line may continue, lazily at least."""
        leaf = self.block.leaf if self.block and not self.opens else None
        return leaf if isinstance(leaf, Paragraph) else None

    def start(self, kind: str, text: str = "") -> Start:
        return Start(kind, text, self.n_matched, tuple(self.opens))


def judge(text: str, is_whole: bool, stack: Sequence[Container], block: OpenBlock | None) -> Start | None:
    """None: more of the line must be known. A decision is the same for whatever follows in the line."""
    line = Line(text, is_whole, stack, block)
    if not _match_containers(line):
        return None
    if line.goes_on and block and block.kind in _WRITTEN and not (block.kind == "indented" and _ends_indented(line)):
        return _WRITTEN[block.kind](line, block)
    return _new_block(line)


def as_text(text: str, stack: Sequence[Container], block: OpenBlock | None) -> Start:
    """What a line is whose beginning is too long to tell."""
    if block and block.kind in ("fence", "html", "formula", "paragraph"):
        return Start("continue", text, len(stack))
    return Start("paragraph", text.lstrip(" ") or text, 1)


def _match_containers(line: Line) -> bool:
    """Steps into the containers that go on; False: not known yet."""
    for container in line.stack[1:]:
        indent = line.indent
        is_blank = line.position + indent == len(line.text)
        if is_blank and not line.is_whole:
            return False
        if container.is_quote:
            if is_blank or indent > 3 or line.text[line.position + indent] != ">":
                return True
            if not _enter_quote(line, indent):
                return False
        elif is_blank:
            if container is line.stack[-1] and container.first is not None:  # empty, if it begins with two blank lines
                return True
        elif indent >= container.indent:
            line.position += container.indent
        else:
            return True
        line.n_matched += 1
    return True


def _enter_quote(line: Line, indent: int) -> bool:
    line.position += indent + 1
    if line.position == len(line.text):
        return line.is_whole
    line.position += line.text[line.position] == " "
    return True


def _in_fence(line: Line, block: OpenBlock) -> Start | None:
    rest = line.text[line.position :]
    mark = re.escape(block.fence[0])
    if line.is_whole and re.match(rf" {{0,3}}{mark}{{{len(block.fence)},}} *$", rest):
        return line.start("end of fence")
    if not line.is_whole and re.match(rf" {{0,3}}{mark}* *$", rest):
        return None
    return line.start("continue", rest[min(block.indent, line.indent) :])


def _in_written(line: Line, block: OpenBlock) -> Start | None:
    rest = line.text[line.position :]
    if rest.strip(" ") or (line.is_whole and block.end and block.kind == "html"):
        return line.start("continue", rest)
    return line.start("blank") if line.is_whole else None


def _in_indented(line: Line, _block: OpenBlock) -> Start | None:
    rest = line.text[line.position :]
    if not rest.strip(" "):
        return line.start("blank") if line.is_whole else None
    return line.start("continue", rest[4:])


def _ends_indented(line: Line) -> bool:
    return line.indent < 4 and bool(line.text[line.position :].strip(" "))


_WRITTEN = {"fence": _in_fence, "html": _in_written, "formula": _in_written, "indented": _in_indented}


def _new_block(line: Line) -> Start | None:
    while True:
        indent = line.indent
        rest = line.text[line.position + indent :]
        if not rest:
            return line.start("blank") if line.is_whole else None
        if indent >= 4:
            if line.paragraph:
                return _text(line, "    " + rest)
            return line.start("indented", line.text[line.position + 4 :])
        if rest[0] == ">":
            line.opens.append(None)
            if not _enter_quote(line, indent):
                return None
            continue
        if not line.is_whole and (starts.UNDECIDED.match(rest) or _may_be_delimiter(line, rest)):
            return None
        found = _leaf(line, rest, indent)
        if found:
            return found
        if not _enter_item(line, rest, indent):
            break
        if not _enter_task(line):
            return None
    return _text(line, rest)


def _may_be_delimiter(line: Line, rest: str) -> bool:
    return bool(line.goes_on and line.paragraph and line.paragraph.head and starts.UNDECIDED_DELIMITER.match(rest))


def _leaf(line: Line, rest: str, indent: int) -> Start | None:
    """A block that holds no others, if one begins here."""
    matched, opens = line.n_matched, tuple(line.opens)
    if found := starts.ATX.match(rest):
        return Start("heading", rest[found.end() :], matched, opens, level=len(found[1]))
    if found := starts.FENCE.match(rest):
        fence, info = (found[1], found[2]) if found[1] else (found[3], found[4])
        return Start("fence", "", matched, opens, fence=(fence, info.strip(), indent))
    paragraph = line.paragraph if line.goes_on else None
    if paragraph and paragraph.head and starts.DELIMITER.match(rest) and is_delimiter(rest, paragraph.head):
        return line.start("table", rest)
    if paragraph and paragraph.may_be_heading and starts.UNDERLINE.match(rest):
        return Start("underline", "", matched, opens, level=1 if rest[0] == "=" else 2)
    if starts.RULE.match(rest):
        return line.start("rule")
    if found := starts.FORMULA.match(rest):
        end = re.compile(re.escape(starts.FORMULA_ENDS[found[1]]) + " *$")
        return Start("formula", rest, matched, opens, end=end)
    return _html(line, rest) if rest[0] == "<" else None


def _html(line: Line, rest: str) -> Start | None:
    text = line.text[line.position :]
    for begin, end in starts.HTML:
        if begin.match(rest):
            return Start("html", text, line.n_matched, tuple(line.opens), end=end)
    tag = starts.TAG.match(rest)
    return line.start("html", text) if tag and tag[1].lower() in starts.TAGS else None


def _enter_item(line: Line, rest: str, indent: int) -> bool:
    """Whether an item begins here; steps into it."""
    bullet = starts.BULLET.match(rest)
    number = None if bullet else starts.NUMBER.match(rest)
    found = bullet or number
    if not found:
        return False
    is_empty = found.end() == len(rest)
    if line.paragraph and line.goes_on and (is_empty or (number and int(number[1]) != 1)):
        return False  # these do not interrupt a paragraph
    spaces = len(found[2] if bullet else found[3])
    width = found.end() - spaces + (1 if is_empty or spaces > 4 else spaces)
    mark, value = (bullet[1], 0) if bullet else (found[2], int(found[1]))
    line.opens.append(NewItem(mark, value, indent + width))
    line.position += indent + min(width, len(rest))
    return True


def _enter_task(line: Line) -> bool:
    """Takes the box of a task; False: not known yet."""
    rest = line.text[line.position :]
    if not line.is_whole and starts.UNDECIDED_TASK.match(rest):
        return False
    found = starts.TASK.match(rest)
    item = line.opens[-1]
    if found and item:
        line.opens[-1] = NewItem(item.mark, item.number, item.indent, "[ ]" if found[1] == " " else "[x]")
        line.position += found.end()
    return True


def _text(line: Line, rest: str) -> Start:
    if line.paragraph:
        return line.start("continue" if line.goes_on else "lazy", rest)
    if line.goes_on and line.block and isinstance(line.block.leaf, Table):
        return line.start("continue", rest)
    return line.start("paragraph", rest)
