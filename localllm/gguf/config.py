"""The numbers of a model, from a file's metadata, each checked before anything is built on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from localllm.gate import keys as keys_gate
from localllm.gate import numbers
from localllm.gate.check import Place
from localllm.gguf.metadata import REQUIRED
from localllm.gguf.reader import GGUFFile

_OF_NO_ARCHITECTURE = "xielu."
"""How keys begin that GGUF writes without the architecture's name."""
SCALING_TYPES = ("none", "linear", "yarn", "longrope")


@dataclass(frozen=True)
class Window:
    """Sliding windows as a spec sees them. size: cells that a layer with a window sees. Where the file has no pattern,
    every period-th layer sees everything (the last of the period, or the first with dense_first; period 0: none
    does)."""

    size: int
    period: int
    dense_first: bool = False
    chunked: bool = False
    """Windows that do not slide: a row sees the chunk of `size` cells that it lies in."""
    symmetric: bool = False
    """Of an encoder: a row sees size // 2 cells before its own and as many after."""


@dataclass(frozen=True)
class Scaling:
    """How RoPE angles are stretched beyond the context that a model was first trained for; see model.rope."""

    kind: str
    factor: float
    attn_factor: float
    n_ctx_orig: int


@dataclass(frozen=True)
class Config:
    """Dimensions by llama.cpp's names; tuples hold a number a layer."""

    keys: Keys
    """Typed reads of what else the file says, for specs."""
    architecture: str
    n_vocab: int
    n_ctx_train: int
    n_embd: int
    n_block: int
    """Layers with weights of their own; layer i has those of block i % n_block."""
    n_nextn: int
    """Layers that predict further tokens, past those, or the last of them (see `read_config`)."""
    n_layer: int
    n_ff: tuple[int, ...]
    n_head: tuple[int, ...]
    n_head_kv: tuple[int, ...]
    n_embd_head_k: tuple[int, ...]
    n_embd_head_v: tuple[int, ...]
    n_rot: tuple[int, ...]
    window: Window | None
    swa_layers: tuple[bool, ...]
    rope_freq_base: float
    scaling: Scaling
    n_expert: int
    n_expert_used: tuple[int, ...]
    n_expert_groups: int
    n_group_used: int


