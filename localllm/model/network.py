"""From a file to a network: every tensor found, checked against the configuration, and given its role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from localllm.errors import FormatError
from localllm.gguf.config import Config
from localllm.gguf.reader import GGUFFile
from localllm.model.attention import read_attention
from localllm.model.cache import LayerCache
from localllm.model.experts import Experts, read_experts
from localllm.model.feed_forward import ActivationAlone, FeedForward, read_feed_forward
from localllm.model.layer import LayerReader, read_norm
from localllm.model.recorder import Linear, Norm, Recorder, Residual
from localllm.model.rope import Rope, ropes
from localllm.model.spec import Spec, configuration
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Value


class Mixer(Protocol):
    """What mixes the tokens of a sequence: attention, or another kind of block with a memory of its own."""

    def record(self, r: Recorder, x: Value, to: Residual, cache: LayerCache | None, table: Buffer | None) -> None:
        """Add the block to the residual stream; x: its normed input; table: RoPE's cosines and sines."""


@dataclass(frozen=True)
class PerToken:
    """In the place of an attention, a product alone (Deci's layers without keys and values)."""

    i: int
    output: Linear

    def record(self, r: Recorder, x: Value, to: Residual, cache: LayerCache | None, table: Buffer | None) -> None:
        r.close_linear(f"blk.{self.i}.attn_output", self.output, x, to)


@dataclass(frozen=True)
class Layer:
    """The blocks of one layer and the norms around them; what is None is absent."""

    attn_norm: Norm | None
    attn_norm_2: Norm | None
    mixer: Mixer | None
    post_attention_norm: Norm | None
    ffn_norm: Norm | None
    ffn: FeedForward | ActivationAlone | Experts | None
    post_ffw_norm: Norm | None
    parallel: bool
    residual_factor: float
    aside: tuple[Norm, Experts] | None = None
    """Experts that read the layer's input, through a norm of their own."""
    skip_factor: float = 0.0
    loop_norm: Norm | None = None


@dataclass(frozen=True)
class Network:
    """What a forward is recorded from."""

    config: Config
    spec: Spec
    token_embd: Weight
    position_embd: Weight | None
    embedding_norm: Norm | None
    layers: tuple[Layer, ...]
    output_norm: Norm
    output: Linear
    ropes: Callable[[int], tuple[Rope | None, ...]]
    """Given a context's length: how the queries and keys of each layer turn, or None."""

    @property
    def most_positions(self) -> int:
        """Tokens that a sequence can have: learned positions end."""
        return self.position_embd.n if self.position_embd else 1 << 31

    @property
    def causal(self) -> bool:
        """A token sees those before it; otherwise all of its sequence."""
        return self.config.keys.flag("attention.causal", self.spec.causal)


def build(file: GGUFFile, weights: Weights) -> tuple[Network, list[np.ndarray], list[str]]:
    """The network, arrays that must live as long as it does, and the names of tensors for other uses.

    Raises FormatError or UnsupportedError, naming the key or the tensor.
    """
    spec, c = configuration(file)
    keys = c.keys
    eps = keys.number(_EPS_KEYS[spec.norm], spec.eps_default)
    if eps < 0 or (eps == 0 and spec.eps_default is None):
        raise keys.fail(_EPS_KEYS[spec.norm], f"is {eps}, must be above 0")
    for pattern in (*spec.unused, _INPUT_SCALES, *(rf"blk\.{i}\..*" for i in range(c.n_block, c.n_block + c.n_nextn))):
        weights.leave(pattern)
    has_embedding = weights.has("token_embd.weight")
    embedding = weights.matrix("token_embd.weight" if has_embedding else "output.weight", c.n_embd, c.n_vocab)
    turning = _ropes(c, spec, weights)
    network = Network(
        config=c,
        spec=spec,
        token_embd=embedding,
        position_embd=_positions(c, weights),
        embedding_norm=_embedding_norm(c, spec, weights, eps),
        layers=tuple(_layer(LayerReader(weights, c, spec, i, eps)) for i in range(c.n_layer)),
        output_norm=_output_norm(c, spec, weights, eps),
        output=_output(c, weights, embedding),
        ropes=turning,
    )
    return network, [], weights.check_all_used()


_INPUT_SCALES = r"(blk\.\d+\.\w+|output)\.input_scale"
"""NVFP4: ranges of activations, for processors that compute with 4-bit floats. llama.cpp does not use them on a CPU."""

_EPS_KEYS = {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}


def _ropes(c: Config, spec: Spec, weights: Weights) -> Callable[[int], tuple[Rope | None, ...]]:
    @cache
    def of(is_long: bool) -> tuple[Rope | None, ...]:
        return ropes(c, spec, weights, c.scaling.n_ctx_orig + is_long)

    of(False)  # finds what is wrong with the tensors while the file loads
    return lambda n_ctx: of(n_ctx > c.scaling.n_ctx_orig)


