"""From a file to a network: every tensor found, checked against the configuration, and given its role."""

from __future__ import annotations

import numpy as np

from localllm.errors import UnsupportedError
from localllm.gguf.config import Config, read_config
from localllm.gguf.reader import GGUFFile
from localllm.model.forward import Layer, Linear, Network
from localllm.model.spec import Spec, spec_for
from localllm.model.weights import Weights


def build(file: GGUFFile, weights: Weights) -> tuple[Network, list[np.ndarray], list[str]]:
    """The network, arrays that must live as long as it does, and the names of tensors for other uses.

    Raises FormatError or UnsupportedError, naming the key or the tensor.
    """
    architecture = file.get("general.architecture", str)
    spec = spec_for(architecture, file.path)
    _refuse(file, spec)
    c = read_config(file, spec.swa_period, spec.rope_freq_base_local)
    embedding = weights.matrix("token_embd.weight", c.n_embd, c.n_vocab)
    output = _linear(weights, "output", c.n_embd, c.n_vocab) if weights.has("output.weight") else Linear(embedding)
    frequencies = _frequencies(c, weights)
    network = Network(
        config=c,
        spec=spec,
        token_embd=embedding,
        layers=tuple(_layer(weights, c, i) for i in range(c.n_layer)),
        output_norm=weights.vector("output_norm.weight", c.n_embd),
        output=output,
        frequencies=(int(frequencies[0].ctypes.data), int(frequencies[1].ctypes.data)),
    )
    return network, frequencies, weights.check_all_used()


def _refuse(file: GGUFFile, spec: Spec) -> None:
    for key in spec.refused_keys:
        full = f"{spec.name}.{key}"
        if file.metadata.get(full):
            raise UnsupportedError(f"{file.path}: metadata key {full}: is {file.metadata[full]}, which is not supported yet")


def _linear(weights: Weights, name: str, k: int, n: int) -> Linear:
    return Linear(weights.matrix(f"{name}.weight", k, n), weights.optional(f"{name}.bias", n))


def _layer(weights: Weights, c: Config, i: int) -> Layer:
    def linear(name: str, k: int, n: int) -> Linear:
        return _linear(weights, f"blk.{i}.{name}", k, n)

    n_q, n_k, n_v = c.n_head * c.n_embd_head_k, c.n_head_kv * c.n_embd_head_k, c.n_head_kv * c.n_embd_head_v
    return Layer(
        attn_norm=weights.vector(f"blk.{i}.attn_norm.weight", c.n_embd),
        attn_q=linear("attn_q", c.n_embd, n_q),
        attn_k=linear("attn_k", c.n_embd, n_k),
        attn_v=linear("attn_v", c.n_embd, n_v),
        attn_output=linear("attn_output", c.n_head * c.n_embd_head_v, c.n_embd),
        ffn_norm=weights.vector(f"blk.{i}.ffn_norm.weight", c.n_embd),
        ffn_gate=linear("ffn_gate", c.n_embd, c.n_ff),
        ffn_up=linear("ffn_up", c.n_embd, c.n_ff),
        ffn_down=linear("ffn_down", c.n_ff, c.n_embd),
        attn_q_norm=weights.optional(f"blk.{i}.attn_q_norm.weight", c.n_embd_head_k),
        attn_k_norm=weights.optional(f"blk.{i}.attn_k_norm.weight", c.n_embd_head_k),
        post_attention_norm=weights.optional(f"blk.{i}.post_attention_norm.weight", c.n_embd),
        post_ffw_norm=weights.optional(f"blk.{i}.post_ffw_norm.weight", c.n_embd),
    )


def _frequencies(c: Config, weights: Weights) -> list[np.ndarray]:
    """Radians a position, f64 [n_rot / 2]: of layers that see everything (scaled), and of those with a window (not)."""
    exponents = -np.arange(0, c.n_rot, 2, dtype=np.float64) / c.n_rot
    everywhere = c.rope_freq_base**exponents / c.rope_scale
    if weights.has("rope_freqs.weight"):
        everywhere = everywhere / weights.values("rope_freqs.weight", c.n_rot // 2)
    if not any(c.swa_layers):
        return [everywhere, everywhere]
    return [everywhere, c.rope_freq_base_local**exponents]
