"""The table of all checks, which docs/reliability.md shows."""

from __future__ import annotations

from types import MappingProxyType

from localllm.gate import calls, directory, files, header, keys, memory, numbers, tensors, vocabulary
from localllm.gate.check import ROWS

AREAS = {
    "files": files,
    "header": header,
    "directory": directory,
    "keys": keys,
    "numbers": numbers,
    "tensors": tensors,
    "vocabulary": vocabulary,
    "memory": memory,
    "calls": calls,
}
"""By name, in the order of a file's way through them."""
CHECKS = MappingProxyType({row.name: row for area in AREAS for row in ROWS if row.name.partition(".")[0] == area})
