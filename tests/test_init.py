"""The package itself: what importing it costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import localllm


def modules_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(out.stdout.split())


def test_importing_is_light():
    assert not modules_after("import localllm") & {"numpy", "numba", "llvmlite", "click", "prompt_toolkit", "jinja2"}


def test_names():
    assert {"load", "load_tokenizer", "Model", "errors"} <= set(dir(localllm))
    assert localllm.errors.LocalllmError.status == 1
    assert localllm.__version__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = localllm.nonsense
