"""Embeddings of n-grams that streams take up by gates (Qwen 3.8 Flash Next; llama.cpp's qwen4exp.cpp, PLE): the last
few tokens are hashed to rows of a table, see kernels/ngram.py. What each stream takes also goes through a convolution
over every so many tokens. This block reads the residual streams as they are, and adds to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gate import keys as keys_gate
from localllm.gate import numbers, tensors
from localllm.gate.check import Place
from localllm.gguf.config import Keys
from localllm.kernels import conv, embed, ngram
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Recorder, Residual
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.state import State, StateOptions
from localllm.model.stream_norm import StreamNorm, read_stream_norm
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class Hashes:
    """size: tokens of the longest n-gram; u64: multipliers [size], offsets and sizes [n_heads]."""

    size: int
    eos: int
    per_gram: int
    multipliers: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    @property
    def n_heads(self) -> int:
        return (self.size - 1) * self.per_gram


@dataclass(frozen=True, eq=False)
class NgramEmbedding:
    i: int
    count: int
    """Streams."""
    hashes: Hashes
    table: Weight
    key: Linear
    value: Linear
    key_norm: StreamNorm
    query_norm: StreamNorm
    conv_norm: StreamNorm
    conv: Weight
    """f32 [width][count * n_embd]: 0 for tokens between those that count."""
    width: int

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return (Recurrent(self.hashes.size - 1, (self.width - 1) * self.key.w.n),)

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        (state,) = r.states_of(self)
        name, n, wide = f"blk.{self.i}.ple", r.config.n_embd, self.key.w.n
        embedding = self._embed(r, state)
        key, value, query, gated = (r.floats(part, wide) for part in ("ple key", "ple value", "ple query", "ple gated"))
        r.linears(embedding, [(self.key, key, 0), (self.value, value, 0)])
        self.key_norm.record(r, f"{name}_norm_key", key, key)
        self.query_norm.record(r, f"{name}_norm_query", x, query)
        r.plan.op(
            f"{name}_gate", Key("ngram", "gate"), ngram.GateParams, (r.n_rows, self.count, n),
            n_rows_at=r.rows_at, n=n, count=self.count, key=key, query=query, value=value, factor=float(n) ** -0.5,
            out=gated,
        )  # fmt: skip
        self.conv_norm.record(r, f"{name}_norm_conv", gated, query)
        r.plan.op(
            f"{name}_conv1d", Key("conv", "rows", ("silu",)), conv.Params, (r.n_rows, wide),
            step=r.step, x=query, gate_in=0, gate_out=0, x_stride=wide * F32, n=wide, w=self.conv.address,
            width=self.width, bias=0, state=state.address(1), state_stride=state.stride(1), out=key,
        )  # fmt: skip
        r.add(name, gated, 1.0, key, key, wide)
        r.add(name, key, 1.0, to.x, to.x, wide)

    def _embed(self, r: Recorder, state: Recurrent) -> Buffer:
        h = self.hashes
        rows, out = r.plan.buffer("ple rows", r.n_rows * h.n_heads * 4), r.floats("ple embedding", self.key.w.k)
        r.plan.op(
            f"blk.{self.i}.ple_rows", Key("ngram", "rows"), ngram.RowsParams, (r.n_rows, h.n_heads),
            step=r.step, size=h.size, eos=h.eos, multipliers=int(h.multipliers.ctypes.data), n_heads=h.n_heads,
            per_gram=h.per_gram, offsets=int(h.offsets.ctypes.data), sizes=int(h.sizes.ctypes.data),
            state=state.address(0), state_stride=state.stride(0), out=rows,
        )  # fmt: skip
        r.plan.op(
            self.table.name, Key("embed", "picked", (self.table.module,)), embed.PickedParams,
            (r.n_rows, h.n_heads, self.table.k),
            n_rows_at=r.rows_at, n=h.n_heads, rows=rows, table=self.table.address, row_bytes=self.table.row_bytes,
            k=self.table.k, out=out,
        )  # fmt: skip
        return out


def read(f: LayerReader) -> NgramEmbedding:
    c, n = f.config, f.config.n_embd
    count, hashes = c.keys.integer("hyper_connection.count", low=2), _hashes(c.keys)
    dim = c.keys.integer("embedding_length_per_layer_input", low=1)
    place = c.keys.place("embedding_length_per_layer_input")
    numbers.same(place, dim * hashes.n_heads, n, f"times the {hashes.n_heads} hashes, embedding_length")
    table = "per_layer_token_embd.weight"
    n_rows = f.weights.shape(table)[-1]
    tensors.rows(Place(f.path, f"tensor {table}"), n_rows, int((hashes.offsets + hashes.sizes).max()))
    taps, apart = c.keys.integer("ple.conv_kernel"), hashes.size
    width = (taps - 1) * apart + 1
    spread = np.zeros((width, count * n), np.float32)
    spread[::apart] = f.weights.dequantized(f.name("ple_conv1d.weight"), taps, count * n).reshape(count * n, taps).T

    def norm(part: str) -> StreamNorm:
        return read_stream_norm(f.weights, f.name(f"ple_norm_{part}.weight"), n, count, f.eps)

    return NgramEmbedding(
        f.i, count, hashes, f.weights.matrix(table, dim, n_rows), f.linear("ple_key", n, count * n),
        f.linear("ple_value", n, n), norm("key"), norm("query"), norm("conv"),
        f.weights.constant(f"{f.name('ple_conv1d.weight')} spread", spread), width,
    )  # fmt: skip


def _hashes(keys: Keys) -> Hashes:
    size = keys.integer("ple.ngram_size")
    per_gram = keys.integer("ple.heads_per_ngram")
    n_heads = (size - 1) * per_gram

    def array(key: str, n: int) -> np.ndarray:
        place = keys.place(key)
        return np.array([keys_gate.integer(place, key, value) for value in keys.array(key, n)], np.uint64)

    offsets, sizes = array("ple.head_offsets", n_heads), array("ple.head_vocab_sizes", n_heads)
    last = int((offsets + sizes).max())
    numbers.at_most(keys.place("ple.head_offsets"), last, (1 << 31) - 1, "the last row's number")
    eos = keys.integer("ple.eos_token_id")
    return Hashes(size, eos, per_gram, array("ple.layer_multipliers", size), offsets, sizes)
