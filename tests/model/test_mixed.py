"""Files of several formats: every tensor carries its own; the embedding, the output and 3-D expert tensors too."""

import gguf
import numpy as np
import pytest

from localllm.model.model import LoadedModel
from localllm.tools import blocks
from tests import reference
from tests.model import twin
from tests.model.twin import Case, Experts
from tests.tiny_models import nmse

IDS = [int(i) for i in np.random.default_rng(7).integers(0, twin.N_VOCAB, 40)]
MANY = ("Q4_K", "Q6_K", "Q8_0", "F16", "Q5_0", "IQ4_NL", "Q3_K", "BF16", "TQ2_0", "MXFP4", "Q4_1", "IQ2_XS")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Rows that every format fits."""
    monkeypatch.setattr(twin, "N_EMBD", 256)
    monkeypatch.setattr(twin, "N_FF", 256)


def matrices(tensors: dict) -> list[str]:
    """Routers and norms stay F32, as in real files."""
    return [n for n, x in tensors.items() if x.ndim >= 2 and "gate_inp" not in n]


def in_formats(tensors: dict, formats: dict[str, str]) -> tuple[dict, dict]:
    """Random weights of the same spread in these formats: (their bytes and GGML types, what they stand for)."""
    raw, values = {}, {}
    for number, (name, fmt) in enumerate(formats.items()):
        shape, wanted = tensors[name].shape, tensors[name].std()
        rows = shape[:-1]
        made, factor = np.zeros(0), 1.0
        for _ in range(2):  # as it comes, then scaled to the spread that is wanted
            made = blocks.weights(fmt, int(np.prod(rows)), shape[-1], np.random.default_rng(number), factor)
            factor = wanted / reference.dequantize(fmt, made).std()
        raw[name] = made.reshape(*rows, -1), gguf.GGMLQuantizationType[fmt]
        values[name] = reference.dequantize(fmt, made).reshape(shape)
    return raw, values


def error(path, case: Case, formats: dict[str, str]) -> float:
    """Of a model in these formats, beside its twin; of the better rows where a router may choose otherwise."""
    tensors = twin.weights(case)
    raw, values = in_formats(tensors, formats)
    exact = twin.forward(case, tensors | values, IDS)
    with LoadedModel.load(
        twin.write(path, case, tensors, lambda name, x: raw.get(name)), n_ctx=64, kv_type="f32"
    ) as model:
        found = model.logits(IDS)
        context = model.context()
        steps = np.concatenate([context.forward([token]) for token in IDS[:5]])
        context.close()
    assert np.array_equal(steps, found[:5])
    rows = [nmse(a, b) for a, b in zip(exact, found, strict=True)]
    return float(np.quantile(rows, 0.25 if case.experts else 0.9))


def test_a_format_of_its_own_for_each_matrix(tmp_path):
    """Queries, keys and values of other kinds than each other, which activations are made ready for together."""
    names = matrices(twin.weights(Case("llama", pairing="adjacent")))
    formats = {name: MANY[i % len(MANY)] for i, name in enumerate(names)}
    assert len(set(formats.values())) == len(MANY)
    assert error(tmp_path / "m.gguf", Case("llama", pairing="adjacent"), formats) < 1e-3


def test_experts_in_several_formats(tmp_path):
    """Gates, ups and downs of other kinds than each other, and a layer in other formats than the one before."""
    case = Case("qwen2moe", experts=Experts(normed=False, shared=256, shared_gate=True))
    of = ({"gate": "Q3_K", "up": "MXFP4", "down": "F16"}, {"gate": "NVFP4", "up": "Q4_1", "down": "IQ2_XS"})
    formats = dict.fromkeys(matrices(twin.weights(case)), "Q8_0")
    for i, parts in enumerate(of):
        formats |= {f"blk.{i}.ffn_{part}_exps.weight": fmt for part, fmt in parts.items()}
    assert error(tmp_path / "m.gguf", case, formats) < 1e-3


@pytest.mark.parametrize("fmt", ["Q6_K", "Q8_0", "F16", "Q4_K", "IQ4_XS", "TQ1_0", "NVFP4"])
def test_tied_embeddings(fmt, tmp_path):
    """One tensor that rows are taken from and that gives the logits."""
    case = Case("llama", pairing="adjacent", tied=True)
    assert error(tmp_path / "m.gguf", case, {"token_embd.weight": fmt}) < 1e-3
