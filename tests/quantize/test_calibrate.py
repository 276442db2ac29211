"""Calibration: sums against NumPy on tapped inputs, second moments in passes, files, and what can go wrong."""

from __future__ import annotations

import errno
import os
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest

from localllm.errors import FileError, NotEnoughMemoryError, UsageError
from localllm.model.model import LoadedModel
from localllm.quantize.calibrate import Options, calibrate, chunks_of, hessian_bytes
from localllm.quantize.calibration import Calibration
from localllm.quantize.calibration_text import ids_of_file, parts
from localllm.quantize.imatrix import write_imatrix
from tests import tiny_models
from tests.quantize import record_imatrix
from tests.recorded import models

IDS = [int(i) for i in np.random.default_rng(11).integers(0, tiny_models.N_VOCAB, 335)]
OPTIONS = Options(n_ctx=32)


@pytest.fixture
def llama(tmp_path):
    with LoadedModel.load(tiny_models.write(tmp_path / "m.gguf", "llama"), n_ctx=64, n_threads=2) as model:
        yield model


def inputs(model, chunks, name):
    """What a matrix reads, chunk by chunk."""
    with model.trace(f"{name}.input", n_ctx=64) as t:
        out = []
        for chunk in chunks:
            t.clear()
            t.feed(chunk)
            out.append(t[f"{name}.input"].astype(np.float64))
        return out


def test_sums_of_squares(llama):
    done = []
    found = calibrate(llama, IDS, OPTIONS, dataset="a text", progress=lambda *news: done.append(news))
    chunks = chunks_of(llama, IDS, OPTIONS)
    assert (len(chunks), found.chunk_count, found.chunk_size, found.datasets) == (10, 10, 32, ("a text",))
    assert done[-1] == ("Calibrating", 10, 10)
    assert len(found.entries) == 7 * 3
    for name, entry in found.entries.items():
        x = np.concatenate(inputs(llama, chunks, name.removesuffix(".weight")))
        assert entry.counts.tolist() == [320]
        assert np.allclose(entry.sums[0], (x**2).sum(0), rtol=1e-6)
    assert "output.weight" in calibrate(llama, IDS, Options(32, 2, outputs=True)).entries


