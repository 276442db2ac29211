"""What each check takes and what it refuses: the table that tests/gate runs. A limit is tried on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localllm.gate.check import Place

P = Place("m.gguf", "field", 8)
K = Place("m.gguf", "metadata key k")
Accepted = Sequence[tuple[tuple[Any, ...], Any]]
"""(arguments, what comes back)"""
Refused = Sequence[tuple[tuple[Any, ...], str]]
"""(arguments, words of the message)"""


@dataclass(frozen=True)
class Cases:
    accepts: Accepted
    refuses: Refused
