"""Python that the documentation shows runs, with a tiny model in the place of those named."""

from __future__ import annotations

import re

import pytest

from tests.docs.shell import ROOT
from tests.server import tiny

pytest.importorskip("llguidance", reason="grammars are not installed: pip install 'localllm[structured]'")

PAGES = {"python.md": "model.gguf", "inside.md": "smollm2-135m-instruct-q4_1.gguf"}
"""Page -> the model that it loads."""


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch, capsys):
    tiny.write(tmp_path / PAGES[page])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) > 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out
