"""The table of all checks, which docs/reliability.md shows."""

from __future__ import annotations

from types import MappingProxyType

from localllm.gate import directory, header, keys, numbers, tensors, vocabulary
from localllm.gate.check import ROWS

AREAS = {
    "header": header,
    "directory": directory,
    "keys": keys,
    "numbers": numbers,
    "tensors": tensors,
    "vocabulary": vocabulary,
}
"""By name, in the order of a file's way through them."""
CHECKS = MappingProxyType({row.name: row for area in AREAS for row in ROWS if row.name.partition(".")[0] == area})
