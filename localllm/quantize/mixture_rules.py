"""The tables of llama.cpp's mixtures: llama_tensor_get_type_impl in src/llama-quant.cpp, row by row.

A rule gives the name of a format, or None where the mixture's main format is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localllm.quantize.source import SourceTensor, Typed

EXPERTS_ONLY = ("MXFP4_MOE",)
"""Mixtures whose format is for experts."""
LOW_BITS = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M")
"""Mixtures that follow LOW_RULES."""
OUTPUT_Q5_K = (*LOW_BITS, "IQ3_XXS")
"""Mixtures whose output matrix is Q5_K, not Q6_K."""
EMBEDDING = {
    "NVFP4": "Q8_0",  # our own choice
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
}
"""Mixture -> format of token embeddings that do not serve as the output matrix."""
_70B: dict[str, int] = {"llama": 80, "llama-embed": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
"""Architecture -> layers of the size that llama.cpp calls 70B."""


@dataclass(frozen=True)
class Facts:
    """What the rules ask about a model."""

    architecture: str
    n_layer: int
    n_gqa: int
    """Query heads a head of keys and values, in the first layer; 0 where it has none."""
    n_expert: int
    is_70b: bool
    has_imatrix: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Typed], tensors: Mapping[str, SourceTensor], has_imatrix: bool) -> Facts:
        architecture = metadata["general.architecture"].value if "general.architecture" in metadata else ""

        def first(key: str, default: int = 0) -> int:
            entry = metadata.get(f"{architecture}.{key}")
            value = default if entry is None else entry.value
            return int((value or [default])[0] if isinstance(value, list) else value)

        n_layer, n_expert, n_head = first("block_count"), first("expert_count"), first("attention.head_count")
        if architecture == "nanbeige":  # its layers run several times, and llama.cpp counts them so
            n_layer *= first("num_loops", 1)
        n_head_kv = first("attention.head_count_kv", n_head)
        large = n_layer - first("nextn_predict_layers") == _70B.get(architecture)
        if architecture.startswith("llama"):
            large = large and n_head != n_head_kv and n_expert != 8
        return cls(architecture, n_layer, n_head // n_head_kv if n_head_kv else 0, n_expert, large, has_imatrix)


@dataclass(frozen=True)
class At:
    """A tensor's place: number `i` of `n` layers, or of tensors of its kind; `seen` of its kind came before it.

    `main` is the mixture's main format.
    """

    facts: Facts
    main: str
    i: int
    n: int
    seen: int

    @property
    def first_eighth(self) -> bool:
        return self.i < self.n // 8

    @property
    def last_eighth(self) -> bool:
        return self.i >= 7 * self.n // 8

    @property
    def more_bits(self) -> bool:
        """The outer layers, and every third one between."""
        return self.first_eighth or self.last_eighth or (self.i - self.n // 8) % 3 == 2


_Rule = str | Callable[[At], str | None]
_SharedHeads = 4
"""From so many query heads a head of keys and values on, the values' matrix is small, and gets more bits."""


def _shared(format: str, other: str | None = None) -> Callable[[At], str | None]:
    return lambda at: format if at.facts.n_gqa >= _SharedHeads else other


def _where(test: Callable[[At], bool], format: str, other: str | None = None) -> Callable[[At], str | None]:
    return lambda at: format if test(at) else other


def _ask(rules: Mapping[str, _Rule], name: str, at: At) -> str | None:
    rule = rules.get(name)
    return rule(at) if callable(rule) else rule


