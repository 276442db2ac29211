"""The numbers of a model, from a file's metadata: one gate that checks each before anything is built on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from localllm.errors import FormatError
from localllm.gguf.reader import GGUFFile

_MAX = {"n_ctx_train": 1 << 31, "n_embd": 1 << 20, "n_layer": 4096, "n_ff": 1 << 22, "n_head": 65536, "head": 1 << 12}


@dataclass(frozen=True)
class Config:
    """Dimensions by llama.cpp's names. Lists hold a number a layer."""

    architecture: str
    n_vocab: int
    n_ctx_train: int
    n_embd: int
    n_layer: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    n_rot: int
    norm_eps: float
    rope_freq_base: float
    rope_freq_base_local: float
    rope_scale: float
    """Positions are divided by this (linear scaling); 1 for none."""
    n_swa: int
    """Cells that a sliding-window layer sees; 0 where there is none."""
    swa_layers: tuple[bool, ...]


class Keys:
    """Typed reads of `<architecture>.<key>` within limits."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.architecture: str = file.get("general.architecture", str)

    def fail(self, key: str, problem: str) -> FormatError:
        return FormatError(f"{self.file.path}: metadata key {self.architecture}.{key}: {problem}")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        full = f"{self.architecture}.{key}"
        value = self.file.get(full, int) if default is None else self.file.get(full, int, default)
        if not low <= value <= high:
            raise self.fail(key, f"is {value}, must be {low} to {high}")
        return int(value)

    def real(self, key: str, default: float | None = None) -> float:
        full = f"{self.architecture}.{key}"
        value = float(self.file.get(full, float) if default is None else self.file.get(full, float, default))
        if not (math.isfinite(value) and value > 0):
            raise self.fail(key, f"is {value}, must be a finite number above 0")
        return value

    def same_for_all(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer that some files give a layer, as long as all layers agree."""
        full = f"{self.architecture}.{key}"
        if isinstance(self.file.metadata.get(full), list):
            values = set(self.file.get_array(full, int))
            if len(values) != 1:
                raise self.fail(key, "differs from layer to layer, which is not supported yet")
            value = values.pop()
            if not low <= value <= high:
                raise self.fail(key, f"is {value}, must be {low} to {high}")
            return int(value)
        return self.integer(key, low, high, default)


def read_config(file: GGUFFile, swa_period: int = 0, rope_freq_base_local: float = 10000.0) -> Config:
    """Read and check the configuration of a transformer.

    swa_period: every swa_period-th layer sees all cells where the file has a window but no pattern (0: none does).
    Raises FormatError naming the key, its value and the limit.
    """
    keys = Keys(file)
    n_embd = keys.integer("embedding_length", 1, _MAX["n_embd"])
    n_layer = keys.integer("block_count", 1, _MAX["n_layer"])
    n_head = keys.same_for_all("attention.head_count", 1, _MAX["n_head"])
    n_head_kv = keys.same_for_all("attention.head_count_kv", 1, _MAX["n_head"], n_head)
    if n_head % n_head_kv:
        raise keys.fail("attention.head_count_kv", f"is {n_head_kv}, must divide head_count, {n_head}")
    key_length = f"{keys.architecture}.attention.key_length"
    if key_length not in file.metadata and n_embd % n_head:
        raise keys.fail("attention.head_count", f"is {n_head}, must divide embedding_length, {n_embd}")
    head_k = keys.integer("attention.key_length", 1, _MAX["head"], n_embd // n_head)
    head_v = keys.integer("attention.value_length", 1, _MAX["head"], n_embd // n_head)
    n_rot = keys.integer("rope.dimension_count", 2, head_k, head_k)
    if n_rot % 2:
        raise keys.fail("rope.dimension_count", f"is {n_rot}, must be even")
    n_swa = keys.integer("attention.sliding_window", 0, 1 << 31, 0) if swa_period else 0
    return Config(
        architecture=keys.architecture,
        n_vocab=_n_vocab(file, keys),
        n_ctx_train=keys.integer("context_length", 1, _MAX["n_ctx_train"]),
        n_embd=n_embd,
        n_layer=n_layer,
        n_ff=keys.same_for_all("feed_forward_length", 1, _MAX["n_ff"]),
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_embd_head_k=head_k,
        n_embd_head_v=head_v,
        n_rot=n_rot,
        norm_eps=keys.real("attention.layer_norm_rms_epsilon"),
        rope_freq_base=keys.real("rope.freq_base", 10000.0),
        rope_freq_base_local=keys.real("rope.freq_base_swa", rope_freq_base_local),
        rope_scale=_rope_scale(keys),
        n_swa=n_swa,
        swa_layers=_swa_layers(keys, n_layer, swa_period) if n_swa else (False,) * n_layer,
    )


def _n_vocab(file: GGUFFile, keys: Keys) -> int:
    """Rows of the embedding matrix: what the other numbers of a vocabulary are checked against."""
    if "token_embd.weight" not in file.tensors:
        raise FormatError(f"{file.path}: tensor token_embd.weight: is missing")
    shape = file.tensors["token_embd.weight"].shape
    return int(shape[1]) if len(shape) > 1 else 1


def _rope_scale(keys: Keys) -> float:
    kind = keys.file.get(f"{keys.architecture}.rope.scaling.type", str, "none")
    if kind == "none":
        # Old files have the factor alone.
        return keys.real("rope.scale_linear", 1.0)
    if kind != "linear":
        raise keys.fail("rope.scaling.type", f"is {kind!r}; none and linear are supported")
    return keys.real("rope.scaling.factor", 1.0)


def _swa_layers(keys: Keys, n_layer: int, period: int) -> tuple[bool, ...]:
    key = "attention.sliding_window_pattern"
    full = f"{keys.architecture}.{key}"
    if isinstance(keys.file.metadata.get(full), list):
        element = bool if keys.file.metadata.get(full) and isinstance(keys.file.metadata[full][0], bool) else int
        pattern = keys.file.get_array(full, element)
        if len(pattern) != n_layer:
            raise keys.fail(key, f"has {len(pattern)} elements, must have one a layer, {n_layer}")
        return tuple(bool(p) for p in pattern)
    period = keys.integer(key, 1, 1 << 16, period)
    return tuple((i + 1) % period != 0 for i in range(n_layer))
