"""Scales that wander through a model without changing what it computes: from a matrix's columns into what comes before.

A column of a matrix is multiplied by s, and what makes its input is divided by s: the norm before attn_q, attn_k and
attn_v, the norm before ffn_gate and ffn_up, the rows of ffn_up before ffn_down (its product is multiplied by the
activated gate, element by element), the rows of attn_v before attn_output (attention mixes positions, not channels).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from localllm.kernels.formats.table import Format
from localllm.quantize.source import Source, SourceTensor, Typed

ARCHITECTURES = (
    "llama", "mistral3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "granite", "olmo2", "smollm3",
)  # fmt: skip
"""Whose layers are known to be built like this. Others are left as they are."""
_LAYER = re.compile(r"blk\.\d+\.")
_ATTENTION, _GATED = ("attn_q", "attn_k", "attn_v", "attn_qkv"), ("ffn_gate", "ffn_up")


@dataclass(frozen=True)
class Fold:
    """consumers: matrices whose columns are multiplied; producers: a norm or a matrix, and its bias, whose elements or
    rows are divided. repeats, head: each `head` elements of the producer are the input of `repeats` times as many
    columns, as a key-value head is that of several query heads."""

    producers: Sequence[str]
    consumers: Sequence[str]
    repeats: int = 1
    head: int = 1

    def of_columns(self, scales: np.ndarray) -> np.ndarray:
        """Scales of the producer's elements, float32 [n], as those of the consumers' columns, [n * repeats]."""
        return np.repeat(scales.reshape(-1, self.head), self.repeats, axis=0).ravel()

    def of_rows(self, columns: np.ndarray) -> np.ndarray:
        """The mean over columns that share a scale: float32 [n * repeats] -> [n]."""
        means: np.ndarray = columns.reshape(-1, self.repeats, self.head).mean(axis=1).ravel()
        return means


def folds(source: Source) -> list[Fold]:
    """All that a model has; none for an architecture that is not known."""
    stated = source.metadata.get("general.architecture")
    if stated is None or stated.value not in ARCHITECTURES:
        return []
    layers = dict.fromkeys(match[0] for name in source.tensors if (match := _LAYER.match(name)))
    found = [fold for layer in layers for fold in _of_layer(source, stated.value, layer)]
    return [fold for fold in found if _fits(source, fold)]


def _fits(source: Source, fold: Fold) -> bool:
    """Whether lengths agree: a damaged file may say anything."""
    tensors = [source.tensors[name] for name in fold.producers]
    lengths = {tensor.k if len(tensor.shape) == 1 else tensor.n_rows for tensor in tensors}
    columns = {source.tensors[name].k for name in fold.consumers}
    return all(n % fold.head == 0 and columns == {n * fold.repeats} for n in lengths) and len(lengths) == 1


def _of_layer(source: Source, architecture: str, layer: str) -> Iterator[Fold]:
    tensors = source.tensors

    def present(names: Sequence[str]) -> list[str]:
        return [name for name in names if name in tensors]

    attention = present([f"{layer}{name}.weight" for name in _ATTENTION])
    if attention and f"{layer}attn_norm.weight" in tensors:
        yield Fold(present([f"{layer}attn_norm.weight", f"{layer}attn_norm.bias"]), attention)
    if f"{layer}ffn_gate_inp.weight" not in tensors:  # experts and their router share an input
        gated = present([f"{layer}{name}.weight" for name in _GATED])
        if gated and f"{layer}ffn_norm.weight" in tensors:
            yield Fold(present([f"{layer}ffn_norm.weight", f"{layer}ffn_norm.bias"]), gated)
        up, down = tensors.get(f"{layer}ffn_up.weight"), tensors.get(f"{layer}ffn_down.weight")
        if len(gated) == 2 and up and down and up.n_rows == down.k:
            yield Fold(present([up.name, f"{layer}ffn_up.bias"]), [down.name])
    v, out = tensors.get(f"{layer}attn_v.weight"), tensors.get(f"{layer}attn_output.weight")
    if v and out and out.k % v.n_rows == 0:
        n_heads = source.metadata.get(f"{architecture}.attention.head_count")
        if n_heads and isinstance(n_heads.value, int) and n_heads.value > 0 and out.k % n_heads.value == 0:
            yield Fold(present([v.name, f"{layer}attn_v.bias"]), [out.name], out.k // v.n_rows, out.k // n_heads.value)


@dataclass
class Scaled(Source):
    """A source with scales folded in: another model of the same function. columns, row_factors: by tensor, float32,
    factors of its columns and rows (a vector's elements count as columns)."""

    source: Source
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    row_factors: dict[str, np.ndarray] = field(default_factory=dict)

    def fold(self, fold: Fold, scales: np.ndarray) -> None:
        """Fold scales in: float32 [n], of the producer's elements."""
        for name in fold.consumers:
            self._multiply(self.columns, name, fold.of_columns(scales))
        for name in fold.producers:
            self._multiply(self.columns if len(self.tensors[name].shape) == 1 else self.row_factors, name, 1 / scales)

    def _multiply(self, factors: dict[str, np.ndarray], name: str, by: np.ndarray) -> None:
        factors[name] = np.asarray(by * factors.get(name, np.float32(1)), np.float32)

    @property
    def path(self) -> str:  # type: ignore[override]
        return self.source.path

    @property
    def files(self) -> Sequence[str]:
        return self.source.files

    @property
    def metadata(self) -> Mapping[str, Typed]:
        return self.source.metadata

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return self.source.tensors

    def read(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        return self.rows(name, 0, tensor.n_rows).reshape(tensor.shape[::-1])

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        x = self.source.rows(name, start, stop)
        if name in self.columns:
            x = x * self.columns[name]
        if name in self.row_factors:
            x = x * self.row_factors[name][start:stop, None]
        return x

    def encoded(self, name: str, format: Format) -> np.ndarray | None:
        changed = name in self.columns or name in self.row_factors
        return None if changed else self.source.encoded(name, format)

    def close(self) -> None:
        self.source.close()
