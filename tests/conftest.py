from __future__ import annotations

import os
import tempfile

import pytest

from tests.fast import fast_of


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in fast_of(items):
        item.add_marker("fast")


def pytest_configure(config: pytest.Config) -> None:
    """No test sees, or adds to, the models that the user has: every store is in a folder that goes at the end."""
    folder = tempfile.TemporaryDirectory(prefix="localllm-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["LOCALLLM_HOME"] = folder.name
    os.environ["LOCALLLM_VARIANTS"] = "default"  # no first start measures
    os.environ["LOCALLLM_ORIGINS"] = "localllm,huggingface"
    os.environ["HF_HOME"] = os.path.join(folder.name, "huggingface")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
        os.environ.pop(name, None)