class Keys:
    """Typed reads of `<architecture>.<key>` within limits."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.architecture: str = file.get("general.architecture", str)

    def full(self, key: str) -> str:
        """A key as the file has it."""
        return key if key.startswith(_OF_NO_ARCHITECTURE) else f"{self.architecture}.{key}"

    def has(self, key: str) -> bool:
        return self.full(key) in self.file.metadata

    def place(self, key: str, more: str = "") -> Place:
        """Where a key stands, for checks; more: such as a layer's number."""
        return Place(self.file.path, f"metadata key {self.full(key)}{more}")

    def integer(self, key: str, default: int | None = None, *, low: int | None = None, high: int | None = None) -> int:
        """An integer within the limits of the gate's table; low, high: where other numbers leave less room."""
        value = self.file.get(self.full(key), int, REQUIRED if default is None else default)
        return keys_gate.integer(self.place(key), key, value, low, high)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.file.get(self.full(key), bool, default))

    def real(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        return self.number(key, default, low=keys_gate.POSITIVE)

    def at_least_0(self, key: str, default: float | None = None) -> float:
        return self.number(key, default, low=0.0)

    def number(self, key: str, default: float | None = None, *, low: float | None = None) -> float:
        """A number within the limits of the gate's table."""
        value = self.file.get(self.full(key), float, REQUIRED if default is None else default)
        return keys_gate.real(self.place(key), key, float(value), low)

    def per_layer(
        self, key: str, n: int, default: int | None = None, *, low: int | None = None, high: int | None = None
    ) -> tuple[int, ...]:
        """An integer for each of n layers: the file has one for all, or a list."""
        if not self._is_list(key):
            return (self.integer(key, default, low=low, high=high),) * n
        place = self.place(key)
        return tuple(keys_gate.integer(place, key, value, low, high) for value in self.array(key, n))

    def numbers_per_layer(
        self, key: str, n: int, default: float | None = None, minus_infinity: bool = False
    ) -> tuple[float, ...]:
        """A number for each of n layers: the file has one for all, or a list, which may hold -inf where that has a
        meaning."""
        if not self._is_list(key):
            return (self.number(key, default),) * n
        place, values = self.place(key), (float(x) for x in self.array(key, n, float))
        return tuple(x if minus_infinity and x == -math.inf else keys_gate.real(place, key, x) for x in values)

    def array(self, key: str, n: int, kind: type | None = None) -> list[Any]:
        """The first n elements of a list, which must have as many; kind: int, or bool where the list has such, if it
        is not given."""
        full = self.full(key)
        if kind is None:
            kind = bool if self._is_list(key) and self.file.metadata.describe(full)[0] == "bool" else int
        values = self.file.get_array(full, kind)
        numbers.list_length(self.place(key), len(values), n)
        return list(values[:n])

    def _is_list(self, key: str) -> bool:
        full = self.full(key)
        return full in self.file.metadata and self.file.metadata.describe(full)[1] is not None

    def flags(self, key: str, n: int) -> tuple[bool, ...] | None:
        """A flag for each of n layers, or None where the file has no such list."""
        return tuple(bool(x) for x in self.array(key, n)) if self._is_list(key) else None


def read_config(keys: Keys, window: Window | None = None, n_loops: int = 1, predicting: bool = False) -> Config:
    """Read and check the configuration of a transformer.

    window: the sliding windows of the architecture's spec; n_loops: how often the layers are applied; predicting: the
    layers that predict further tokens count as layers like the others.
    Raises FormatError naming the key, its value and the limit, or UnsupportedError.
    """
    file = keys.file
    n_embd = keys.integer("embedding_length")
    n_all = keys.integer("block_count")
    n_nextn = keys.integer("nextn_predict_layers", 0, high=n_all - 1)
    n_block = n_all if predicting else n_all - n_nextn
    n_head = keys.per_layer("attention.head_count", n_block, 0)
    n_head_kv = n_head
    if keys.has("attention.head_count_kv"):
        n_head_kv = keys.per_layer("attention.head_count_kv", n_block)
    for q, kv in zip(n_head, n_head_kv, strict=True):
        numbers.divides(keys.place("attention.head_count_kv"), kv or 1, ("head_count", q))
    numbers.n_layers(keys.place("block_count"), n_block, n_loops)
    swa = _swa_layers(keys, n_block, window)
    head_k, head_v, n_rot = _heads(keys, n_embd, n_head[0] or max(n_head), swa)
    n_expert = keys.integer("expert_count", 0)
    n_used = keys.per_layer("expert_used_count", n_block, 0)
    numbers.at_most(keys.place("expert_used_count"), max(n_used), n_expert, "expert_count")
    n_groups, n_group_used = _groups(keys, n_expert)
    return Config(
        keys=keys,
        architecture=keys.architecture,
        n_vocab=_n_vocab(file),
        n_ctx_train=keys.integer("context_length"),
        n_embd=n_embd,
        n_block=n_block,
        n_nextn=n_nextn,
        n_layer=n_block * n_loops,
        n_ff=keys.per_layer("feed_forward_length", n_block, 0) * n_loops,
        n_head=n_head * n_loops,
        n_head_kv=n_head_kv * n_loops,
        n_embd_head_k=head_k * n_loops,
        n_embd_head_v=head_v * n_loops,
        n_rot=n_rot * n_loops,
        window=window,
        swa_layers=swa * n_loops,
        rope_freq_base=keys.real("rope.freq_base", 10000.0),
        scaling=_scaling(keys),
        n_expert=n_expert,
        n_expert_used=n_used * n_loops,
        n_expert_groups=n_groups,
        n_group_used=n_group_used,
    )


def _heads(
    keys: Keys, n_embd: int, n_head: int, swa: tuple[bool, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Sizes of a head's keys and values and of its part with RoPE, a layer: those with a window may have their own. All
    are 0 where no layer has heads."""
    if not n_head:
        return (0,) * len(swa), (0,) * len(swa), (0,) * len(swa)
    # Where latents are in the cache, the plain keys have the sizes of its rows.
    of = "_mla" if keys.has("attention.key_length_mla") else ""
    default = None if of else max(1, n_embd // n_head)
    if not keys.has(f"attention.key_length{of}"):
        numbers.divides(keys.place("attention.head_count"), n_head, ("embedding_length", n_embd))
    k = keys.integer(f"attention.key_length{of}", default)
    v = keys.integer(f"attention.value_length{of}", default)
    k_swa = keys.integer(f"attention.key_length{of}_swa", k)
    v_swa = keys.integer(f"attention.value_length{of}_swa", v)
    rot = keys.integer("rope.dimension_count", k)
    rot_swa = keys.integer("rope.dimension_count_swa", rot)
    of_swa = "rope.dimension_count_swa" if keys.has("rope.dimension_count_swa") else "rope.dimension_count"
    numbers.rope_dimensions(keys.place("rope.dimension_count"), rot, k)
    if any(swa):
        numbers.rope_dimensions(keys.place(of_swa), rot_swa, k_swa)

    def choose(full: int, local: int) -> tuple[int, ...]:
        return tuple(local if s else full for s in swa)

    return choose(k, k_swa), choose(v, v_swa), choose(rot, rot_swa)


def _groups(keys: Keys, n_expert: int) -> tuple[int, int]:
    """Experts may lie in groups, of which the best few are chosen from; 0: they do not."""
    n = keys.integer("expert_group_count", 0)
    used = keys.integer("expert_group_used_count", 0)
    if n <= 1:
        return 0, 0
    numbers.expert_groups(keys.place("expert_group_count"), n, n_expert)
    return n, numbers.groups_used(keys.place("expert_group_used_count"), used, n)


def _n_vocab(file: GGUFFile) -> int:
    """Rows of the embedding matrix: what the other numbers of a vocabulary are checked against. A file that has only
    the output's matrix has it for both."""
    name = next((n for n in ("token_embd.weight", "output.weight") if n in file.tensors), "token_embd.weight")
    place = Place(file.path, f"tensor {name}")
    numbers.present(place, name in file.tensors)
    shape = file.tensors[name].shape
    return numbers.n_vocab(place, shape[1] if len(shape) > 1 else 1)


def _scaling(keys: Keys) -> Scaling:
    kind = keys.file.get(keys.full("rope.scaling.type"), str, "linear")
    numbers.one_of(keys.place("rope.scaling.type"), kind, SCALING_TYPES)
    # Old files have the factor under another name; 0 means none.
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0)) or 1.0
    n_ctx_train = keys.integer("context_length")
    return Scaling(
        kind=kind,
        factor=1.0 if kind == "none" else factor,
        attn_factor=keys.real("rope.scaling.attn_factor", 1.0),
        n_ctx_orig=keys.integer("rope.scaling.original_context_length", 0) or n_ctx_train,
    )


def _swa_layers(keys: Keys, n_layer: int, window: Window | None) -> tuple[bool, ...]:
    if window is None:
        return (False,) * n_layer
    key = "attention.sliding_window_pattern"
    flags = keys.flags(key, n_layer)
    if flags is not None:
        return flags
    period = keys.integer(key, window.period)
    if period == 0:
        return (True,) * n_layer
    dense = 0 if window.dense_first else period - 1
    return tuple(i % period != dense for i in range(n_layer))
