"""The models that are mutated: small ones of each kind of block, with a vocabulary, in several formats."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from localllm.kernels.formats.table import FORMATS
from localllm.tools import blocks
from tests.model.test_recorded_quantized import can_be_quantized
from tests.mutants.layout import Info, Layout, parsed
from tests.mutants.vocabularies import N_PLAMO, VOCABULARIES
from tests.recorded import models

SMALL = ("Q4_0", "Q8_0", "Q4_1", "MXFP4", "F16", "BF16")
"""Formats for rows of 32 elements, and of any number."""
LARGE = tuple(name for name, f in FORMATS.items() if f.supported and f.block >= 64)
FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Seed:
    """A recorded case with a vocabulary; matrices take the formats in turn, as far as their rows are whole blocks."""

    case: str
    vocabulary: str
    formats: tuple[str, ...] = SMALL


SEEDS = {
    "llama": Seed("llama", "llama"), "llama-f32": Seed("llama", "gpt2", ("F32",)), "wide": Seed("", "llama", LARGE),
    "llama-linear": Seed("llama-linear", "none"), "qwen2": Seed("qwen2", "gpt2-qwen2"), "qwen3": Seed("qwen3", "gpt2"),
    "llama-moe": Seed("llama-moe", "llama"), "qwen3moe": Seed("qwen3moe", "gpt2-qwen2"),
    "gpt-oss": Seed("gpt-oss", "gpt2", ("MXFP4",)), "bailingmoe2": Seed("bailingmoe2", "gpt2"),
    "deepseek2": Seed("deepseek2", "gpt2"), "deepseek2-lite": Seed("deepseek2-lite", "llama"),
    "minicpm3": Seed("minicpm3-long", "llama"), "plm": Seed("plm", "none"), "mistral4": Seed("mistral4", "none"),
    "gemma2": Seed("gemma2", "llama"), "gemma3": Seed("gemma3", "llama"), "gemma": Seed("gemma", "gemma4"),
    "gemma3n": Seed("gemma3n", "llama"), "gemma4": Seed("gemma4-fused", "gemma4"),
    "phi3": Seed("phi3-short", "llama"), "gptneox": Seed("gptneox", "gpt2", FLOATS),
    "mpt": Seed("mpt-positions", "gpt2"),
    "gpt2": Seed("gpt2", "gpt2"), "falcon": Seed("falcon-40b", "gpt2"), "bloom": Seed("bloom", "gpt2"),
    "jais": Seed("jais", "gpt2"), "bitnet": Seed("bitnet", "llama"), "openelm": Seed("openelm", "llama"),
    "smallthinker": Seed("smallthinker", "none"), "step35": Seed("step35-nextn", "none"),
    "mamba": Seed("mamba", "gpt2"), "mamba2": Seed("mamba2", "gpt2"), "jamba": Seed("jamba-moe", "llama"),
    "falcon-h1": Seed("falcon-h1", "gpt2"), "nemotron_h": Seed("nemotron_h_moe", "gpt2"),
    "granitehybrid": Seed("granitehybrid-rope", "gpt2"), "plamo2": Seed("plamo2", "plamo2", FLOATS),
    "rwkv6": Seed("rwkv6-odd", "rwkv"), "rwkv7": Seed("rwkv7", "rwkv"), "arwkv7": Seed("arwkv7", "gpt2"),
    "rwkv6qwen2": Seed("rwkv6qwen2", "gpt2-qwen2"), "lfm2": Seed("lfm2", "gpt2"),
    "qwen3next": Seed("qwen3next", "gpt2"),
    "qwen35": Seed("qwen35moe", "gpt2-qwen2"), "qwen4exp": Seed("qwen4exp-sparse", "none"),
    "kimi-linear": Seed("kimi-linear", "none"), "minimax-01": Seed("minimax-01-odd", "gpt2"),
    "minimax-m3": Seed("minimax-m3-all", "gpt2"), "glm-dsa": Seed("glm-dsa", "none"),
    "deepseek4": Seed("deepseek4-long", "none"), "glm5-next": Seed("glm5-next-odd", "none"),
    "hy_v4": Seed("hy_v4-sparse", "none"), "hrm_text": Seed("hrm_text-odd", "none"),
    "bert": Seed("bert-classifier", "bert"), "nomic-bert": Seed("nomic-bert-moe", "bert"),
    "modern-bert": Seed("modern-bert-rank", "gpt2"), "jina-bert-v2": Seed("jina-bert-v2", "bert"),
    "t5encoder": Seed("t5encoder", "t5"), "gemma-embedding": Seed("gemma-embedding-dense", "llama"),
}  # fmt: skip
"""By name."""


def _wide() -> models.Case:
    """Llama's shape with rows of 256 elements: every format fits them."""
    n, ff = 256, 256
    kv = {
        "embedding_length": n, "block_count": 3, "feed_forward_length": ff, "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.head_count": 4, "attention.head_count_kv": 1, "attention.key_length": 64,
        "attention.value_length": 64, "rope.dimension_count": 64,
    }  # fmt: skip
    layer = {
        "attn_norm": [n], "attn_q": [n, 256], "attn_k": [n, 64], "attn_v": [n, 64], "attn_output": [256, n],
        "ffn_norm": [n], "ffn_gate": [n, ff], "ffn_up": [n, ff], "ffn_down": [ff, n],
    }  # fmt: skip
    tensors = {"token_embd.weight": [n, 96], "output_norm.weight": [n], "output.weight": [n, 96]}
    tensors |= {f"blk.{i}.{name}.weight": shape for i in range(3) for name, shape in layer.items()}
    return models.Case("llama", kv, tensors)


