"""A small but complete model, byte by byte: what the corpus changes one thing of. See tests/gguf/build.py."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import gguf
import numpy as np

from tests.gguf import build as b
from tests.text.build import byte_level, sentencepiece

N_EMBD, N_LAYER, N_HEAD, N_HEAD_KV, HEAD, N_FF = 64, 2, 2, 1, 32, 96
ALIGNMENT = 32


class Typed(NamedTuple):
    """A metadata value with the type that the file gives it; element: of an array."""

    kind: int
    value: Any
    element: int = b.U8

    def kv(self, key: str) -> bytes:
        if self.kind == b.ARR:
            return b.array(key, self.element, self.value)
        return b.kv(key, self.kind, self.value)


def array(element: int, value: Any) -> Typed:
    return Typed(b.ARR, value, element)


def typed(value: Any) -> Typed:
    """The type that GGUF files usually give such a value."""
    if isinstance(value, Typed):
        return value
    if isinstance(value, list):
        return array(typed(max(value, key=_weight)).kind if value else b.I32, value)
    if isinstance(value, bool):
        return Typed(b.BOOL, value)
    if isinstance(value, int):
        fits = next(kind for kind, low, high in _INTEGERS if low <= value <= high)
        return Typed(fits, value)
    return Typed(b.F32 if isinstance(value, float) else b.STR, value)


_INTEGERS = (
    (b.U32, 0, 2**32 - 1), (b.I32, -(2**31), -1), (b.U64, 0, 2**64 - 1), (b.I64, -(2**63), -1),
)  # fmt: skip


def _weight(value: Any) -> float:
    """In a list of integers the one decides that needs the widest type; a negative one needs a sign."""
    if not isinstance(value, int):
        return 0
    return 2.0**65 - value if value < 0 else value


@dataclass(frozen=True)
class Tensor:
    """shape: in GGML's order; data None: random weights of this format."""

    shape: tuple[int, ...]
    kind: int = 0
    data: bytes | None = None
    offset: int | None = None
    """None: where it belongs."""


@dataclass(frozen=True)
class Model:
    """Keys and tensors in the order of the file."""

    keys: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    alignment: int = ALIGNMENT
    more: dict[str, Any] = field(default_factory=dict)
    """Arguments of `tests.gguf.build.gguf`."""

    def with_keys(self, changes: Mapping[str, Any] | None = None, **more: Any) -> Model:
        """Keys replaced or added; None takes one out. A name in `more` is that of an architecture's key, with __ for
        a dot."""
        named = {f"llama.{key.replace('__', '.')}": value for key, value in more.items()}
        keys = {**self.keys, **(changes or {}), **named}
        return replace(self, keys={key: value for key, value in keys.items() if value is not None})

    def with_tensors(self, **changes: Tensor | None) -> Model:
        """Tensors replaced or added, and taken out by None; __ stands for a dot."""
        tensors = {**self.tensors, **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
        return replace(self, tensors={name: tensor for name, tensor in tensors.items() if tensor is not None})

    def records(self) -> list[tuple[str, bytes]]:
        """The file as a list of what it consists of; padding belongs to what is before it."""
        made = [("magic", b"GGUF"), ("version", b.pack("I", 3)), ("number of tensors", b.pack("Q", len(self.tensors)))]
        made.append(("number of keys", b.pack("Q", len(self.keys))))
        made += [(f"key {key}", typed(value).kv(key)) for key, value in self.keys.items()]
        at, rows, data = 0, [], []
        for name, tensor in self.tensors.items():
            raw = weights(name, tensor) if tensor.data is None else tensor.data
            offset = at if tensor.offset is None else tensor.offset
            rows.append((f"row of {name}", b.tensor(name, tensor.shape, tensor.kind, offset)))
            data.append((f"data of {name}", raw + bytes(-len(raw) % self.alignment)))
            at += len(raw) + -len(raw) % self.alignment
        head = sum(len(part) for _, part in made + rows)
        return [*made, *rows, ("padding", bytes(-head % self.alignment)), *data]

    def bytes(self) -> bytes:
        return b"".join(part for _, part in self.records())


def weights(name: str, tensor: Tensor) -> bytes:
    """Random ones, which depend on the name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    raw = rng.standard_normal(math.prod(tensor.shape)).reshape(tensor.shape[::-1])
    values = 1 + raw / 10 if "norm" in name else raw / math.sqrt(tensor.shape[0])
    kind = gguf.GGMLQuantizationType(tensor.kind)
    return bytes(gguf.quants.quantize(values.astype(np.float32), kind).tobytes())


def _tensors(n_vocab: int) -> dict[str, Tensor]:
    made = {"token_embd.weight": Tensor((N_EMBD, n_vocab)), "output_norm.weight": Tensor((N_EMBD,))}
    for i in range(N_LAYER):
        made |= {
            f"blk.{i}.attn_norm.weight": Tensor((N_EMBD,)),
            f"blk.{i}.attn_q.weight": Tensor((N_EMBD, N_HEAD * HEAD)),
            f"blk.{i}.attn_k.weight": Tensor((N_EMBD, N_HEAD_KV * HEAD)),
            f"blk.{i}.attn_v.weight": Tensor((N_EMBD, N_HEAD_KV * HEAD)),
            f"blk.{i}.attn_output.weight": Tensor((N_HEAD * HEAD, N_EMBD)),
            f"blk.{i}.ffn_norm.weight": Tensor((N_EMBD,)),
            f"blk.{i}.ffn_gate.weight": Tensor((N_EMBD, N_FF)),
            f"blk.{i}.ffn_up.weight": Tensor((N_EMBD, N_FF)),
            f"blk.{i}.ffn_down.weight": Tensor((N_FF, N_EMBD)),
        }
    return made


_KEYS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Malformed",
    "general.file_type": 0,
    "general.alignment": ALIGNMENT,
    "llama.context_length": 256,
    "llama.embedding_length": N_EMBD,
    "llama.block_count": N_LAYER,
    "llama.feed_forward_length": N_FF,
    "llama.attention.head_count": N_HEAD,
    "llama.attention.head_count_kv": N_HEAD_KV,
    "llama.attention.key_length": HEAD,
    "llama.attention.value_length": HEAD,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": HEAD,
    "llama.rope.freq_base": 10000.0,
}


def file_of(make: Callable[..., Model], *arguments: Any) -> Callable[[], bytes]:
    """The file of a model that is made when it is asked for."""
    return lambda: make(*arguments).bytes()


TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def with_vocabulary(vocabulary: Mapping[str, Any]) -> Model:
    """The model with such a vocabulary, and as many rows in its embedding."""
    tokens = vocabulary.get("tokenizer.ggml.tokens")
    n_vocab = max(len(tokens) if isinstance(tokens, list) else 0, 1)
    return Model({**_KEYS, "llama.vocab_size": n_vocab, **vocabulary}, _tensors(n_vocab))


@cache
def model() -> Model:
    """The complete one: SentencePiece's vocabulary, a template."""
    return with_vocabulary(sentencepiece() | {"tokenizer.chat_template": TEMPLATE})


@cache
def of_bytes() -> Model:
    """The same with a byte-level BPE."""
    return with_vocabulary(byte_level() | {"tokenizer.chat_template": TEMPLATE})