_ATTN_V: dict[str, _Rule] = {
    "Q2_K": _shared("Q4_K", "Q3_K"),
    "Q2_K_S": _shared("Q4_K"),
    "IQ3_XXS": lambda at: _shared("Q4_K", "IQ3_XXS" if at.facts.has_imatrix else "IQ3_S")(at),
    "IQ3_XS": _shared("Q4_K"),
    "IQ3_S": _shared("Q4_K"),
    "IQ3_M": "Q4_K",
    "Q3_K_M": _where(lambda at: at.seen < 2, "Q5_K", "Q4_K"),
    "Q3_K_L": "Q5_K",
    "IQ4_NL": _shared("Q5_K"),
    "IQ4_XS": _shared("Q5_K"),
    "Q4_K_M": _where(lambda at: at.more_bits, "Q6_K"),
    "Q5_K_M": _where(lambda at: at.more_bits, "Q6_K"),
    "Q4_K_S": _where(lambda at: at.seen < 4, "Q5_K"),
}
_ATTN_Q: dict[str, _Rule] = {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}
_FFN_DOWN: dict[str, _Rule] = {
    "Q2_K": "Q3_K",
    "Q2_K_S": _where(lambda at: at.first_eighth, "Q4_K"),
    "IQ3_XXS": lambda at: None if at.facts.has_imatrix else "Q4_K" if at.first_eighth else "Q3_K",
    "Q3_K_M": lambda at: "Q5_K" if at.i < at.n // 16 else "Q4_K" if not _falcon(at) or at.more_bits else "Q3_K",
    "IQ3_M": _where(lambda at: at.first_eighth or (at.facts.n_expert == 8 and at.more_bits), "Q4_K"),
    "Q3_K_L": lambda at: "Q4_K" if _falcon(at) else "Q5_K",
    "Q4_K_M": lambda at: _falcon_q4_k_m(at) if _falcon(at) else "Q6_K" if at.more_bits else None,
    "IQ4_NL": _where(lambda at: at.first_eighth and not at.facts.has_imatrix, "Q5_K"),
    "IQ4_XS": _where(lambda at: at.first_eighth and not at.facts.has_imatrix, "Q5_K"),
    "Q5_K_M": _where(lambda at: at.more_bits, "Q6_K"),
    "Q4_K_S": _where(lambda at: at.first_eighth and not _falcon(at), "Q5_K"),
    "Q4_0": _where(lambda at: at.first_eighth and at.facts.has_imatrix, "Q4_1"),
    "Q5_0": _where(lambda at: at.first_eighth and at.facts.has_imatrix, "Q5_1"),
}
_ATTN_OUTPUT: dict[str, _Rule] = {
    "Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K",
}  # fmt: skip
_ATTN_OUTPUT_FALCON: dict[str, _Rule] = {"Q3_K_L": "Q4_K"}
_ATTN_OUTPUT_8_EXPERTS: dict[str, _Rule] = dict.fromkeys(
    ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS"), "Q5_K"
)
_FFN_GATE_UP: dict[str, _Rule] = {"IQ3_XS": _where(lambda at: not (at.first_eighth or at.last_eighth), "IQ3_XXS")}


def _falcon(at: At) -> bool:
    return at.facts.architecture == "falcon"


def _falcon_q4_k_m(at: At) -> str:
    return "Q6_K" if at.i < at.n // 16 else "Q5_K" if at.more_bits else "Q4_K"


def _attn_v(name: str, at: At) -> str | None:
    if at.facts.n_expert == 8:
        return "Q8_0"
    format = _ask(_ATTN_V, name, at)
    return "Q5_K" if at.facts.is_70b and (format or at.main) in ("Q3_K", "Q4_K") else format


def _attn_k(name: str, at: At) -> str | None:
    return "Q8_0" if at.facts.n_expert == 8 else _ask(_ATTN_Q, name, at)


def _attn_output(name: str, at: At) -> str | None:
    if _falcon(at):
        return _ask(_ATTN_OUTPUT_FALCON, name, at)
    return _ask(_ATTN_OUTPUT_8_EXPERTS if at.facts.n_expert == 8 else _ATTN_OUTPUT, name, at)


RULES: dict[str, Callable[[str, At], str | None]] = {
    "attn_v": _attn_v,
    "attn_k": _attn_k,
    "attn_q": lambda name, at: _ask(_ATTN_Q, name, at),
    "attn_output": _attn_output,
    "ffn_down": lambda name, at: _ask(_FFN_DOWN, name, at),
    "ffn_gate": lambda name, at: _ask(_FFN_GATE_UP, name, at),
    "ffn_up": lambda name, at: _ask(_FFN_GATE_UP, name, at),
}
"""Kind of tensor -> rule (mixture's name, place)."""


def _medium(name: str, small: str | None) -> str | None:
    """IQ2_S and IQ2_M raise some tensors to IQ3_S, smaller mixtures to `small`."""
    return "IQ3_S" if name in ("IQ2_S", "IQ2_M") else small


def _low_attn_v(name: str, at: At) -> str | None:
    return "Q4_K" if at.facts.n_gqa >= _SharedHeads or at.facts.n_expert >= 4 else _medium(name, "Q2_K")


def _low_attn_output(name: str, at: At) -> str | None:
    if at.facts.n_expert == 8:
        return "Q5_K"
    return _medium(name, "IQ2_XXS" if name in ("IQ1_S", "IQ1_M") else None)


LOW_RULES: dict[str, Callable[[str, At], str | None]] = {
    "attn_v": _low_attn_v,
    "attn_k": lambda _, at: "Q4_K" if at.facts.n_expert == 8 else None,
    "attn_q": lambda *_: None,
    "attn_output": _low_attn_output,
    "ffn_down": lambda name, at: _medium(name, "Q2_K") if at.seen < at.facts.n_layer // 8 else None,
    "ffn_gate": lambda *_: None,
    "ffn_up": lambda *_: None,
}
"""As RULES, for the mixtures of 1 and 2 bits."""