def test_second_moments(llama, tmp_path):
    """Of seven chunks in eight; the eighth is held back, from the sums of squares, too."""
    path = tmp_path / "calib.gguf"
    found = calibrate(llama, IDS, OPTIONS, tmp_path / "calib.hessians.gguf")
    write_imatrix(path, found)
    assert os.path.getsize(tmp_path / "calib.hessians.gguf") == pytest.approx(hessian_bytes(llama, OPTIONS), rel=0.02)
    chunks = chunks_of(llama, IDS, OPTIONS)
    with Calibration.open(path) as calibration:
        assert len(list(calibration)) == 21
        for name in calibration:
            x = inputs(llama, chunks, name.removesuffix(".weight"))
            held = x.pop(7)
            x = np.concatenate(x)
            for part, exact in ((False, x.T @ x / 288), (True, held.T @ held / 32)):
                h = calibration.hessian(name, held_back=part)
                assert h is not None
                assert np.array_equal(h, h.T)
                assert np.allclose(h, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
            importance, h = calibration.importance(name), calibration.hessian(name)
            assert importance is not None
            assert h is not None
            assert np.allclose(importance, np.diag(h), rtol=1e-4)


@pytest.mark.slow
def test_passes_and_threads_do_not_show(llama, tmp_path, monkeypatch):
    one = tmp_path / "one.gguf"
    calibrate(llama, IDS, OPTIONS, one)
    passes = []
    small = Options(32, memory=3 * 4 * (320 * 320 + 256 * 256))
    calibrate(llama, IDS, small, tmp_path / "many.gguf", progress=lambda *news: passes.append(news))
    assert passes[-1][0].startswith("Calibrating (pass ")
    assert one.read_bytes() == (tmp_path / "many.gguf").read_bytes()
    with LoadedModel.load(llama.path, n_ctx=64, n_threads=1) as alone:
        calibrate(alone, IDS, OPTIONS, tmp_path / "alone.gguf")
    assert one.read_bytes() == (tmp_path / "alone.gguf").read_bytes()
    with pytest.raises(NotEnoughMemoryError, match=r"blk\.0\.attn_q\.weight"):
        calibrate(llama, IDS, Options(32, memory=1000), tmp_path / "none.gguf")
    assert sorted(os.listdir(tmp_path)) == ["alone.gguf", "m.gguf", "many.gguf", "one.gguf"]


@pytest.mark.parametrize("name", ["olmoe", "llama4", "deepseek2", "mamba", "rwkv7", "grovemoe", "gemma3n"])
def test_experts_heads_and_others(name, tmp_path):
    case = models.cases()[name]
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case), n_ctx=64, n_threads=2) as model:
        ids = [int(i) for i in np.random.default_rng(2).integers(1, models.N_VOCAB, 80)]
        found = calibrate(model, ids, Options(16), tmp_path / "c.hessians.gguf")
        write_imatrix(tmp_path / "c.gguf", found)
        with Calibration.open(tmp_path / "c.gguf") as calibration:
            for tensor in calibration:
                k, _, *rest = case.tensors[tensor]
                importance = calibration.importance(tensor, k)
                assert importance is not None
                n = rest[0] if rest else 1
                assert importance.size == k * n
                counts = calibration.counts(tensor)
                assert counts is not None
                if "_exps" in tensor:
                    assert counts.shape == (n,)
                    assert counts.sum() == 64 * case.kv["expert_used_count"]
                h = calibration.hessian(tensor)
                if "ffn_gate_inp" not in tensor:
                    assert h is not None
                    assert h.shape[-1] == k
                    means = np.einsum("...kk->...k", h).reshape(n, k)
                    used = np.broadcast_to(counts, n) > 0
                    assert np.allclose(importance.reshape(n, k)[used], means[used], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", record_imatrix.NAMES)
def test_sums_are_those_of_llamacpp(name, tmp_path):
    """Names, counts and sums, of experts and of the matrices of heads, too."""
    with np.load(record_imatrix.FILE) as file:
        exact = {key.removeprefix(f"{name}/"): file[key] for key in file.files if key.startswith(f"{name}/")}
    options = Options(record_imatrix.N_CTX)
    path = models.write(tmp_path / "m.gguf", models.cases()[name])
    with LoadedModel.load(path, n_ctx=options.n_ctx, n_threads=2) as model:
        found = calibrate(model, record_imatrix.ids_of_text().ravel().tolist(), options)
    assert sorted(found.entries) == sorted(key for key in exact if not key.endswith("/counts"))
    for tensor, entry in found.entries.items():
        assert np.array_equal(entry.counts, exact[f"{tensor}/counts"])
        error = np.abs(entry.sums.ravel() - exact[tensor].ravel()).sum() / exact[tensor].sum()
        assert error < 1e-4, tensor


def test_a_layer_that_is_gone_through_again(tmp_path):
    """All times count."""
    path = models.write(tmp_path / "m.gguf", models.cases()["nanbeige"])  # num_loops is 3
    with LoadedModel.load(path, n_ctx=64) as model:
        assert "blk.0.ffn_down.input@3" in model.taps()
        found = calibrate(model, models.IDS, Options(16))
        assert {n for entry in found.entries.values() for n in entry.counts.tolist()} == {3 * 32}


def test_what_cannot_be(llama, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="335 tokens, a chunk needs 512"):
        calibrate(llama, IDS)
    with pytest.raises(UsageError, match="two chunks"):
        calibrate(llama, IDS, Options(32, 1), tmp_path / "h.gguf")
    with pytest.raises(FileError, match="cannot be written"):
        calibrate(llama, IDS, OPTIONS, tmp_path / "no" / "h.gguf")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(FileError, match=r"needs \d MB, .* has 0 MB free"):
            calibrate(llama, IDS, OPTIONS, tmp_path / "h.gguf")

    def interrupt(text, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(llama, IDS, OPTIONS, tmp_path / "h.gguf", progress=interrupt)
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_our_own_text():
    found = list(parts())
    assert {bool(messages) for _, messages in found} == {False, True}
    for text, messages in found:
        assert bool(text.strip()) != bool(messages)
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(m["content"] for m in messages)
    assert 20_000 < len(files("localllm.quantize").joinpath("calibration.txt").read_bytes()) < 100_000


def test_texts(tmp_path):
    tokenizer = SimpleNamespace(encode=lambda text, add_special: [add_special, len(text)])
    model = SimpleNamespace(tokenizer=tokenizer, path="m")
    (tmp_path / "t.txt").write_text("äbc")
    assert ids_of_file(model, str(tmp_path / "t.txt")) == [True, 3]
    (tmp_path / "t.txt").write_bytes(b"\xff")
    with pytest.raises(FileError, match="no UTF-8"):
        ids_of_file(model, str(tmp_path / "t.txt"))
    with pytest.raises(FileError, match="No such file"):
        ids_of_file(model, str(tmp_path / "none.txt"))


def test_a_disk_that_fills_up(llama, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("localllm.quantize.calibrate.HessianWriter.add", full)
    with pytest.raises(FileError, match=r"h\.gguf: cannot be written: No space left on device"):
        calibrate(llama, IDS, OPTIONS, tmp_path / "h.gguf")
    assert os.listdir(tmp_path) == ["m.gguf"]
