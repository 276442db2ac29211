"""What a spec says: how an architecture differs from the plain transformer that `forward` records.

A spec is a file in specs/, to be read beside the model's paper, or a row of specs/alike.py. What a tensor shows is not
declared again here: biases, norms, gates, experts, fused matrices, learned positions, attention sinks and tied output
are used where the file has the tensor. A function of a spec gets the configuration (`Config`; `c.keys` reads further
metadata) and, where it differs from layer to layer, the layer's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Literal

from localllm.gate import files, numbers
from localllm.gguf.config import Config, Keys, Window, read_config
from localllm.gguf.reader import GGUFFile

Gating = Literal["softmax", "sigmoid", "softmax_weight", "sqrt_softplus"]
GATINGS: dict[int, Gating] = {1: "softmax", 2: "sigmoid", 3: "softmax_weight", 4: "sqrt_softplus"}
"""Values of the key expert_gating_func."""


@dataclass(frozen=True)
class ExpertsSpec:
    """Mixture of experts: how a router's scores become weights, and what else runs beside the experts."""

    gating: Gating = "softmax"
    """What makes weights of scores, unless the file says it: "softmax_weight" is a softmax over the chosen alone."""
    normed: bool = True
    """The chosen weights are divided by their sum, unless the file says it."""
    activation: str = "silu"
    """Of the feed-forward block: a name of kernels.activation."""
    router_input: Literal["normed", "layer"] = "normed"
    """The scores come from the feed-forward block's normed input, or from the layer's input as it is."""
    weight_before: bool = False
    """The weight multiplies an expert's input, not its output."""
    dense: Literal["beside", "alone", "ignored"] = "beside"
    """Dense feed-forward weights in a layer that has experts: a block beside them, the layer's own block (with experts
    beside it that have a norm of their own), or unused."""
    used: bool = True
    """False: llama.cpp leaves experts out, and the block is the activation of its normed input, no more."""
    factor: float = 1.0
    """Of the sum of experts, shared experts and dense block, where there is more than one of them."""


@dataclass(frozen=True)
class ClassifierSpec:
    """What ends a model that scores pairs of texts."""

    pooling: str = "cls"
    """Of hidden states, where the file does not say it; see model.pooling."""
    activation: str = "tanh"
    softmax: bool = False
    """The scores become shares of 1."""


@dataclass(frozen=True)
class IndexerSpec:
    """The lightning indexer. pairing: as `Spec.rope`, of its heads."""

    pairing: Literal["adjacent", "halves"]
    rope_last: bool = False
    """RoPE is applied to the last elements of a head, not the first."""
    eps: float | None = 1e-6
    """Of the keys' norm; None: that of the other norms."""


@dataclass(frozen=True)
class KdaSpec:
    """Kimi Delta Attention, where an architecture's files differ."""

    negative_a: bool = True
    """ssm_a holds -exp(A_log); otherwise exp(A_log)."""
    eps: float | None = None
    """Of what gives queries and keys the length 1; None: that of the norms."""


@dataclass(frozen=True)
class NextnSpec:
    """The layer that predicts a further token (multi-token prediction; see model.nextn). normed: it reads hidden states
    after a norm: the model's after the output norm, its own after shared_head_norm; otherwise as they are before."""

    normed: bool = True
    adapt: Callable[[Spec], Spec] = lambda spec: spec
    """How it differs from the model's own layers."""


