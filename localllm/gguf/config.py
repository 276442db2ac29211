"""The numbers of a model, from a file's metadata: one gate that checks each before anything is built on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from localllm.errors import FormatError, UnsupportedError
from localllm.gguf.reader import GGUFFile

_MAX = {"n_ctx_train": 1 << 31, "n_embd": 1 << 20, "n_layer": 4096, "n_ff": 1 << 22, "n_head": 65536, "head": 8192}
"""A head of more elements would not fit the scratch memory of the attention kernels (attention.scratch_bytes)."""
_MAX_EXPERTS = 1024
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
    """Layers past those, which predict further tokens: left alone."""
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

    def fail(self, key: str, problem: str) -> FormatError:
        return FormatError(f"{self.file.path}: metadata key {self.full(key)}: {problem}")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        full = self.full(key)
        value = self.file.get(full, int) if default is None else self.file.get(full, int, default)
        return self._within(key, value, low, high)

    def _within(self, key: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            raise self.fail(key, f"is {value}, must be {low} to {high}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.file.get(self.full(key), bool, default))

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self.fail(key, f"is {value}, must be above 0")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        full = self.full(key)
        return self._finite(key, float(self.file.get(full, float, *(() if default is None else (default,)))))

    def at_least_0(self, key: str, default: float | None = None) -> float:
        """A finite number that is not below 0."""
        value = self.number(key, default)
        if value < 0:
            raise self.fail(key, f"is {value}, must be 0 or more")
        return value

    def _finite(self, key: str, value: float) -> float:
        if not math.isfinite(value):
            raise self.fail(key, f"is {value}, must be finite")
        return value

    def per_layer(self, key: str, n: int, low: int, high: int, default: int | None = None) -> tuple[int, ...]:
        """An integer for each of n layers: the file has one for all, or a list."""
        full = self.full(key)
        if not isinstance(self.file.metadata.get(full), list):
            return (self.integer(key, low, high, default),) * n
        values = self._list(key, n)
        return tuple(self._within(key, value, low, high) for value in values)

    def numbers_per_layer(
        self, key: str, n: int, default: float | None = None, minus_infinity: bool = False
    ) -> tuple[float, ...]:
        """A finite number for each of n layers: the file has one for all, or a list, which may hold -inf where that
        has a meaning."""
        full = self.full(key)
        if not isinstance(self.file.metadata.get(full), list):
            return (self.number(key, default),) * n
        numbers = (float(x) for x in self._list(key, n, float))
        return tuple(x if minus_infinity and x == -math.inf else self._finite(key, x) for x in numbers)

    def _list(self, key: str, n: int, kind: type | None = None) -> list[Any]:
        full = self.full(key)
        values = self.file.metadata[full]
        if kind is None:
            kind = bool if values and isinstance(values[0], bool) else int
        got = self.file.get_array(full, kind)
        if len(got) < n:
            raise self.fail(key, f"has {len(got)} elements, must have one a layer, {n}")
        return list(got[:n])

    def flags(self, key: str, n: int) -> tuple[bool, ...] | None:
        """A flag for each of n layers, or None where the file has no such list."""
        if not isinstance(self.file.metadata.get(self.full(key)), list):
            return None
        return tuple(bool(x) for x in self._list(key, n))


def read_config(keys: Keys, window: Window | None = None, n_loops: int = 1) -> Config:
    """Read and check the configuration of a transformer.

    window: the sliding windows of the architecture's spec; n_loops: how often the layers are applied.
    Raises FormatError naming the key, its value and the limit, or UnsupportedError.
    """
    file = keys.file
    n_embd = keys.integer("embedding_length", 1, _MAX["n_embd"])
    n_all = keys.integer("block_count", 1, _MAX["n_layer"])
    n_block = n_all - keys.integer("nextn_predict_layers", 0, n_all - 1, 0)
    n_head = keys.per_layer("attention.head_count", n_block, 0, _MAX["n_head"], 0)
    n_head_kv = n_head
    if keys.has("attention.head_count_kv"):
        n_head_kv = keys.per_layer("attention.head_count_kv", n_block, 0, _MAX["n_head"])
    for q, kv in zip(n_head, n_head_kv, strict=True):
        if kv and q % kv:
            raise keys.fail("attention.head_count_kv", f"is {kv}, must divide head_count, {q}")
    swa = _swa_layers(keys, n_block, window)
    head_k, head_v, n_rot = _heads(keys, n_embd, n_head[0] or max(n_head), swa)
    n_expert = keys.integer("expert_count", 0, _MAX_EXPERTS, 0)
    n_used = keys.per_layer("expert_used_count", n_block, 0, _MAX_EXPERTS, 0)
    if max(n_used) > n_expert:
        raise keys.fail("expert_used_count", f"is {max(n_used)}, must be at most expert_count, {n_expert}")
    n_groups, n_group_used = _groups(keys, n_expert)
    return Config(
        keys=keys,
        architecture=keys.architecture,
        n_vocab=_n_vocab(file),
        n_ctx_train=keys.integer("context_length", 1, _MAX["n_ctx_train"]),
        n_embd=n_embd,
        n_block=n_block,
        n_nextn=n_all - n_block,
        n_layer=n_block * n_loops,
        n_ff=keys.per_layer("feed_forward_length", n_block, 0, _MAX["n_ff"], 0) * n_loops,
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
    if not keys.has(f"attention.key_length{of}") and n_embd % n_head:
        raise keys.fail("attention.head_count", f"is {n_head}, must divide embedding_length, {n_embd}")
    k = keys.integer(f"attention.key_length{of}", 1, _MAX["head"], default)
    v = keys.integer(f"attention.value_length{of}", 1, _MAX["head"], default)
    k_swa = keys.integer(f"attention.key_length{of}_swa", 1, _MAX["head"], k)
    v_swa = keys.integer(f"attention.value_length{of}_swa", 1, _MAX["head"], v)
    rot = keys.integer("rope.dimension_count", 0, _MAX["head"], k)
    rot_swa = keys.integer("rope.dimension_count_swa", 0, _MAX["head"], rot)
    of_swa = "rope.dimension_count_swa" if keys.has("rope.dimension_count_swa") else "rope.dimension_count"
    limits = [("rope.dimension_count", rot, k), *([(of_swa, rot_swa, k_swa)] if any(swa) else [])]
    for name, n, limit in limits:
        if n % 2:
            raise keys.fail(name, f"is {n}, must be even")
        if n > limit:
            raise keys.fail(name, f"is {n}, must be at most a head's size, {limit}")

    def choose(full: int, local: int) -> tuple[int, ...]:
        return tuple(local if s else full for s in swa)

    return choose(k, k_swa), choose(v, v_swa), choose(rot, rot_swa)


def _groups(keys: Keys, n_expert: int) -> tuple[int, int]:
    """Experts may lie in groups, of which the best few are chosen from; 0: they do not."""
    n = keys.integer("expert_group_count", 0, _MAX_EXPERTS, 0)
    used = keys.integer("expert_group_used_count", 0, _MAX_EXPERTS, 0)
    if n <= 1:
        return 0, 0
    if n >= n_expert or n_expert % n:
        raise keys.fail("expert_group_count", f"is {n}, must divide expert_count, {n_expert}")
    if not 1 <= used < n:
        raise keys.fail("expert_group_used_count", f"is {used}, must be 1 to {n - 1}")
    return n, used


def _n_vocab(file: GGUFFile) -> int:
    """Rows of the embedding matrix: what the other numbers of a vocabulary are checked against. A file that has only
    the output's matrix has it for both."""
    name = next((n for n in ("token_embd.weight", "output.weight") if n in file.tensors), "")
    if not name:
        raise FormatError(f"{file.path}: tensor token_embd.weight: is missing")
    shape = file.tensors[name].shape
    return int(shape[1]) if len(shape) > 1 else 1


