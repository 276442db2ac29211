"""What a spec says: how an architecture differs from the plain transformer that `forward` records.

A spec is one file in specs/, to be read beside the model's paper. What a tensor shows (a bias, a norm of queries and keys, a
norm after a block, tied output) is not said again here: tensors present decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from localllm.errors import UnsupportedError
from localllm.gguf.config import Config

_SPECS = ("gemma3", "llama", "qwen2")
"""Files in specs/, each named after the value of general.architecture that it describes."""


@dataclass(frozen=True)
class Spec:
    """One architecture."""

    name: str
    rope: Literal["adjacent", "halves"]
    """Which elements turn together: 2i and 2i + 1, or i and i + n_rot / 2."""
    activation: Literal["silu", "gelu"] = "silu"
    """The function of the gate in the feed-forward block."""
    embedding_factor: Callable[[Config], float] = lambda config: 1.0
    attention_scale: Callable[[Config], float] = lambda config: config.n_embd_head_k**-0.5
    swa_period: int = 0
    """Every swa_period-th layer sees all cells, the others a window, where the file gives a window and no pattern."""
    rope_freq_base_local: float = 10000.0
    """Base of the angles in layers with a window."""
    refused_keys: tuple[str, ...] = ()
    """Metadata that, where present and not 0, asks for what is not here."""


def architectures() -> tuple[str, ...]:
    """Names of all architectures that have a spec."""
    return _SPECS


def spec_for(architecture: str, path: str) -> Spec:
    """The spec of an architecture. Raises UnsupportedError, which names it and what there is."""
    if architecture not in _SPECS:
        raise UnsupportedError(f"{path}: architecture {architecture!r} is not supported; supported: {', '.join(_SPECS)}")
    spec: Spec = import_module(f"localllm.model.specs.{architecture}").SPEC
    return spec
