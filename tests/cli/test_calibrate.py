"""`localllm calibrate` on a tiny model with a vocabulary of bytes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from localllm.quantize.calibration import Calibration
from tests.recorded import models


@pytest.fixture
def path(tmp_path):
    """A tiny Llama whose tokens are letters."""
    tokens = ["<unk>", "<s>", "</s>", *(chr(33 + i) for i in range(models.N_VOCAB - 3))]
    kinds = [2, 3, 3] + [1] * (len(tokens) - 3)
    vocabulary: dict[str, Any] = {
        "model": "llama", "tokens": tokens, "scores": [0.0] * len(tokens), "token_type": kinds,
        "add_space_prefix": False,
    }  # fmt: skip
    kv = {f"tokenizer.ggml.{key}": value for key, value in vocabulary.items()}
    return models.write(tmp_path / "m.gguf", models.cases()["llama"], **kv)


def test_files(path, tmp_path, call):
    (tmp_path / "t.txt").write_text("abcdefghij" * 40)
    out = tmp_path / "c.gguf"
    run = call("calibrate", path, "-f", tmp_path / "t.txt", "-o", out, "-c", "32", "--hessians")
    assert (run.status, run.out) == (0, f"{out}: 14 matrices; second moments: {tmp_path / 'c.hessians.gguf'}\n")
    assert run.err.startswith(f"12 chunks of 32 tokens; {tmp_path / 'c.hessians.gguf'} takes 0 MB")
    with Calibration.open(out) as calibration:
        assert calibration.imatrix.chunk_count == 11
        assert calibration.imatrix.datasets == (str(tmp_path / "t.txt"),)
        assert calibration.has_hessians
        h = calibration.hessian("blk.1.ffn_down.weight", held_back=True)
        assert h is not None
        assert np.isfinite(h).all()
    run = call("calibrate", path, "-f", tmp_path / "t.txt", "-o", out, "-c", "32")
    assert run.status == 2
    assert "is of an earlier calibration" in run.err


def test_our_own_text(path, tmp_path, call):
    run = call("calibrate", path, "-o", tmp_path / "c.gguf", "-c", "64", "--chunks", "3", "--process-output")
    assert run.status == 0
    with Calibration.open(tmp_path / "c.gguf") as calibration:
        assert calibration.imatrix.datasets == ("localllm/quantize/calibration.txt",)
        assert "output.weight" in calibration
        assert calibration.imatrix.chunk_count == 3


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("-f", "none.txt"), "none.txt: cannot be read: No such file"),
        (("-f", "t.txt"), "the text has 4 tokens, a chunk needs 512"),
        (("-o", "none/c.gguf", "-c", "64", "--chunks", "2"), "none/c.gguf: cannot be written"),
    ],
)
def test_errors(path, tmp_path, call, monkeypatch, args, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("abc")
    run = call("calibrate", path, *args)
    assert run.status in (1, 2)
    assert error in run.err
    assert sorted(os.listdir(tmp_path)) == ["m.gguf", "t.txt"]
