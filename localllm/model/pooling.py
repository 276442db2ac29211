"""From hidden states to the embedding of a text, or to the scores of a pair of texts: what a file says of it, and the
products that follow (llama.cpp's build_pooling and build_dense_out, llama-graph.cpp). Pooling itself is `embedding`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.model.feed_forward import plain
from localllm.model.layer_reader import read_norm
from localllm.model.recorder import Linear, Norm, Recorder
from localllm.model.spec import Spec, is_causal
from localllm.model.weights import Weights
from localllm.runtime.plan import Value

POOLINGS = ("none", "mean", "cls", "last", "rank")
"""By their numbers in the key pooling_type: each token's state; their mean; the first one's; the last one's; what the
classifier makes of one of these."""


@dataclass(frozen=True)
class Classifier:
    """From a pooled state to scores: cls, its activation and norm, then cls.output; of both at least one."""

    pooling: str
    cls: Linear | None
    activation: str
    norm: Norm | None
    output: Linear | None
    softmax: bool
    """The scores are shares of 1."""

    @property
    def n_out(self) -> int:
        last = self.output or self.cls
        assert last
        return last.w.n

    def record(self, r: Recorder, x: Value, out: Value) -> None:
        """x: f32 [n_rows, n_embd]; out: [n_rows, n_out]."""
        if self.cls:
            n = self.cls.w.n
            y = r.floats("cls", n) if self.output else out
            r.linears(x, [(self.cls, y, 0)])
            plain(r, "cls", self.activation, y, y, n)
            if self.norm:
                r.norm("cls.norm", y, self.norm, y, n)
            x = y
        if self.output:
            r.linears(x, [(self.output, out, 0)])


@dataclass(frozen=True)
class Dense:
    """Products that follow the pooling: dense_2, dense_3 (Sentence Transformers' modules)."""

    linears: tuple[Linear, ...]

    @property
    def n_out(self) -> int:
        return self.linears[-1].w.n

    def record(self, r: Recorder, x: Value, out: Value) -> None:
        """x: f32 [n_rows, n_embd]; out: [n_rows, n_out]."""
        for i, linear in enumerate(self.linears):
            y = out if i == len(self.linears) - 1 else r.floats("dense", linear.w.n)
            r.linears(x, [(linear, y, 0)])
            x = y


@dataclass(frozen=True)
class Pooling:
    kind: str
    """The file's; "none" where it does not say."""
    classifier: Classifier | None
    dense: Dense | None


def read_pooling(c: Config, spec: Spec, weights: Weights, eps: float) -> Pooling:
    """What the file has of it. Raises FormatError naming the key or the tensor."""
    kind = POOLINGS[c.keys.integer("pooling_type", 0)]
    # Other files' classifiers are left alone, as those of other towers are.
    is_used = kind == "rank" or not spec.logits
    return Pooling(kind, _classifier(c, spec, weights, eps) if is_used else None, _dense(c, weights))


def _classifier(c: Config, spec: Spec, weights: Weights, eps: float) -> Classifier | None:
    cls = _linear(weights, "cls", c.n_embd) if weights.has("cls.weight") else None
    output = None
    if weights.has("cls.output.weight"):
        labels = c.keys.file.get_array(c.keys.full("classifier.output_labels"), str, [])
        output = _linear(weights, "cls.output", cls.w.n if cls else c.n_embd, len(labels) or 1)
    if not cls and not output:
        return None
    pooling = POOLINGS[c.keys.integer("classifier.pooling_type", 0)]
    if pooling == "none":
        pooling = spec.classifier.pooling
    if pooling != "mean":
        pooling = "last" if is_causal(spec, c.keys) else "cls"
    norm = read_norm(weights, spec, "cls.norm", cls.w.n, eps) if cls and weights.has("cls.norm.weight") else None
    return Classifier(pooling, cls, spec.classifier.activation, norm, output, spec.classifier.softmax)


def _dense(c: Config, weights: Weights) -> Dense | None:
    linears: list[Linear] = []
    for name in ("dense_2", "dense_3"):
        if weights.has(f"{name}.weight"):
            linears.append(_linear(weights, name, linears[-1].w.n if linears else c.n_embd))
    return Dense(tuple(linears)) if linears else None


def _linear(weights: Weights, name: str, k: int, n: int = 0) -> Linear:
    """n: rows that it must have, if not those of the tensor."""
    shape = weights.shape(f"{name}.weight")
    n = n or (shape[1] if len(shape) > 1 else 1)
    return Linear(weights.matrix(f"{name}.weight", k, n), weights.optional(f"{name}.bias", n))
