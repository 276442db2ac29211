"""What holds blocks: quotes and items of lists; what their lines begin with."""

from __future__ import annotations

from dataclasses import dataclass, field

from localllm.terminal.style import Line, Span, Theme

_BULLETS = "•◦▪"


@dataclass
class ListKind:
    """What the items of one list share."""

    mark: str
    """The bullet, or what follows the number: "-", "*", "+", ".", ")"."""
    next_number: int = 1


@dataclass
class Container:
    """A quote, an item, or, at the bottom, the document."""

    rest: Line = field(default_factory=list)
    """What its lines begin with; those of what it stands in come before."""
    first: Line | None = None
    """What its first line begins with; None once there is one, and where it is as the rest."""
    indent: int = 0
    """Columns that lines of an item's content begin with; 0: no item."""
    is_quote: bool = False
    is_bullet: bool = False
    last_list: ListKind | None = None
    """The list that stood here last, as long as nothing else did."""


def quote(theme: Theme, unicode: bool) -> Container:
    """A block quote: a bar beside its lines."""
    return Container([Span("│ " if unicode else "| ", theme.dim)], is_quote=True)


def item(kind: ListKind, indent: int, depth: int, theme: Theme, unicode: bool) -> Container:
    """The next item of a list. depth: of lists with bullets around it."""
    if kind.mark in ".)":
        label = f"{kind.next_number}{kind.mark}"
        kind.next_number += 1
    else:
        label = _BULLETS[depth % len(_BULLETS)] if unicode else "-*+"[depth % 3]
    return Container(
        [Span(" " * (len(label) + 1))], [Span(label, theme.dim), Span(" ")], indent, is_bullet=kind.mark not in ".)"
    )