def _positions(c: Config, weights: Weights) -> Weight | None:
    """Learned positions."""
    name = "position_embd.weight"
    if not weights.has(name):
        return None
    n = weights.shape(name)[-1]
    if n < c.n_ctx_train:
        raise FormatError(f"{c.keys.file.path}: tensor {name}: has {n} rows, must have {c.n_ctx_train}")
    return weights.matrix(name, c.n_embd, n)


def _embedding_norm(c: Config, spec: Spec, weights: Weights, eps: float) -> Norm | None:
    if weights.has("token_embd_norm.weight"):
        return read_norm(weights, spec, "token_embd_norm", c.n_embd, eps)
    return Norm(None, None, eps, spec.norm) if spec.embedding_norm else None


def _output_norm(c: Config, spec: Spec, weights: Weights, eps: float) -> Norm:
    norm = read_norm(weights, spec, "output_norm", c.n_embd, eps)
    if norm is None:
        raise FormatError(f"{c.keys.file.path}: tensor output_norm.weight: is missing")
    return norm


def _output(c: Config, weights: Weights, embedding: Weight) -> Linear:
    bias = weights.optional("output.bias", c.n_vocab)
    if not weights.has("output.weight"):
        return Linear(embedding, bias)
    return Linear(weights.matrix("output.weight", c.n_embd, c.n_vocab), bias, weights.optional("output.scale", 1))


def _layer(f: LayerReader) -> Layer:
    c, spec, n = f.config, f.spec, f.config.n_embd
    post_eps = f.eps if spec.post_norm_eps is None else spec.post_norm_eps
    ffn, aside = _feed_forward(f)
    has_mixer = bool(c.n_head[f.i])
    attn_norm = f.norm("attn_norm", n) if spec.pre_norm and has_mixer else None
    if spec.pre_norm and has_mixer and attn_norm is None:
        raise FormatError(f"{f.path}: tensor {f.name('attn_norm.weight')}: is missing")
    ffn_norm = f.norm(spec.ffn_norm, n) if spec.pre_norm else None
    parallel = spec.parallel(c, ffn_norm is not None)
    if spec.pre_norm and ffn and ffn_norm is None and not parallel:
        raise FormatError(f"{f.path}: tensor {f.name(spec.ffn_norm)}.weight: is missing")
    last_of_loop = (f.i + 1) % c.n_block == 0 and f.i + 1 < c.n_layer
    loop_norm = None
    if last_of_loop and not c.keys.flag("skip_loop_final_norm", False):
        loop_norm = _output_norm(c, spec, f.weights, f.eps)
    return Layer(
        attn_norm=attn_norm,
        attn_norm_2=f.norm("attn_norm_2", n) if f.has("attn_norm_2.weight") else None,
        mixer=_mixer(f) if has_mixer else None,
        post_attention_norm=_post_norm(f, spec.post_attention_norm, post_eps),
        ffn_norm=ffn_norm,
        ffn=ffn,
        post_ffw_norm=_post_norm(f, spec.post_ffw_norm, post_eps),
        parallel=parallel,
        residual_factor=spec.residual_factor(c),
        aside=aside,
        skip_factor=f.scalar("layer_output_scale.weight") if spec.embedding_skip else 0.0,
        loop_norm=loop_norm,
    )


def _mixer(f: LayerReader) -> Mixer:
    """The kind of block that mixes tokens: where others than attention will find their place."""
    if not f.config.n_head_kv[f.i]:
        return PerToken(f.i, f.linear("attn_output", f.config.n_embd, f.config.n_embd))
    return read_attention(f)


def _post_norm(f: LayerReader, name: str, eps: float) -> Norm | None:
    """A norm after a block is there where it has weights."""
    if name == f.spec.ffn_norm or not f.has_norm(name):
        return None
    return f.norm(name, f.config.n_embd, eps)


def _feed_forward(
    f: LayerReader,
) -> tuple[FeedForward | ActivationAlone | Experts | None, tuple[Norm, Experts] | None]:
    """The layer's block, and experts aside."""
    c = f.config
    if not f.has("ffn_gate_inp.weight"):
        return (read_feed_forward(f) if c.n_ff[f.i] else None), None
    if not f.spec.experts.used:
        f.weights.leave(rf"blk\.{f.i}\.ffn_(gate_inp|\w+_exps)\.weight")
        return ActivationAlone(f"blk.{f.i}.ffn", f.spec.activation), None
    if f.spec.experts.dense == "ignored":
        f.weights.leave(rf"blk\.{f.i}\.ffn_(gate|up|down)\.weight")
    if not f.has("ffn_norm_exps.weight"):
        return read_experts(f), None
    norm = f.norm("ffn_norm_exps", c.n_embd)
    assert norm is not None
    return read_feed_forward(f), (norm, read_experts(f))
