"""The table of all checks, which docs/reliability.md shows."""

from __future__ import annotations

from types import MappingProxyType

from localllm.gate import directory, header
from localllm.gate.check import ROWS

AREAS = (header, directory)
CHECKS = MappingProxyType({row.name: row for area in AREAS for row in ROWS if row.run.__module__ == area.__name__})
