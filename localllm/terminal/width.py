"""How many columns text takes on a terminal, and where it may be cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
_ATTACHED = re.compile("[^\x00-\u02ff]")
"""A text without one of these has nothing that combines and nothing wide."""


@lru_cache(maxsize=4096)
def columns(char: str) -> int:
    """Of one code point: 0, 1 or 2."""
    from wcwidth import wcwidth

    return max(0, wcwidth(char))


def clusters(text: str) -> Iterator[str]:
    """What readers take for one character: a base with what combines with it, emoji that are joined, flags."""
    if not _ATTACHED.search(text):
        yield from text
        return
    found = ""
    for char in text:
        if found and not attaches(found, char):
            yield found
            found = ""
        found += char
    if found:
        yield found


def width(text: str) -> int:
    """Columns of a text on a terminal that shows joined emoji as one."""
    if not _ATTACHED.search(text):
        return len(text)
    return sum(_of_cluster(cluster) for cluster in clusters(text))


def cut(text: str, n_columns: int) -> str:
    """The beginning of a text that takes at most so many columns."""
    if width(text) <= n_columns:
        return text
    kept, room = [], n_columns
    for cluster in clusters(text):
        room -= width(cluster)
        if room < 0:
            break
        kept.append(cluster)
    return "".join(kept)


def most(text: str) -> int:
    """Columns at most: on a terminal that shows each emoji of a joined one."""
    if not _ATTACHED.search(text):
        return len(text)
    return sum(map(columns, text)) + text.count(_EMOJI_STYLE)


def is_wide(char: str) -> bool:
    """Whether it takes two columns; between wide characters lines may be broken."""
    return char > "\u10ff" and columns(char) == 2


def attaches(found: str, char: str) -> bool:
    """Whether a code point belongs to the cluster before it."""
    if char < "\u0300":
        return False
    if columns(char) == 0 or found[-1] == _JOINER or "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    return _is_flag_letter(char) and len(found) == 1 and _is_flag_letter(found)


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _of_cluster(cluster: str) -> int:
    if len(cluster) == 1:
        return columns(cluster)
    if _EMOJI_STYLE in cluster or _is_flag_letter(cluster[0]):
        return 2
    return max(map(columns, cluster))
