"""Scales of whole matrices beside the weights, as NVFP4 files have them, dense and with experts."""

from dataclasses import replace

import gguf
import numpy as np
import pytest

from localllm.errors import UnsupportedError
from localllm.model.model import LoadedModel
from tests import reference
from tests.kernels import blocks
from tests.model import twin
from tests.model.twin import Case, Experts
from tests.tiny_models import nmse

CASES = {
    "dense": Case("llama", pairing="adjacent"),
    "dense, fused, biases": Case("starcoder2", layer_norm=True, biases=True, fused=True, plain=twin.gelu),
    "post norms": Case("olmo2", pre_norm=False, post_norms=True, qk_norm="row"),
    "experts": Case("qwen2moe", experts=Experts(normed=False, shared=128, shared_gate=True)),
    "experts with biases": Case(
        "gpt-oss", {"attention.sliding_window": 24, "expert_feed_forward_length": twin.N_FF},
        biases=True, ffn_norm="post_attention_norm", sinks=True, window=lambda i: 0 if i % 2 else 24,
        experts=Experts(gating="chosen", normed=False, biases=True, function=twin.oai),
    ),
    "weight before": Case(
        "llama4", {"attention.sliding_window": 0, "interleave_moe_layer_step": 1}, pairing="adjacent",
        experts=Experts(gating="sigmoid", normed=False, before=True, used=1, shared=64, n=128),
    ),
}  # fmt: skip
IDS = [int(i) for i in np.random.default_rng(7).integers(0, twin.N_VOCAB, 40)]
NVFP4 = gguf.GGMLQuantizationType.NVFP4


def is_scaled(name: str) -> bool:
    """The matrices that llama.cpp looks for a scale of."""
    parts = ("embd", "norm", "gate_inp", "sinks", "freqs")
    return name.endswith(".weight") and not any(part in name for part in parts)


def scales_of(tensors: dict, seed: int = 3) -> dict:
    """A scale a matrix, or an expert of it: by the name of the weights."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.3, 3.0, x.shape[0] if x.ndim == 3 else 1).astype(np.float32)
        for name, x in tensors.items()
        if is_scaled(name)
    }


def divided(tensors: dict, scales: dict) -> dict:
    """The tensors, and scales of their own that undo what their weights are divided by."""
    out = dict(tensors)
    for name, s in scales.items():
        x = tensors[name]
        out[name] = (x / (s[:, None, None] if x.ndim == 3 else s)).astype(np.float32)
        out[name.removesuffix("weight") + "scale"] = s
    return out


def load(path):
    return LoadedModel.load(path, n_ctx=128, kv_type="f32", n_threads=2)


@pytest.mark.parametrize("name", CASES)
def test_scaled_weights_are_the_weights(name, tmp_path):
    """In F32, where nothing else is lost; token by token too, to the bit."""
    case = CASES[name]
    tensors = twin.weights(case)
    path = twin.write(tmp_path / "m.gguf", case, divided(tensors, scales_of(tensors)))
    with load(path) as model:
        whole = model.logits(IDS)
        assert nmse(twin.forward(case, tensors, IDS), whole) < 1e-10
        context = model.context()
        steps = [context.forward([token]) for token in IDS[:9]]
        context.close()
        assert np.array_equal(np.concatenate(steps), whole[:9])


def as_nvfp4(tensors: dict, seed: int = 5) -> tuple[dict, dict]:
    """Random NVFP4 weights in the place of the matrices: (their bytes, what they stand for), by name. The embedding
    too."""
    raw: dict[str, np.ndarray] = {}
    values: dict[str, np.ndarray] = {}
    for name, x in tensors.items():
        if is_scaled(name) or name == "token_embd.weight":
            rng = np.random.default_rng([seed, len(raw)])
            rows = blocks.weights("NVFP4", x.size // x.shape[-1], x.shape[-1], rng)
            scales = rows.reshape(-1, 36)[:, :4]
            scales[...] = np.maximum(scales, 0x10)  # half of which is a normal number too
            raw[name] = rows.reshape(*x.shape[:-1], -1)
            values[name] = reference.dequantize("NVFP4", rows).reshape(x.shape)
    return raw, values


def write_nvfp4(path, case, tensors, raw, more):
    return twin.write(path, case, tensors | more, lambda name, x: (raw[name], NVFP4) if name in raw else None)


@pytest.mark.parametrize("name", ["dense", "experts"])
def test_nvfp4_near_its_f32_twin(name, tmp_path):
    """int8 activations are all that differs; see test_quantized_near_their_dequantized_twin."""
    case = CASES[name]
    tensors = twin.weights(case)
    raw, values = as_nvfp4(tensors)
    spread = {n: np.float32(1 / (values[n].std() * x.shape[-1] ** 0.5)) for n, x in tensors.items() if n in raw}
    scales = {n: (s * spread[n]).astype(np.float32) for n, s in scales_of(tensors).items()}
    whole = tensors | values | {
        n: values[n] * (s[:, None, None] if values[n].ndim == 3 else s) for n, s in scales.items()
    }  # fmt: skip
    more = {n.removesuffix("weight") + "scale": s for n, s in scales.items()}
    more |= {n.replace(".scale", ".input_scale"): s for n, s in more.items()}
    exact = twin.forward(case, whole, IDS)
    with load(write_nvfp4(tmp_path / "m.gguf", case, tensors, raw, more)) as model:
        found = model.logits(IDS)
        assert sorted(model.skipped) == sorted(n for n in more if n.endswith("input_scale"))
    error = ((found - exact) ** 2).mean(-1) / (exact**2).mean(-1)
    assert np.quantile(error, 0.25 if case.experts else 0.9) < 3e-3


@pytest.mark.parametrize("name", ["dense", "experts"])
def test_half_the_scale_of_twice_the_blocks(name, tmp_path):
    """Powers of two lose nothing: a scale of 1/2 of the whole gives the bits that halved scales of the blocks give."""
    case, logits = CASES[name], []
    tensors = twin.weights(case)
    raw, _ = as_nvfp4(tensors)
    half = {n.removesuffix("weight") + "scale": np.full_like(s, 0.5) for n, s in scales_of(tensors).items()}
    halved = {n: x.copy() for n, x in raw.items()}
    for n in scales_of(tensors):
        halved[n].reshape(-1, 36)[:, :4] -= 8  # one less in an E4M3's exponent
    for number, (weights, more) in enumerate(((raw, half), (halved, {}))):
        with load(write_nvfp4(tmp_path / f"{number}.gguf", case, tensors, weights, more)) as model:
            logits.append(model.logits(IDS))
    assert np.array_equal(*logits)
    assert np.isfinite(logits[0]).all()


def test_a_scale_without_its_matrix_is_refused(tmp_path):
    """A tied output has no scale of its own (llama.cpp gives up there), and a vector of another length is none."""
    case = replace(CASES["dense"], tied=True)
    for more in ({"output.scale": np.ones(1)}, {"blk.0.attn_q.scale": np.ones(4)}):
        tensors = twin.weights(case) | {n: x.astype(np.float32) for n, x in more.items()}
        with pytest.raises(UnsupportedError, match=rf"{next(iter(more))}: this architecture's spec has no use"):
            load(twin.write(tmp_path / "m.gguf", case, tensors))
