"""RoPE frequencies: how many radians a pair of elements turns a position, and how scaling for long contexts changes
that.

Linear scaling divides positions; YaRN (Peng et al. 2023, arXiv 2309.00071) does so for slow pairs alone; factors of the
file (Llama 3's, LongRoPE's) divide the frequency of each pair. Values follow llama.cpp (ggml's rope_yarn,
llama-context).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from localllm.errors import FormatError
from localllm.gguf.config import Config
from localllm.model.spec import Spec
from localllm.model.weights import Weights


@dataclass(frozen=True)
class Rope:
    """What a layer's pairs do. frequencies: f64 [n_rot / 2] radians a position; scale: of cosines and sines."""

    frequencies: np.ndarray
    scale: float

    @property
    def address(self) -> int:
        return int(self.frequencies.ctypes.data)


def ropes(c: Config, spec: Spec, weights: Weights, n_ctx: int) -> tuple[Rope | None, ...]:
    """A Rope for each layer, or None where nothing turns; layers alike share one. n_ctx: the context asked for, by
    which LongRoPE chooses its factors (arXiv 2402.13753)."""
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


def _rope(c: Config, spec: Spec, weights: Weights, n_ctx: int, n_rot: int, local: bool) -> Rope:
    base = spec.rope_base(c)
    factor, yarn = c.scaling.factor, c.scaling.kind == "yarn"
    if local:
        base = c.keys.real("rope.freq_base_swa", base if spec.local_base == "same" else 10000.0)
        factor = 1.0 if spec.local_scaling == "none" else factor
        yarn = yarn and spec.local_scaling == "same"
    turning = base ** (-np.arange(0, n_rot, 2, dtype=np.float64) / n_rot)
    factors = _factors(c, weights, n_ctx, n_rot)
    if factors is not None:
        turning = turning / factors
    stretched = turning / factor
    scale = c.scaling.attn_factor
    if yarn:
        kept = _kept(c, spec, base, n_rot)
        stretched = stretched * (1 - kept) + turning * kept
        scale *= _magnitude(c)
    elif local and spec.local_scaling != "same":
        scale = 1.0
    return Rope(np.ascontiguousarray(stretched * _moving(c, spec, n_rot)), scale)


def _factors(c: Config, weights: Weights, n_ctx: int, n_rot: int) -> np.ndarray | None:
    """Divisors of the frequencies that the file holds, or None."""
    if weights.has("rope_freqs.weight"):
        names = ["rope_freqs.weight"]
    else:
        names = [f"rope_factors_{kind}.weight" for kind in ("long", "short")]
        if n_ctx <= c.scaling.n_ctx_orig:
            names.reverse()
        if not weights.has(names[0]):
            return None
    values = [weights.values(name, n_rot // 2) for name in names if weights.has(name)]
    if not all(np.isfinite(v).all() and (v > 0).all() for v in values):
        raise FormatError(f"{c.keys.file.path}: tensor {names[0]}: has elements that are no numbers above 0")
    return values[0].astype(np.float64)


def _kept(c: Config, spec: Spec, base: float, n_rot: int) -> np.ndarray:
    """YaRN: how much of each pair's own frequency is kept, 1 for fast pairs to 0 for slow ones."""
    fast = c.keys.real("rope.scaling.yarn_beta_fast", spec.yarn_beta_fast)
    slow = c.keys.real("rope.scaling.yarn_beta_slow", 1.0)

    def pair(turns: float) -> float:
        return n_rot * math.log(c.scaling.n_ctx_orig / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(0.0, math.floor(pair(fast))), min(n_rot - 1.0, math.ceil(pair(slow)))
    ramp = (np.arange(n_rot // 2) - low) / max(0.001, high - low)
    ext = c.keys.number("rope.scaling.yarn_ext_factor", 1.0)
    return np.asarray((1 - np.clip(ramp, 0, 1)) * (ext if ext >= 0 else 1.0))


def _magnitude(c: Config) -> float:
    """YaRN: the factor of cosines and sines that makes up for flatter attention."""

    def of(scale: float) -> float:
        return 1.0 if c.scaling.factor <= 1 else 0.1 * scale * math.log(c.scaling.factor) + 1.0

    log_mul = c.keys.number("rope.scaling.yarn_log_multiplier", 0.0)
    return of(1.0) / of(log_mul) if log_mul else of(1.0)


def _moving(c: Config, spec: Spec, n_rot: int) -> np.ndarray:
    """M-RoPE: 0 for pairs that follow the fourth position, which stays 0 in text; 1 for the others."""
    sections = c.keys.per_layer("rope.dimension_sections", 4, 0, 1 << 16, 0) if spec.sections != "none" else ()
    if not any(sections[:2]):
        return np.ones(n_rot // 2)
    sector = np.arange(n_rot // 2) % sum(sections)
    if spec.sections == "blocks":
        return (sector < sum(sections[:3])).astype(np.float64)
    return np.asarray(sector < 3 * np.asarray(sections)[sector % 3], np.float64)
