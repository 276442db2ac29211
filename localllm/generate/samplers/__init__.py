"""The stages of the sampler, a file a family, and the table of them."""

from __future__ import annotations

from localllm.generate.samplers.dry import dry
from localllm.generate.samplers.penalties import penalties
from localllm.generate.samplers.stage import Make
from localllm.generate.samplers.temperature import temperature
from localllm.generate.samplers.truncation import min_p, top_k, top_n_sigma, top_p, typical
from localllm.generate.samplers.xtc import xtc

STAGES: dict[str, Make] = {
    "penalties": penalties,
    "dry": dry,
    "top_n_sigma": top_n_sigma,
    "top_k": top_k,
    "typ_p": typical,
    "top_p": top_p,
    "min_p": min_p,
    "xtc": xtc,
    "temperature": temperature,
}
"""Name in `Sampling.samplers` -> what makes the stage."""
KEEP_THE_BEST = frozenset(("top_n_sigma", "top_k", "top_p", "min_p"))
"""Stages that never remove the likeliest token, nor change a logit."""
