from __future__ import annotations

import pytest

from tests.fast import fast_of


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in fast_of(items):
        item.add_marker("fast")
