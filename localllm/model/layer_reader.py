"""Reading one layer's tensors by their short names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import tensors
from localllm.gate.check import Place
from localllm.gguf.config import Config
from localllm.model.recorder import Linear, Norm
from localllm.model.spec import Spec
from localllm.model.weights import Weight, Weights


@dataclass(frozen=True)
class LayerReader:
    """What the readers of blocks get: the file's weights, for layer i."""

    weights: Weights
    config: Config
    spec: Spec
    i: int
    eps: float
    earlier: tuple[tuple[object, ...], ...] = ()
    """Blocks of the layers before this one."""

    @property
    def path(self) -> str:
        return self.weights.file.path

    @property
    def place(self) -> Place:
        """Of the layer, for checks."""
        return Place(self.path, f"layer {self.i}")

    def at(self, short: str) -> Place:
        """Of a tensor, for checks."""
        return Place(self.path, f"tensor {self.name(short)}")

    def name(self, short: str) -> str:
        return f"{self.spec.prefix}blk.{self.spec.block(self.config, self.i)}.{short}"

    def has(self, short: str) -> bool:
        return self.weights.has(self.name(short))

    def has_norm(self, short: str) -> bool:
        return self.has(f"{short}.weight") or self.has(short)

    def vector(self, short: str, *shape: int) -> Weight | None:
        """A vector that the file may lack."""
        return self.weights.optional(self.name(short), *shape)

    def transposed(self, short: str, k: int, n: int) -> Weight:
        """A small matrix of n rows of k elements as k rows of n, f32: a copy."""
        name = self.name(short)
        return self.weights.constant(f"{name} transposed", self.weights.values(name, k, n).reshape(n, k).T)

    def scalar(self, short: str) -> float:
        return float(np.asarray(self.weights.values(self.name(short), 1))[0])

    def decay_rates(self, *shape: int) -> np.ndarray:
        """ssm_a where it holds -exp(A_log), f32. Raises FormatError where a state would grow."""
        values = self.weights.values(self.name("ssm_a"), *shape)
        if self.weights.file.has_data:
            tensors.decays(self.at("ssm_a"), float(np.fmax.reduce(values)))
        return values

    def linear(self, short: str, k: int, n: int) -> Linear:
        w = self.weights.matrix(self.name(f"{short}.weight"), k, n)
        return Linear(w, self.vector(f"{short}.bias", n), self.scale(short))

    def scale(self, short: str, n: int = 1) -> Weight | None:
        """The scale of a matrix's products, or of each of n experts' (NVFP4). A vector of that name and another length
        is something else."""
        name = f"{short}.scale"
        return self.vector(name, n) if self.weights.shape(self.name(name)) == (n,) else None

    def fused(self, short: str, parts: tuple[str, ...], sizes: tuple[int, ...]) -> list[Linear]:
        """Matrices over the same input, each a tensor of its own or all one below the other in the tensor `short`."""
        k = self.config.n_embd
        if not self.has(f"{short}.weight"):
            return [self.linear(part, k, n) for part, n in zip(parts, sizes, strict=True)]
        whole = self.linear(short, k, sum(sizes))
        out, first = [], 0
        for part, n in zip(parts, sizes, strict=True):
            bias = whole.bias.part(first, n) if whole.bias else self.vector(f"{part}.bias", n)
            out.append(Linear(whole.w.rows(first, n), bias, whole.scale))
            first += n
        return out

    def norm(self, short: str, n: int, eps: float | None = None) -> Norm | None:
        """The norm of this name; where the file has none, one without weights if the spec says so, or None."""
        return read_norm(self.weights, self.spec, self.name(short), n, self.eps if eps is None else eps)

    def required_norm(self, short: str, n: int) -> Norm:
        """The norm of this name, which the file must have if the spec's norms have weights."""
        found = self.norm(short, n)
        return tensors.present(self.at(f"{short}.weight"), found)

    def rms(self, short: str, n: int) -> Norm:
        """An RMSNorm whose weights the file must have."""
        return Norm(self.weights.vector(self.name(f"{short}.weight"), n), None, self.eps, "rms")


def read_norm(weights: Weights, spec: Spec, name: str, n: int, eps: float) -> Norm | None:
    # Some files leave the suffix out.
    w = weights.optional(f"{name}.weight", n) or weights.optional(name, n)
    if w is None and spec.norm_weights:
        return None
    return Norm(w, weights.optional(f"{name}.bias", n), eps, spec.norm)
