"""From a file to a network: every tensor found, checked against the configuration, and given its role."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from localllm.gate import numbers, tensors, vocabulary
from localllm.gate.check import Place
from localllm.gguf.config import Config, Keys
from localllm.gguf.reader import GGUFFile
from localllm.kernels.thread import SCRATCH_BYTES
from localllm.model.blocks import Mixer
from localllm.model.group_sums import GroupSums
from localllm.model.layer import Layer, read_layer
from localllm.model.layer_reader import LayerReader, read_norm
from localllm.model.pooling import Pooling, read_pooling
from localllm.model.recorder import Linear, Norm
from localllm.model.rope import Rope, ropes
from localllm.model.spec import Spec, configuration, is_causal
from localllm.model.stacks import Stack, read_stack
from localllm.model.weights import Weight, Weights


@dataclass(frozen=True)
class Network:
    """What a forward is recorded from."""

    config: Config
    causal: bool
    """A token sees those before it; otherwise all of its sequence."""
    token_embd: Weight
    embedding_factor: float
    type_embd: Weight | None
    """Rows of token types: the first is added to every token's, as all are of a first text."""
    position_embd: Weight | None
    embedding_norm: Norm | None
    layers: tuple[Layer, ...]
    stack: Stack
    output_norm: Norm | None
    output: Linear | None
    """None: an encoder."""
    pooling: Pooling
    logit_factor: float
    logit_softcap: float
    suppressed: tuple[int, ...]
    """Tokens that are never generated: the architecture's, and the file's."""
    lowered: range
    """Of these, those whose logits become the least number, as llama.cpp's do."""
    ropes: Callable[[int], tuple[Rope | None, ...]]
    """Given a context's length: the RoPE of each layer's queries and keys, or None."""
    sums: GroupSums | None = None
    """With high precision: of the matrices."""

    @property
    def max_positions(self) -> int:
        """Tokens that a sequence can have: learned positions end."""
        return self.position_embd.n if self.position_embd else 1 << 31

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """Of all layers, in order."""
        return tuple(mixer for layer in self.layers for mixer in layer.mixers)


def build(file: GGUFFile, weights: Weights) -> tuple[Network, list[str]]:
    """The network, and the names of tensors for other uses.

    Raises FormatError or UnsupportedError, naming the key or the tensor.
    """
    spec, c = configuration(file)
    keys = c.keys
    eps = epsilon(keys, spec)
    for pattern in (*spec.unused, _INPUT_SCALES, *(rf"blk\.{i}\..*" for i in range(c.n_block, c.n_block + c.n_nextn))):
        weights.leave(pattern)
    has_embedding = weights.has("token_embd.weight")
    embedding = weights.matrix("token_embd.weight" if has_embedding else "output.weight", c.n_embd, c.n_vocab)
    layers = _layers(weights, c, spec, eps)
    _check_tokens(c)
    lowered = _lowered(c, spec)
    network = Network(
        config=c,
        causal=is_causal(spec, keys),
        token_embd=embedding,
        embedding_factor=float(spec.embedding_factor(c)),
        type_embd=_types(c, weights),
        position_embd=_positions(c, weights),
        embedding_norm=_embedding_norm(c, spec, weights, eps),
        layers=layers,
        stack=read_stack(weights, c, spec, layers, eps),
        output_norm=_output_norm(c, spec, weights, eps),
        output=_output(c, weights, embedding) if spec.logits else None,
        pooling=read_pooling(c, spec, weights, eps),
        logit_factor=float(spec.logit_factor(c)),
        logit_softcap=float(spec.final_softcap(c)),
        suppressed=(*lowered, *_suppressed(c)),
        lowered=lowered,
        ropes=_ropes(c, spec, weights),
    )
    return network, weights.check_all_used()


_INPUT_SCALES = r"(blk\.\d+\.\w+|output)\.input_scale"
"""NVFP4: ranges of activations, for processors that compute with 4-bit floats. llama.cpp does not use them on a CPU."""


