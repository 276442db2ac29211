"""Mixtures: which format each tensor of a file gets, by the rules of llama.cpp.

A mixture is what `llama-quantize` calls a type: Q4_K_M stores most matrices as Q4_K, and those that matter more with
more bits. The rules are those of llama_tensor_get_type, tensor_allows_quantization and tensor_type_fallback in
llama.cpp's src/llama-quant.cpp (version of October 2026); tests/quantize/mixtures.json holds what it chose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from localllm.errors import UnsupportedError, UsageError
from localllm.kernels.formats.table import FORMATS, Format
from localllm.quantize.mixture_rules import EMBEDDING, EXPERTS_ONLY, LOW_BITS, LOW_RULES, OUTPUT_Q5_K, RULES, At, Facts
from localllm.quantize.source import Source, SourceTensor


@dataclass(frozen=True)
class Mixture:
    """A name that may be asked for: its number in general.file_type, and the format of most matrices."""

    name: str
    file_type: int
    format: str

    @property
    def quantized(self) -> bool:
        return self.format not in _FLOATS


@dataclass(frozen=True)
class Overrides:
    """What the user asks for instead of the rules."""

    tensor_types: tuple[tuple[re.Pattern[str], Format], ...] = ()
    """The first pattern that is found in a tensor's name gives its format."""
    output: Format | None = None
    """For output.weight, and for the token embeddings where they serve as such."""
    token_embedding: Format | None = None
    leave_output: bool = False
    """output.weight keeps the format that it has."""
    pure: bool = False
    """All matrices get the mixture's main format."""


_FLOATS = ("F32", "F16", "BF16")
_ROWS = (
    ("F32", 0, "F32"), ("F16", 1, "F16"), ("BF16", 32, "BF16"), ("Q8_0", 7, "Q8_0"),
    ("Q6_K", 18, "Q6_K"), ("Q5_K_M", 17, "Q5_K"), ("Q5_K_S", 16, "Q5_K"), ("Q5_1", 9, "Q5_1"), ("Q5_0", 8, "Q5_0"),
    ("Q4_K_M", 15, "Q4_K"), ("Q4_K_S", 14, "Q4_K"), ("Q4_1", 3, "Q4_1"), ("Q4_0", 2, "Q4_0"),
    ("IQ4_NL", 25, "IQ4_NL"), ("IQ4_XS", 30, "IQ4_XS"), ("MXFP4_MOE", 38, "MXFP4"), ("NVFP4", 39, "NVFP4"),
    ("Q3_K_L", 13, "Q3_K"), ("Q3_K_M", 12, "Q3_K"), ("Q3_K_S", 11, "Q3_K"),
    ("IQ3_M", 27, "IQ3_S"), ("IQ3_S", 26, "IQ3_S"), ("IQ3_XS", 22, "IQ3_S"), ("IQ3_XXS", 23, "IQ3_XXS"),
    ("Q2_K", 10, "Q2_K"), ("Q2_K_S", 21, "Q2_K"), ("Q2_0", 41, "Q2_0"),
    ("IQ2_M", 29, "IQ2_S"), ("IQ2_S", 28, "IQ2_XS"), ("IQ2_XS", 20, "IQ2_XS"), ("IQ2_XXS", 19, "IQ2_XXS"),
    ("TQ2_0", 37, "TQ2_0"), ("TQ1_0", 36, "TQ1_0"), ("IQ1_M", 31, "IQ1_M"), ("IQ1_S", 24, "IQ1_S"),
    ("Q1_0", 40, "Q1_0"),
)  # fmt: skip
"""Name, llama_ftype of llama.h, main format; from large files to small ones. llama-quantize does not make NVFP4."""
MIXTURES: dict[str, Mixture] = {row[0]: Mixture(*row) for row in _ROWS}
COPY = Mixture("COPY", -1, "")
"""Every tensor keeps its format: to change metadata, to split a file or to merge one."""
ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}

_FALLBACKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "NVFP4": "IQ4_NL",
}  # fmt: skip
"""Format whose blocks do not fit into a row -> format with smaller blocks; F16 where those do not fit either."""

