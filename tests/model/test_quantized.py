"""Models with random valid blocks beside the same with those weights dequantized: what int8 activations cost.

Where they make a router choose another expert, the row is another one from there on, and those that attend to it a
little: random routers are often near a tie. So the exact model is given the scores that the quantized one had: then all
rows are near.
"""

import zlib

import gguf
import numpy as np
import pytest

from localllm.model.experts import Experts
from localllm.model.model import LoadedModel
from tests.model import twin
from tests.model.test_architectures import CASES, IDS
from tests.tiny_models import nmse

MAX_ROWS = 512
KINDS = {name: gguf.GGMLQuantizationType[name] for name in ("Q8_0", "Q4_K")}


def blocks(name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random bytes, but for scales that make weights of the usual size."""
    size, n_bytes = gguf.GGML_QUANT_SIZES[KINDS[kind]]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    raw = rng.integers(0, 256, (int(np.prod(shape)) // size, n_bytes), dtype=np.uint8)
    deviation = 1.0 if name.startswith("token_embd") else shape[-1] ** -0.5
    if kind == "Q8_0":
        raw[:, :2] = np.array([deviation / 74], np.float16).view(np.uint8)
    else:
        d = deviation / (4.6 * 36)
        raw[:, :4] = np.array([d, 7.5 * d], np.float16).view(np.uint8)
    return raw.reshape(*shape[:-1], -1)


def quantize(kind: str, dequantized: bool):
    size = gguf.GGML_QUANT_SIZES[KINDS[kind]][0]

    def made(name: str, x: np.ndarray):
        if x.ndim < 2 or not name.endswith("weight") or x.shape[-1] % size or "gate_inp" in name or "position" in name:
            return None
        raw = blocks(name, kind, x.shape)
        if not dequantized:
            return raw, KINDS[kind]
        flat = gguf.quants.dequantize(raw.reshape(-1, raw.shape[-1]), KINDS[kind])
        return flat.reshape(x.shape).astype(np.float32), None

    return made


@pytest.fixture
def scores(monkeypatch):
    """Layer -> the router's scores: filled by one model, and given to the next once `given` is set."""
    kept: dict[int, np.ndarray] = {}
    compute, state = Experts.score, {"given": False}

    def score(self, r, x):
        if state["given"]:
            return int(kept[self.i].ctypes.data)
        logits, n = compute(self, r, x), self.router.w.n
        out = kept.setdefault(self.i, np.zeros((MAX_ROWS, n), np.float32))
        r.add("kept", logits, 1.0, 0, int(out.ctypes.data), n)
        return logits

    monkeypatch.setattr(Experts, "score", score)
    return state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_near_the_dequantized(name, kind, tmp_path, monkeypatch, scores):
    if kind == "Q4_K":  # whose rows are of 256
        monkeypatch.setattr(twin, "N_EMBD", 256)
        monkeypatch.setattr(twin, "N_FF", 256)
    case, logits = CASES[name], []
    tensors = twin.weights(case)
    for dequantized in (False, True):
        scores["given"] = dequantized
        path = twin.write(tmp_path / f"{dequantized}.gguf", case, tensors, quantize(kind, dequantized))
        with LoadedModel.load(path, n_ctx=128, kv_type="f32") as model:
            logits.append(model.logits(IDS).astype(np.float64))
    assert nmse(logits[1], logits[0]) < 5e-4
