"""Sets of parameters of which a test takes a part, and all with `pytest -m 'long or not long'`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_of(n: int, sets: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Each n-th set from the first on as it is, the others marked long."""
    return [pytest.param(*values, marks=[pytest.mark.long] if i % n else []) for i, values in enumerate(sets)]