@dataclass(frozen=True)
class Spec:
    """One architecture. `about`: the models it is known from, for tables."""

    about: str
    rope: Literal["adjacent", "halves", "none"]
    """Which elements are rotated as a pair: 2i and 2i + 1, or i and i + n_rot / 2."""
    name: str = ""
    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm (key attention.layer_norm_rms_epsilon) or LayerNorm (attention.layer_norm_epsilon); a bias is used where
    the file has it."""
    eps_default: float | None = None
    """The norm's epsilon where the file has none; None: it must have one."""
    norm_weights: bool = True
    """False: norms are there although they have no weights."""
    pre_norm: bool = True
    """Blocks have a norm before them; one after them is there where the file has its weights."""
    bare_layers: tuple[int, ...] = ()
    """Layers whose attention may lack that norm."""
    parallel: Callable[[Config, bool], bool] = lambda c, has_ffn_norm: False
    """The feed-forward block gets the layer's input (normed as the attention's where it has no norm of its own) and
    runs beside the attention, not after it."""

    mixers: Callable[[Config, int], tuple[str, ...]] = lambda c, i: ("attention",)
    """The kinds of blocks that mix a layer's tokens (model.blocks): one, several beside each other, or none where the
    layer is a feed-forward block alone."""
    stack: str = "plain"
    """How the residual stream runs through the layers (model.stacks)."""

    logits: bool = True
    """False: an encoder, which ends in hidden states of its tokens."""
    classifier: ClassifierSpec = field(default_factory=ClassifierSpec)

    # Tensors by other names than usual.
    prefix: str = ""
    """What the names of the layers' tensors begin with."""
    attn_output: str = "attn_output"
    output_norm: str = "output_norm"
    """Empty: the last layer's result is not normed."""
    ffn_norm: str = "ffn_norm"
    post_attention_norm: str = "post_attention_norm"
    post_ffw_norm: str = "post_ffw_norm"
    unused: tuple[str, ...] = ()
    """Tensors (regular expressions) that files may hold and that llama.cpp leaves alone."""
    post_norm_eps: float | None = None

    embedding_factor: Callable[[Config], float] = lambda c: 1.0
    """Rows of token_embd are multiplied by it."""
    embedding_norm: bool = False
    """A norm without weights follows the embedding."""
    embedding_skip: bool = False
    """Each layer ends by adding the embedding times its layer_output_scale."""
    residual_factor: Callable[[Config], float] = lambda c: 1.0
    """What a block gives is multiplied by it before it is added to the residual stream."""
    logit_factor: Callable[[Config], float] = lambda c: 1.0
    """Logits are multiplied by it."""
    suppressed: range = range(0)
    """Tokens that are never generated, beside those that the file names: their logits become the least number."""
    final_softcap: Callable[[Config], float] = lambda c: 0.0
    """Logits become cap * tanh(logits / cap); 0: they stay as they are."""

    window: Callable[[Keys, int], Window | None] = lambda keys, n_layer: None
    """Given the keys and the number of layers."""
    causal: bool = True
    """False: a token sees all of its sequence, whatever the file says; otherwise the file may say that it does."""
    kv_source: Callable[[Config, int], int | None] = lambda c, i: None
    """The earlier layer whose keys and values a layer attends over; None: it has its own."""
    indexer: Callable[[Config, int], IndexerSpec | None] = lambda c, i: None
    """A layer's lightning indexer, if it has one."""
    choice_source: Callable[[Config, int], int | None] = lambda c, i: None
    """The earlier layer whose choice of cells a layer attends to; None: it has an indexer, or sees all."""
    value_norm: bool = False
    """Values are normed over each head, without weights; where the file has no matrix for them they are the keys as
    they come from theirs."""
    rope_layers: Callable[[Config, int], bool] = lambda c, i: True
    """False: queries and keys of this layer are not rotated (NoPE); see `not_every`."""
    rope_base: Callable[[Config], float] = lambda c: c.rope_freq_base
    """The base of the angles' frequencies."""
    rope_scaling: bool = True
    """False: the file's RoPE scaling is ignored."""
    local_base: Literal["own", "own or 10000", "same"] = "own"
    """RoPE base of layers with a window: rope.freq_base_swa where the file has it; or always that of the others."""
    local_scaling: Literal["same", "magnitude", "none"] = "same"
    """What of the RoPE scaling layers with a window share: "magnitude" is attn_factor with frequencies unscaled."""
    local_factors: bool = True
    """False: layers with a window ignore the factors of frequencies that the file holds (rope_freqs)."""
    yarn_keys: tuple[str, ...] = ()
    """Numbers of YaRN beside the factor that are read: of ext_factor, attn_factor, beta_fast and beta_slow."""
    yarn_gains: Callable[[Config], tuple[float, float]] = lambda c: (1.0, 0.0)
    """How much the logarithm of YaRN's factor counts in the gain of cosines and sines, and in what it is divided by."""
    yarn_beta_fast: float = 32.0
    sections: Literal["none", "blocks", "interleaved"] = "none"
    """M-RoPE: how the pairs are shared among time, height, width and a fourth position, which is 0 in text."""
    attention_scale: Callable[[Config, int], float] = lambda c, i: float(c.n_embd_head_k[i] ** -0.5)
    """Products of queries and keys are multiplied by it."""
    temperature: Callable[[Config, int], tuple[int, float, int] | None] = lambda c, i: None
    """(every, factor, offset): queries are multiplied by log(floor((position + offset) / every) + 1) * factor + 1."""
    attention_softcap: Callable[[Config], float] = lambda c: 0.0
    """Scaled products of queries and keys become cap * tanh(s / cap); 0: they stay as they are."""
    alibi: Callable[[Config], float] = lambda c: 0.0
    """The greatest slope of ALiBi; 0: there is none."""
    qk_norm_after_rope: bool = False
    qk_norm: tuple[Literal["rms", "layer"], float] | None = None
    """The norm of queries and keys, and its epsilon, where it is another one than the rest."""
    qk_norm_always: Callable[[Config, int], bool] = lambda c, i: False
    """Queries and keys are normed also where the norms have no weights."""
    qk_norm_paired: bool = False
    """A norm of keys counts only where there is one of queries, too."""
    gate: Literal["sigmoid", "softplus"] = "sigmoid"
    """What is made of attn_gate's output, which multiplies that of the attention."""
    q_gate: bool = False
    """attn_q holds below the queries of each head as many rows that are its gate, in place of attn_gate."""

    delta_gate: Literal["silu", "sigmoid"] = "silu"
    """What is made of the gate of a delta-net's results."""

    activation: str = "silu"
    """Of the feed-forward block: a name of kernels.activation."""
    activation_numbers: Callable[[Config, int], tuple[float, ...]] = lambda c, i: ()
    """Those that the activation has in a layer, in the kernel's order."""
    n_ff: Callable[[Config, int], int] = lambda c, i: c.n_ff[i]
    experts: ExpertsSpec = field(default_factory=ExpertsSpec)
    kda: KdaSpec = field(default_factory=KdaSpec)
    n_loops: Callable[[Keys], int] = lambda keys: 1
    """How often the layers are applied, one pass after another."""
    block: Callable[[Config, int], int] = lambda c, i: i % c.n_block
    """The number of the file's block that has a layer's weights."""
    adapt_config: Callable[[Config], Config] = lambda c: c
    """What an architecture reads otherwise in a file's numbers."""
    adapt: Callable[[Spec, Config], Spec] = lambda spec, c: spec
    """What a file's numbers change in the spec itself."""
    nextn: NextnSpec | None = None
    """How layers that predict further tokens run; None: that is not known."""
    refused_keys: tuple[str, ...] = ()
    """Metadata that, where present and not 0, asks for what is not supported."""


