"""Every recorded model with quantized matrices, beside the same weights dequantized: as files of hubs hold them."""

from dataclasses import replace

import gguf
import numpy as np
import pytest

from localllm.model.model import LoadedModel
from tests.model.test_recorded import check_one_batch, feed
from tests.recorded import models
from tests.recorded.models import N_CTX, ids_of, outputs

CASES = models.cases()
_LEFT_IN_F32 = (
    "_norm.weight", "ffn_gate_inp.weight", "tid2eid", "altup", "laurel", "per_layer_model_proj", "position_embd",
    "token_types", "ssm_conv1d", "shortconv.conv", "indexer.k_proj", "indexer.q_proj", "time_mix_first", "time_mix_w",
    "time_mix_v0", "time_mix_v1", "time_mix_v2", "time_mix_a", "time_mix_g", "time_mix_decay_w", "time_mix_lerp",
    "attn_rel_b",
)  # fmt: skip
"""Parts of names of tensors that llama-quantize leaves alone (llama-quant.cpp, tensor_allows_quantization)."""


def can_be_quantized(name: str, x: np.ndarray, block: int) -> bool:
    if x.ndim < 2 or min(x.shape[-2:]) == 1 or x.shape[-1] % block:
        return False
    return name.endswith("weight") and not any(part in name for part in _LEFT_IN_F32)


def quantizer(fmt: str, dequantize: bool) -> models.Quantize:
    kind = gguf.GGMLQuantizationType[fmt]

    def quantize(name, x):
        if not can_be_quantized(name, x, gguf.GGML_QUANT_SIZES[kind][0]):
            return None
        raw = gguf.quants.quantize(x, kind)
        if dequantize:
            return gguf.quants.dequantize(raw, kind).astype(np.float32), gguf.GGMLQuantizationType.F32
        return raw, kind

    return quantize


_BOUND = 1e-3
"""Of the median error over rows."""
_AMPLIFYING = {"rwkv": 4, "arwkv": 4, "exaone4-32b": 8}
"""How the names of cases begin whose random weights amplify errors from layer to layer, in llama.cpp too (1.2e-3 to
6.7e-2 of the logits), and what their blocks' results are divided by: RWKV's for factors under which each tensor shows,
EXAONE 4's for 64 layers of post-norms."""
_CLOSING = (
    "attn_output.", "ffn_down", "time_mix_output", "channel_mix_value", "post_attention_norm.", "post_ffw_norm.",
)  # fmt: skip
"""What ends their blocks."""


def contracting(name: str) -> models.Case:
    """The case; of an amplifying one, without factors above 1, and with blocks that add less."""
    case = CASES[name]
    divisor = next((d for start, d in _AMPLIFYING.items() if name.startswith(start)), 0)
    if not divisor:
        return case
    scales = {part: min(factor, 1.0) for part, factor in case.scales.items()}
    return replace(case, scales=scales | {part: scales.get(part, 1.0) / divisor for part in _CLOSING})


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_1", "F16"])
@pytest.mark.parametrize("name", CASES)
def test_near_the_dequantized_model(name, fmt, tmp_path):
    """Activations in int8 cost 1e-4 to 8e-4 in most rows, in llama.cpp too; a row whose router flips at a near tie may
    be far away."""
    case, made = contracting(name), []
    for dequantize in (False, True):
        path = models.write(tmp_path / f"{dequantize}.gguf", case, quantizer(fmt, dequantize))
        with LoadedModel.load(path, n_ctx=N_CTX, n_threads=2, kv_type="f32") as model:
            made.append(outputs(case, model, ids_of(case.n_ids)).astype(np.float64))
    got, exact = made
    errors = ((got - exact) ** 2).mean(-1) / (exact**2).mean(-1)
    assert np.median(errors) < (1e-9 if fmt == "F16" else _BOUND)


@pytest.mark.parametrize("name", CASES)
def test_a_token_alone_gives_the_bits_that_it_has_in_a_batch(name, tmp_path):
    """Matrices in few bits have other ways of products for one row, a few and many."""
    case, ids = CASES[name], ids_of(8)
    path = models.write(tmp_path / "m.gguf", case, quantizer("Q8_0", False))
    with LoadedModel.load(path, n_ctx=N_CTX, n_threads=2, kv_type="f32") as model:
        exact, context = outputs(case, model, ids), model.context()
        if not model.network.causal:
            check_one_batch(case, context, ids, exact)
        for chunk in (1, 3) if model.network.causal else ():
            assert np.array_equal(feed(case, context, ids, chunk=chunk), exact), f"chunks of {chunk}"
            context.clear()
        context.close()
