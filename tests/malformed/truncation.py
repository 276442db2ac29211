"""A complete model that is cut at the end of every record, and within each."""

from __future__ import annotations

from collections.abc import Iterator

from tests.malformed.base import model
from tests.malformed.case import Case


def cases() -> Iterator[Case]:
    content = model().bytes()
    at = 0
    for record, raw in model().records():
        at += len(raw)
        if not raw:
            continue
        if at < len(content):
            yield Case(f"cut behind {record}", (49,), content[:at], _words(at))
        yield Case(f"cut within {record}", (19, 48), content[: at - 1 - len(raw) // 3], _words(at - 1 - len(raw) // 3))


def _words(length: int) -> str:
    return "bytes long" if length < 24 else "the file"
