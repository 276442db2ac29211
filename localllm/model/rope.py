"""RoPE frequencies: by how many radians a position a pair of elements is rotated, and how scaling for long contexts
changes that.

Linear scaling divides positions; YaRN (Peng et al. 2023, arXiv 2309.00071) does so for slow pairs alone; factors of the
file (Llama 3's, LongRoPE's) divide the frequency of each pair. Values follow llama.cpp (ggml's rope_yarn,
llama-context).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.gate.check import Place
from localllm.gguf.config import Config, Scaling
from localllm.model.spec import Spec, yarn_gain
from localllm.model.weights import Weights

NO_SCALING = Scaling("none", 1.0, 1.0, 1)


@dataclass(frozen=True)
class Rope:
    """What a layer's pairs do. frequencies: f64 [n_rot / 2] radians a position; scale: of cosines and sines."""

    frequencies: np.ndarray
    scale: float

    @property
    def address(self) -> int:
        return int(self.frequencies.ctypes.data)


def ropes(c: Config, spec: Spec, weights: Weights, n_ctx: int) -> tuple[Rope | None, ...]:
    """A Rope for each layer, or None where there is none (NoPE); layers alike share one. n_ctx: the context's
    length, by which LongRoPE chooses its factors (arXiv 2402.13753)."""
    known: dict[tuple[int, bool], Rope] = {}
    found: list[Rope | None] = []
    for i in range(c.n_layer):
        if spec.rope == "none" or not c.n_rot[i] or not c.n_head_kv[i] or not spec.rope_layers(c, i):
            found.append(None)
            continue
        key = c.n_rot[i], c.swa_layers[i]
        if key not in known:
            known[key] = _rope(c, spec, weights, n_ctx, *key)
        found.append(known[key])
    return tuple(found)


def digest(found: Sequence[Rope | None]) -> str:
    """Of what these do."""
    total = hashlib.sha256()
    for rope in found:
        total.update(rope.frequencies.tobytes() + struct.pack("<d", rope.scale) if rope else b"none")
    return total.hexdigest()


def _rope(c: Config, spec: Spec, weights: Weights, n_ctx: int, n_rot: int, local: bool) -> Rope:
    scaling = c.scaling if spec.rope_scaling else NO_SCALING
    base = spec.rope_base(c)
    if local and spec.local_base != "same":
        base = c.keys.real("rope.freq_base_swa", base if spec.local_base == "own" else 10000.0)
    if local and spec.local_scaling == "none":
        scaling = NO_SCALING
    factor = 1.0 if local and spec.local_scaling != "same" else scaling.factor
    freqs = _base_frequencies(c, base, n_rot)
    factors = _factors(c, weights, n_ctx, n_rot) if spec.local_factors or not local else None
    if factors is not None:
        freqs = freqs / factors
    yarn = _Yarn(c, spec, scaling)
    freqs = yarn.stretched(freqs, base, factor)
    return Rope(np.ascontiguousarray(freqs * _moving(c, spec, n_rot)), scaling.attn_factor * yarn.magnitude(factor))


def frequencies(c: Config, spec: Spec, base: float, n_rot: int, scaling: Scaling) -> np.ndarray:
    """Radians a position, f64 [n_rot / 2], by a base and a scaling that are a block's own."""
    return _Yarn(c, spec, scaling).stretched(_base_frequencies(c, base, n_rot), base, scaling.factor)


def full_rope(c: Config, spec: Spec, n_rot: int) -> Rope:
    """Where all pairs follow the position, whatever M-RoPE's sections are."""
    gain_ = c.scaling.attn_factor * _Yarn(c, spec, c.scaling).magnitude(c.scaling.factor)
    return Rope(np.ascontiguousarray(frequencies(c, spec, spec.rope_base(c), n_rot, c.scaling)), gain_)


def _base_frequencies(c: Config, base: float, n_rot: int) -> np.ndarray:
    numbers.rope_base(c.keys.place("rope.freq_base"), base)
    return np.asarray(base ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot))