_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
    "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
    "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_",
    ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
"""Parts of names of matrices that are not quantized: small ones, routers, tables of positions."""
_KEPT_GLM5_NEXT = (
    "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate", "indexer_compressor_ape",
    "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight",
    "attn_k_b.weight", "attn_v_b.weight",
)  # fmt: skip
_KEPT_NAMES = ("position_embd.weight", "token_types.weight")
_GLM5_NEXT_Q8 = ("attn_q_a", "attn_q_b", "nextn.eh_proj")

_CATEGORIES = (
    ("attn_qkv.weight", "attn_v"), ("attn_kv_b.weight", "attn_v"), ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"), ("attn_q.weight", "attn_q"), ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"), ("ffn_down", "ffn_down"),
)  # fmt: skip
"""Part of a tensor's name -> what the rules call it; the first that is found. Joined matrices count as attn_v."""
_LAYER = re.compile(r"blk\.(\d+)\.")
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")


def mixture(name: str) -> Mixture:
    """The row of MIXTURES of that name, in whatever case. Raises UsageError that lists the names."""
    upper = name.upper()
    upper = ALIASES.get(upper, upper)
    if upper == COPY.name:
        return COPY
    if upper not in MIXTURES:
        raise UsageError(f"there is no format {name!r}; formats are {', '.join(MIXTURES)}, and COPY")
    return MIXTURES[upper]


def choose(source: Source, name: str, has_imatrix: bool, overrides: Overrides | None = None) -> dict[str, Format]:
    """The format of each tensor of the source in a mixture, in the source's order; what is kept has the source's.

    Raises UsageError for an unknown name, UnsupportedError where a tensor's rows hold no whole blocks of its format and
    there is none to fall back to.
    """
    row = mixture(name)
    if row is COPY:
        return {tensor.name: FORMATS[tensor.format] for tensor in source.tensors.values()}
    rules = _Rules(source, row, has_imatrix, overrides or Overrides())
    chosen = {tensor: rules.format(source.tensors[tensor]) for tensor in sorted(source.tensors, key=_in_order)}
    return {tensor: chosen[tensor] for tensor in source.tensors}


def needs_importance(tensor: str, format: Format, row: Mixture) -> bool:
    """Whether a tensor is of no use in this format without calibration: tensor_requires_imatrix of llama-quant.cpp."""
    if tensor in _EMBEDDINGS or tensor == "output.weight":
        return False
    if format.name == "Q2_K":
        return row.name == "Q2_K_S"
    return format.name in ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")


