"""`localllm quantize --bits` and `--max-size`: what does not go together, and a real model."""

import os
from pathlib import Path

import pytest

from localllm.gguf.reader import open_gguf
from localllm.quantize.imatrix import Entry, Imatrix, write_imatrix
from tests import tiny_models

REAL = Path.home() / ".cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf"


@pytest.fixture
def source(tmp_path):
    return tiny_models.write(tmp_path / "source.gguf", "llama")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["Q4_0", "--bits", "4"], "--bits and --max-size choose the formats: give no FORMAT, not 'Q4_0'"),
        (["--bits", "4", "--pure"], "--bits and --max-size choose the formats: --pure has no use"),
        (["--max-size", "9M"], "--bits and --max-size need a file of calibration"),
        (["--max-size", "9.5", "--imatrix", "calib"], "'9.5' is no size: write 900M or 1.5G"),
    ],
)
def test_what_does_not_go_together(call, source, tmp_path, more, problem):
    done = call("quantize", source, tmp_path / "out.gguf", *more)
    assert done.status == 2
    assert problem in done.err
    assert not (tmp_path / "out.gguf").exists()


def test_methods_that_need_hessians_say_so(call, source, tmp_path):
    entry = Entry(np_ones(), np_ones().astype(int)[:, 0])
    write_imatrix(tmp_path / "calib.gguf", Imatrix({"blk.0.attn_q.weight": entry}))
    for method in ("gptq", "awq", "auto"):
        done = call(
            "quantize", source, tmp_path / "out.gguf", "Q4_0", "--imatrix", tmp_path / "calib.gguf", "--method", method
        )
        assert done.status == 2
        assert "`localllm calibrate --hessians`" in done.err


def np_ones():
    import numpy as np

    return np.ones((1, 32), np.float32)


def test_the_table_of_an_earlier_file_is_not_overwritten(call, source, tmp_path):
    entry = Entry(np_ones(), np_ones().astype(int)[:, 0])
    write_imatrix(tmp_path / "calib.gguf", Imatrix({"blk.0.attn_q.weight": entry}))
    (tmp_path / "out.budget.md").write_text("mine")
    done = call("quantize", source, tmp_path / "out.gguf", "--bits", "4", "--imatrix", tmp_path / "calib.gguf")
    assert done.status == 1
    assert "out.budget.md: exists already; --force overwrites it" in done.err
    assert (tmp_path / "out.budget.md").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs SmolLM2")
def test_a_real_model_within_its_size(call, tmp_path):
    calib, out = tmp_path / "calib.gguf", tmp_path / "out.gguf"
    assert call("calibrate", REAL, "-o", calib, "--chunks", "2", "-c", "64", "--process-output").status == 0
    done = call("quantize", REAL, out, "--max-size", "88M", "--imatrix", calib, "--allow-requantize")
    assert done.status == 0, done.err
    # Q4_1 is exact here: more bits gain nothing.
    assert 80_000_000 < os.path.getsize(out) <= 88_000_000
    assert "predicted divergence" in done.out
    table = (tmp_path / "out.budget.md").read_text()
    with open_gguf(out) as file:
        for name, info in file.tensors.items():
            if len(info.shape) == 2:
                row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
                assert f"| {info.format.name} |" in row