def _with_vocabulary(case: models.Case, vocabulary: str) -> models.Case:
    n = N_PLAMO if vocabulary == "plamo2" else models.N_VOCAB
    of_tokens = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
    tensors = {name: [shape[0], n] if name in of_tokens else shape for name, shape in case.tensors.items()}
    return replace(case, tensors=tensors, kv=case.kv | VOCABULARIES[vocabulary] | {"vocab_size": n})


def _formatted(layout: Layout, names: tuple[str, ...]) -> Layout:
    """Matrices take the formats that fit them in turn, with any codes."""
    turn = cycle(names)
    for i, info in enumerate(layout.infos):
        x = np.frombuffer(info.data, np.float32)
        shape = x.reshape(info.dims[::-1]) if info.kind == 0 else x
        for _ in names:
            format = FORMATS[next(turn)]
            if info.kind == 0 and can_be_quantized(info.name.decode(), shape, format.block):
                raw = _encoded(format.name, info, x)
                layout.infos[i] = Info(info.name, info.dims, format.id, raw)
                break
    return layout


def _encoded(name: str, info: Info, x: np.ndarray) -> bytes:
    if name == "F32":
        return info.data
    if name == "F16":
        return x.astype(np.float16).tobytes()
    if name == "BF16":
        return (x.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    k = info.dims[0]
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(info.name)))
    return blocks.weights(name, x.size // k, k, rng, 8 / k**0.5).tobytes()


def layout_of(seed: Seed) -> Layout:
    """Its records."""
    case = _with_vocabulary(models.cases()[seed.case] if seed.case else _wide(), seed.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        content = models.write(Path(folder) / "seed.gguf", case).read_bytes()
    return _formatted(parsed(content), seed.formats)


@cache
def layout(name: str) -> Layout:
    """A seed as records."""
    return layout_of(SEEDS[name])


def known_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of these seeds, without the architecture's prefix."""
    found: dict[str, Any] = {}
    for name in names:
        found |= dict.fromkeys(pair.suffix(layout(name).architecture) for pair in layout(name).pairs)
    return tuple(found)