def _factors(c: Config, weights: Weights, n_ctx: int, n_rot: int) -> np.ndarray | None:
    """Divisors of the frequencies that the file holds, or None."""
    if weights.has("rope_freqs.weight"):
        names = ["rope_freqs.weight"]
    else:
        names = [f"rope_factors_{kind}.weight" for kind in ("long", "short")]
        if n_ctx <= c.scaling.n_ctx_orig:
            names.reverse()
    # Those for other lengths are checked, too.
    values = {name: _first(c, weights, name, n_rot // 2) for name in names if weights.has(name)}
    for name, factors in values.items():
        place = Place(c.keys.file.path, f"tensor {name}")
        numbers.rope_factors(place, float(factors.min()), float(factors.max()))
    return values[names[0]].astype(np.float64) if names[0] in values else None


def _first(c: Config, weights: Weights, name: str, n: int) -> np.ndarray:
    """The first n factors. A file may have as many as a whole head takes, or as the layers of the largest n_rot
    (llama.cpp, gemma4.cpp, step35.cpp)."""
    more = {(max(c.n_embd_head_k) // 2,), (max(c.n_rot) // 2,)}
    shape = weights.shape(name)
    return weights.values(name, *(shape if shape in more and shape[0] > n else (n,)))[:n]


class _Yarn:
    """What YaRN adds to a linear scaling, by llama.cpp's numbers (llama-context.cpp); nothing for other kinds."""

    def __init__(self, c: Config, spec: Spec, scaling: Scaling) -> None:
        self.c, self.spec, self.scaling = c, spec, scaling
        ext = self._number("ext_factor", -1.0)
        self.ext = ext if ext >= 0 else float(scaling.kind == "yarn")

    def _number(self, key: str, default: float) -> float:
        """A number of the file, where the architecture has it."""
        return self.c.keys.number(f"rope.scaling.yarn_{key}", default) if key in self.spec.yarn_keys else default

    def stretched(self, freqs: np.ndarray, base: float, factor: float) -> np.ndarray:
        """Frequencies whose slow pairs are rotated slower by `factor`."""
        kept = self.kept(base, 2 * freqs.size)
        stretched: np.ndarray = freqs / factor * (1 - kept) + freqs * kept
        return stretched

    def kept(self, base: float, n_rot: int) -> np.ndarray:
        """How much of each pair's own frequency is kept, 1 for fast pairs to 0 for slow ones."""
        if not self.ext:
            return np.zeros(n_rot // 2)
        low, high = (
            n_rot * math.log(self.scaling.n_ctx_orig / (rotations * 2 * math.pi)) / (2 * math.log(base))
            for rotations in (self._rotations("beta_fast", self.spec.yarn_beta_fast), self._rotations("beta_slow", 1.0))
        )
        low, high = max(0.0, math.floor(low)), min(n_rot - 1.0, math.ceil(high))
        ramp = (np.arange(n_rot // 2) - low) / max(0.001, high - low)
        return np.asarray((1 - np.clip(ramp, 0, 1)) * self.ext)

    def _rotations(self, key: str, default: float) -> float:
        return self._number(key, default)

    def magnitude(self, factor: float) -> float:
        """The factor of cosines and sines that makes up for flatter attention, in layers rotated slower by
        `factor`."""
        if not self.ext:
            return self._number("attn_factor", 1.0)
        whole, (weight, divisor) = self.scaling.factor, self.spec.yarn_gains(self.c)
        wanted = yarn_gain(max(1.0, whole), weight) / yarn_gain(max(1.0, whole), divisor)
        return wanted * yarn_gain(factor) / yarn_gain(whole)


def _moving(c: Config, spec: Spec, n_rot: int) -> np.ndarray:
    """M-RoPE: 0 for pairs that follow the fourth position, which stays 0 in text; 1 for the others."""
    sections = c.keys.per_layer("rope.dimension_sections", 4, 0) if spec.sections != "none" else ()
    if not any(sections[:2]):
        return np.ones(n_rot // 2)
    sector = np.arange(n_rot // 2) % sum(sections)
    if spec.sections == "blocks":
        return (sector < sum(sections[:3])).astype(np.float64)
    return np.asarray(sector < 3 * np.asarray(sections)[sector % 3], np.float64)
