"""All malformed files."""

from __future__ import annotations

from collections.abc import Iterator

from tests.malformed import architecture, files, parser, proofs, truncation, vocabulary
from tests.malformed.case import Case


def cases() -> Iterator[Case]:
    """One after another; names are unique."""
    yield from parser.CASES
    yield from architecture.cases()
    yield from vocabulary.cases()
    yield from proofs.cases()
    yield from files.cases()
    yield from truncation.cases()
