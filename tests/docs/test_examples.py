"""Python that the documentation shows runs, with a tiny model in the place of those named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.shell import PAGES, ROOT
from tests.server import tiny

pytest.importorskip("llguidance", reason="grammars are not installed: pip install 'localllm[structured]'")

MODELS = {
    "python.md": "model.gguf",
    "inside.md": "smollm2-135m-instruct-q4_1.gguf",
    "quantization.md": "smol-f16.gguf",
}
"""Page -> the model that it loads."""
ELSEWHERE = {"server.md": "clients of a server, which tests.clients runs"}


@pytest.mark.parametrize("page", MODELS)
def test_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    tiny.write(tmp_path / MODELS[page])
    monkeypatch.chdir(tmp_path)
    found = blocks(ROOT / "docs" / page)
    assert found
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, page, "exec"), names)


def test_every_page_with_python_is_run():
    assert {path.name for path in PAGES if blocks(path)} == MODELS.keys() | ELSEWHERE.keys()


def blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