def epsilon(keys: Keys, spec: Spec) -> float:
    """Of the norms. Raises FormatError naming the key."""
    key = _EPS_KEYS[spec.norm]
    eps = keys.number(key, spec.eps_default)
    numbers.epsilon(keys.place(key), eps, spec.eps_default is not None)
    return eps


_EPS_KEYS = {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}


def _layers(weights: Weights, c: Config, spec: Spec, eps: float) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for i in range(c.n_layer):
        layers.append(read_layer(LayerReader(weights, c, spec, i, eps, tuple(layer.mixers for layer in layers))))
    return tuple(layers)


def _ropes(c: Config, spec: Spec, weights: Weights) -> Callable[[int], tuple[Rope | None, ...]]:
    @cache
    def of(is_long: bool) -> tuple[Rope | None, ...]:
        return ropes(c, spec, weights, c.scaling.n_ctx_orig + is_long)

    of(False)  # finds what is wrong with the tensors while the file loads
    return lambda n_ctx: of(n_ctx > c.scaling.n_ctx_orig)


def _types(c: Config, weights: Weights) -> Weight | None:
    name = "token_types.weight"
    if not weights.has(name):
        return None
    _check_rows_to_add(c)
    return weights.matrix(name, c.n_embd, math.prod(weights.shape(name)[1:]))


def _positions(c: Config, weights: Weights) -> Weight | None:
    """Learned positions."""
    name = "position_embd.weight"
    if not weights.has(name):
        return None
    _check_rows_to_add(c)
    n = weights.shape(name)[-1]
    tensors.rows(Place(c.keys.file.path, f"tensor {name}"), n, c.n_ctx_train)
    return weights.matrix(name, c.n_embd, n)


def _check_rows_to_add(c: Config) -> None:
    """A row that is added to the tokens' is made in a thread's scratch memory."""
    what = "what learned positions and token types may have"
    numbers.at_most(c.keys.place("embedding_length"), c.n_embd, SCRATCH_BYTES // 4, what)


def _embedding_norm(c: Config, spec: Spec, weights: Weights, eps: float) -> Norm | None:
    if spec.output_norm != "token_embd_norm" and weights.has("token_embd_norm.weight"):
        return read_norm(weights, spec, "token_embd_norm", c.n_embd, eps)
    return Norm(None, None, eps, spec.norm) if spec.embedding_norm else None


def _output_norm(c: Config, spec: Spec, weights: Weights, eps: float) -> Norm | None:
    if not spec.output_norm:
        return None
    norm = read_norm(weights, spec, spec.output_norm, c.n_embd, eps)
    return tensors.present(Place(c.keys.file.path, f"tensor {spec.output_norm}.weight"), norm)


def _output(c: Config, weights: Weights, embedding: Weight) -> Linear:
    bias = weights.optional("output.bias", c.n_vocab)
    if not weights.has("output.weight"):
        return Linear(embedding, bias)
    return Linear(weights.matrix("output.weight", c.n_embd, c.n_vocab), bias, weights.optional("output.scale", 1))


_TOKENS = "tokenizer.ggml.tokens"


def _check_tokens(c: Config) -> None:
    metadata = c.keys.file.metadata
    count = metadata.describe(_TOKENS)[1] if _TOKENS in metadata else None
    if count is not None:
        vocabulary.rows(Place(c.keys.file.path, f"metadata key {_TOKENS}"), count, c.n_vocab)


_SUPPRESSED = "tokenizer.ggml.suppress_tokens"


def _suppressed(c: Config) -> list[int]:
    """The file's list. llama.cpp's sampler knows it (common/sampling.cpp); its logits do not."""
    ids: list[int] = c.keys.file.get_array(_SUPPRESSED, int, [])
    vocabulary.suppressed(Place(c.keys.file.path, f"metadata key {_SUPPRESSED}"), ids, c.n_vocab)
    return ids


def _lowered(c: Config, spec: Spec) -> range:
    vocabulary.lowered(Place(c.keys.file.path, "tensor token_embd.weight"), spec.suppressed, c.n_vocab)
    return spec.suppressed