def _scaling(keys: Keys) -> Scaling:
    kind = keys.file.get(f"{keys.architecture}.rope.scaling.type", str, "linear")
    if kind not in SCALING_TYPES:
        raise UnsupportedError(
            f"{keys.file.path}: metadata key {keys.architecture}.rope.scaling.type: is {kind!r}; supported: "
            + ", ".join(SCALING_TYPES)
        )
    # Old files have the factor under another name; 0 means none.
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0)) or 1.0
    if factor <= 0:
        raise keys.fail("rope.scaling.factor", f"is {factor}, must be above 0")
    n_ctx_train = keys.integer("context_length", 1, _MAX["n_ctx_train"])
    return Scaling(
        kind=kind,
        factor=1.0 if kind == "none" else factor,
        attn_factor=keys.real("rope.scaling.attn_factor", 1.0),
        n_ctx_orig=keys.integer("rope.scaling.original_context_length", 0, _MAX["n_ctx_train"], 0) or n_ctx_train,
    )


def _swa_layers(keys: Keys, n_layer: int, window: Window | None) -> tuple[bool, ...]:
    if window is None:
        return (False,) * n_layer
    key = "attention.sliding_window_pattern"
    flags = keys.flags(key, n_layer)
    if flags is not None:
        return flags
    period = keys.integer(key, 0, 1 << 16, window.period)
    if period == 0:
        return (True,) * n_layer
    dense = 0 if window.dense_first else period - 1
    return tuple(i % period != dense for i in range(n_layer))