def is_causal(spec: Spec, keys: Keys) -> bool:
    """A token sees those before it alone."""
    return spec.causal and keys.flag("attention.causal", True)


def sliding(
    period: int, size: int | None = None, dense_first: bool = False, symmetric: bool = False
) -> Callable[[Keys, int], Window | None]:
    """Sliding windows where the file gives their size, or of `size` where it does not."""

    def window(keys: Keys, n_layer: int) -> Window | None:
        n = keys.integer("attention.sliding_window", size or 0)
        return Window(n, period, dense_first, symmetric=symmetric) if n else None

    return window


def sliding_in_all(keys: Keys, n_layer: int) -> Window | None:
    """Sliding windows in all layers, whose size the file must give."""
    return Window(keys.integer("attention.sliding_window", low=1), period=1)


def yarn_gain(factor: float, weight: float = 1.0) -> float:
    """The gain of cosines and sines by which YaRN makes up for flatter attention (arXiv 2309.00071)."""
    return 0.1 * weight * math.log(factor) + 1.0


def not_every(period: int) -> Callable[[Config, int], bool]:
    """All layers but every period-th."""
    return lambda c, i: (i + 1) % period != 0


def with_sections(spec: Spec, c: Config) -> Spec:
    """For an architecture whose files may have M-RoPE sections: in those that have, pairs lie in halves."""
    sections = c.keys.per_layer("rope.dimension_sections", 4, 0)
    return replace(spec, rope="halves") if all(sections[:2]) else spec


def configuration(file: GGUFFile, predicting: bool = False) -> tuple[Spec, Config]:
    """The spec of a file's architecture, and its configuration; predicting: see `read_config`. Raises FormatError or
    UnsupportedError naming the key."""
    if "token_embd.weight" not in file.tensors:  # a complete model is one, whatever it calls itself
        files.holds_model(file.path, *(file.metadata.get(f"general.{key}") for key in ("architecture", "type")))
    keys = Keys(file)
    spec = spec_for(keys.architecture, file.path)
    for key in spec.refused_keys:
        numbers.not_known_yet(keys.place(key), file.metadata.get(f"{spec.name}.{key}"))
    n_block = keys.integer("block_count")
    config = spec.adapt_config(read_config(keys, spec.window(keys, n_block), spec.n_loops(keys), predicting))
    return spec.adapt(spec, config), config


def _table() -> dict[str, str]:
    table: dict[str, str] = import_module("localllm.model.specs").FILES
    return table


def architectures() -> tuple[str, ...]:
    """Names of all architectures that have a spec."""
    return tuple(sorted(_table()))


def spec_for(architecture: str, path: str = "") -> Spec:
    """The spec of an architecture. Raises UnsupportedError, which names it and what there is."""
    table = _table()
    numbers.architecture(path, architecture, architectures())
    specs: dict[str, Spec] = import_module(f"localllm.model.specs.{table[architecture]}").SPECS
    assert architecture in specs, f"FILES names specs/{table[architecture]}.py for {architecture!r}, its SPECS does not"
    return replace(specs[architecture], name=architecture)
