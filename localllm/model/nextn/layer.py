"""The layer that predicts a further token, read from the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from localllm.errors import UnsupportedError, UsageError
from localllm.gate import tensors
from localllm.gate.check import Place
from localllm.gguf.config import Config
from localllm.gguf.reader import GGUFFile
from localllm.model.layer import Layer, read_layer
from localllm.model.layer_reader import LayerReader
from localllm.model.network import Network, epsilon
from localllm.model.recorder import Linear, Norm
from localllm.model.rope import Rope, ropes
from localllm.model.spec import NextnSpec, Spec, architectures, configuration, spec_for
from localllm.model.weights import Weight, Weights


@dataclass(frozen=True)
class Nextn:
    """What the layer's forward is recorded from."""

    config: Config
    """With the layers that predict counted as layers."""
    i: int
    """Its number: the first after the model's own."""
    embedding: Weight
    enorm: Norm
    """Of the next token's embedding."""
    hnorm: Norm
    """Of the hidden state."""
    eh_proj: Linear
    """From both, one after the other, to a row of the residual stream."""
    layer: Layer
    head_norm: Norm
    head: Linear
    trunk_norm: Norm | None
    """What the model's hidden states go through before they are read; None: they are read as they are."""
    rope: Callable[[int], Rope | None]
    """Given a context's length."""
    weights: Weights
    """What the addresses above live by."""

    @property
    def is_normed(self) -> bool:
        """Its own hidden state, which it reads for the token after, is the one after head_norm."""
        return self.trunk_norm is not None


def supported() -> tuple[str, ...]:
    """Architectures whose layers for further tokens can be used."""
    return tuple(name for name in architectures() if spec_for(name).nextn)


def read_nextn(file: GGUFFile, network: Network) -> Nextn:
    """The first layer that predicts a further token, its tensors checked. A file with several has one for each further
    token; this one guesses them all, as where a file has one alone.

    Raises UsageError where the file has none, UnsupportedError or FormatError naming the tensor or the key.
    """
    i = network.config.n_block
    if not network.config.n_nextn or f"blk.{i}.nextn.eh_proj.weight" not in file.tensors:
        raise UsageError(
            f"{file.path}: has no layer for multi-token prediction (MTP): take --draft text, or a small model"
        )
    spec, c = configuration(file, predicting=True)
    found = _known(spec, file.path)
    spec = found.adapt(spec)
    weights = Weights(file)
    for pattern in spec.unused:
        weights.leave(pattern)
    f = LayerReader(weights, c, spec, i, epsilon(c.keys, spec))
    n = c.n_embd
    return Nextn(
        config=c,
        i=i,
        embedding=_embedding(f, network),
        enorm=f.required_norm("nextn.enorm", n),
        hnorm=f.required_norm("nextn.hnorm", n),
        eh_proj=f.linear("nextn.eh_proj", 2 * n, n),
        layer=read_layer(f),
        head_norm=_head_norm(f, network),
        head=_head(f, network),
        trunk_norm=_output_norm(f, network) if found.normed else None,
        rope=_rope(c, spec, weights, i),
        weights=weights,
    )


def _rope(c: Config, spec: Spec, weights: Weights, i: int) -> Callable[[int], Rope | None]:
    @cache  # plans hold addresses of what it gives
    def of(is_long: bool) -> Rope | None:
        return ropes(c, spec, weights, c.scaling.n_ctx_orig + is_long)[i]

    of(False)  # finds what is wrong with the tensors
    return lambda n_ctx: of(n_ctx > c.scaling.n_ctx_orig)


def _known(spec: Spec, path: str) -> NextnSpec:
    if spec.nextn is None:
        raise UnsupportedError(
            f"{path}: its layer for multi-token prediction (MTP) is not supported in {spec.name}, only in "
            f"{', '.join(supported())}: take --draft text, or a small model"
        )
    return spec.nextn


def _embedding(f: LayerReader, network: Network) -> Weight:
    name = "nextn.embed_tokens.weight"
    return f.weights.matrix(f.name(name), f.config.n_embd, f.config.n_vocab) if f.has(name) else network.token_embd


def _head(f: LayerReader, network: Network) -> Linear:
    if f.has("nextn.shared_head_head.weight"):
        return f.linear("nextn.shared_head_head", f.config.n_embd, f.config.n_vocab)
    return tensors.present(Place(f.path, "tensor output.weight"), network.output)


def _head_norm(f: LayerReader, network: Network) -> Norm:
    """Its own, under one of two names, or the model's (llama.cpp, mimo2.cpp, bailingmoe3.cpp)."""
    for name in ("nextn.shared_head_norm", "layer_output_norm"):
        if f.has_norm(name):
            return f.required_norm(name, f.config.n_embd)
    return _output_norm(f, network)


def _output_norm(f: LayerReader, network: Network) -> Norm:
    return tensors.present(Place(f.path, "tensor output_norm.weight"), network.output_norm)