class _Rules:
    """The rules for one file. They count tensors as they go: ask in llama.cpp's order."""

    def __init__(self, source: Source, row: Mixture, has_imatrix: bool, overrides: Overrides) -> None:
        self.path = source.path
        self.row = row
        self.overrides = overrides
        self.facts = Facts.of(source.metadata, source.tensors, has_imatrix)
        self.seen = dict.fromkeys(RULES, 0)
        categories = [_category(name) for name in source.tensors]
        self.n_attn_v = categories.count("attn_v")
        self.tied = "output.weight" not in source.tensors

    def format(self, tensor: SourceTensor) -> Format:
        if not self._allowed(tensor):
            return FORMATS[tensor.format]
        asked = self._asked(tensor.name)
        if asked is not None:
            return _fitting(self.path, tensor, asked)
        for pattern, format in self.overrides.tensor_types:
            if pattern.search(tensor.name):
                return _fitting(self.path, tensor, format)
        if self.overrides.pure or not self.row.quantized:
            return _fitting(self.path, tensor, FORMATS[self.row.format])
        return _fitting(self.path, tensor, FORMATS[self._by_rule(tensor)])

    def _allowed(self, tensor: SourceTensor) -> bool:
        name = tensor.name
        kept = _KEPT + (_KEPT_GLM5_NEXT if self.facts.architecture == "glm5-next" else ())
        if name == "output.weight" and self.overrides.leave_output:
            return False
        return (
            tensor.n_dims > 1
            and name.endswith("weight")
            and name not in _KEPT_NAMES
            and not any(part in name for part in kept)
        )

    def _asked(self, name: str) -> Format | None:
        """--token-embedding-type and --output-tensor-type come before --tensor-type, but for Gemma 3n's own table."""
        if self.overrides.token_embedding is not None and name in _EMBEDDINGS:
            named = any(pattern.search(name) for pattern, _ in self.overrides.tensor_types)
            return None if named and name == "per_layer_token_embd.weight" else self.overrides.token_embedding
        return self.overrides.output if name == "output.weight" else None

    def _by_rule(self, tensor: SourceTensor) -> str:
        name, main = tensor.name, self.row.format
        if self.facts.architecture == "glm5-next" and any(part in name for part in _GLM5_NEXT_Q8):
            return "Q8_0"
        if name == "output.weight" or (self.tied and name in _EMBEDDINGS):
            return self._output(tensor)
        if self.row.name in EXPERTS_ONLY:
            return self._experts(tensor)
        if name in _EMBEDDINGS:
            return EMBEDDING.get(self.row.name, main)
        category = _category(name)
        if category is None:
            return main
        at = self._at(name, category)
        self.seen[category] += 1
        rules = LOW_RULES if self.row.name in LOW_BITS else RULES
        return rules[category](self.row.name, at) or main

    def _at(self, name: str, category: str) -> At:
        n = self.n_attn_v if category == "attn_v" else self.facts.n_layer
        i = self.seen[category]
        if self.facts.n_expert > 1 and category.startswith("ffn"):  # experts are no consecutive tensors of a layer
            match = _LAYER.match(name)
            i = int(match[1]) if match else i
        return At(self.facts, self.row.format, i, n, self.seen[category])

    def _output(self, tensor: SourceTensor) -> str:
        main = FORMATS[self.row.format]
        if self.overrides.output is not None:
            return self.overrides.output.name
        if self.row.name in EXPERTS_ONLY or self.facts.architecture == "falcon" or tensor.k % main.block:
            return "Q8_0"
        if self.row.name in OUTPUT_Q5_K:
            return "Q5_K"
        return "Q8_0" if main.name == "Q8_0" else "Q6_K"

    def _experts(self, tensor: SourceTensor) -> str:
        """Matrices of experts get the main format, all else Q8_0. Latent attention's may have three dimensions, too."""
        experts = len(tensor.shape) > 2 and tensor.shape[2] > 1
        if self.facts.architecture == "bailingmoe3":
            experts = experts and (_category(tensor.name) or "").startswith("ffn")
        return self.row.format if experts else "Q8_0"


def _category(name: str) -> str | None:
    if name == "output.weight" or name in _EMBEDDINGS:
        return None
    return next((category for part, category in _CATEGORIES if part in name), None)


def _in_order(name: str) -> tuple[int, str]:
    """llama.cpp goes through the tensors by layer, then by name: weight_name_comparer of llama-model-loader.h."""
    match = _LAYER.match(name)
    return (int(match[1]) if match else -1), name


def _fitting(path: str, tensor: SourceTensor, format: Format) -> Format:
    """The format, or one with smaller blocks where rows hold no whole blocks of it."""
    if tensor.k % format.block == 0:
        return format
    if format.block > 32 and format.name not in _FALLBACKS:
        rows = f"rows of {tensor.k} elements are no whole blocks of {format.block}"
        raise UnsupportedError(f"{path}: tensor {tensor.name}: {rows} ({format.name}): choose another format for it")
    smaller = FORMATS[_FALLBACKS.get(format.name, format.name)]
    return smaller if tensor.k % smaller.block == 0 else FORMATS["F16"]


def describe(chosen: Mapping[str, Format]) -> dict[str, int]:
    """Format -> number of tensors, the most frequent first."""
    names = [format.name for format in chosen.values()]
    return {name: names.count(name) for name in sorted(set(names), key=lambda name: (-names.count(name), name))}
