"""Valid files that cannot be run: numbers that contradict one another or the tensors, tensors that are missing or too
many, formats in the wrong place."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.gguf import build as b
from tests.malformed.base import HEAD, N_EMBD, Model, Tensor, Typed, array, file_of, model
from tests.malformed.case import Case, Stage

NAN, INFINITE = float("nan"), float("inf")
Q4_0, Q8_0, Q4_K, I32, BF16 = 2, 8, 12, 26, 30

# classes, keys without the architecture's name, words of the error
KEYS: dict[str, tuple[tuple[int, ...], dict[str, Any], str]] = {
    "no layers": ((57,), {"block_count": 0}, "llama.block_count: is 0"),
    "2^32-1 layers": ((57,), {"block_count": 2**32 - 1}, "llama.block_count: is 4294967295"),
    "a layer too many": ((54, 57), {"block_count": 3}, "blk.2."),
    "a layer too few": ((57,), {"block_count": 1}, "blk.1."),
    "layers as a text": ((24, 57), {"block_count": "2"}, "llama.block_count"),
    "layers as a float": ((24, 57), {"block_count": 2.0}, "llama.block_count"),
    "layers as a bool": ((24, 57), {"block_count": True}, "llama.block_count"),
    "layers as a list": ((24, 57), {"block_count": [2]}, "llama.block_count"),
    "-1 layers": ((57,), {"block_count": -1}, "llama.block_count: is -1"),
    "layers missing": ((57,), {"block_count": None}, "llama.block_count"),
    "more predicting layers than layers": ((57,), {"nextn_predict_layers": 2}, "nextn_predict_layers: is 2"),
    "no heads": ((58,), {"attention__head_count": 0}, "head_count: is 0"),
    "-1 heads": ((58,), {"attention__head_count": -1}, "head_count: is -1"),
    "2^32-1 heads": ((58,), {"attention__head_count": 2**32 - 1}, "head_count: is 4294967295"),
    "2^63 heads": ((58,), {"attention__head_count": 2**63}, "head_count: is 9223372036854775808"),
    "heads missing": ((58,), {"attention__head_count": None}, "head_count"),
    "heads unlike the tensors": ((55, 60), {"attention__head_count": 3}, "blk.0.attn_q.weight"),
    "no key-value heads": ((59,), {"attention__head_count_kv": 0}, "head_count_kv"),
    "key-value heads that do not divide": (
        (59,), {"attention__head_count": 3, "attention__head_count_kv": 2}, "head_count_kv: is 2, must divide",
    ),
    "more key-value heads than heads": ((59,), {"attention__head_count_kv": 4}, "head_count_kv: is 4, must divide"),
    "-1 key-value heads": ((59,), {"attention__head_count_kv": -1}, "head_count_kv: is -1"),
    "width that heads do not divide": (
        (60,), {"attention__head_count": 3, "attention__head_count_kv": 3, "attention__key_length": None,
                "attention__value_length": None}, "",
    ),
    "width 0": ((60,), {"embedding_length": 0}, "embedding_length: is 0"),
    "width 2^31": ((60,), {"embedding_length": 2**31}, "embedding_length: is 2147483648"),
    "width 2^63": ((60,), {"embedding_length": 2**63}, "embedding_length: is 9223372036854775808"),
    "width unlike the tensors": ((55,), {"embedding_length": 128}, "token_embd.weight"),
    "width as a text": ((24,), {"embedding_length": "64"}, "embedding_length"),
    "context 0": ((61,), {"context_length": 0}, "context_length: is 0"),
    "context -1": ((61,), {"context_length": -1}, "context_length: is -1"),
    "context 2^63": ((61,), {"context_length": 2**63}, "context_length: is 9223372036854775808"),
    "context missing": ((61,), {"context_length": None}, "context_length"),
    "RoPE over an odd number": ((62,), {"rope__dimension_count": 31}, "rope.dimension_count: is 31"),
    "RoPE over more than a head": ((62,), {"rope__dimension_count": HEAD + 2}, "rope.dimension_count: is 34"),
    "RoPE over 2^32-1": ((62,), {"rope__dimension_count": 2**32 - 1}, "rope.dimension_count: is 4294967295"),
    "RoPE over -2": ((62,), {"rope__dimension_count": -2}, "rope.dimension_count: is -2"),
    "frequency 0": ((63,), {"rope__freq_base": 0.0}, "rope.freq_base: is 0"),
    "frequency -1": ((63,), {"rope__freq_base": -1.0}, "rope.freq_base: is -1"),
    "frequency NaN": ((18, 63), {"rope__freq_base": NAN}, "rope.freq_base: is nan"),
    "frequency Inf": ((18, 63), {"rope__freq_base": INFINITE}, "rope.freq_base: is inf"),
    "frequency as a text": ((24, 63), {"rope__freq_base": "1"}, "rope.freq_base"),
    "frequency as a list": ((24, 63), {"rope__freq_base": [1.0]}, "rope.freq_base"),
    "epsilon 0": ((64,), {"attention__layer_norm_rms_epsilon": 0.0}, "layer_norm_rms_epsilon: is 0"),
    "epsilon -1": ((64,), {"attention__layer_norm_rms_epsilon": -1.0}, "layer_norm_rms_epsilon: is -1"),
    "epsilon NaN": ((18, 64), {"attention__layer_norm_rms_epsilon": NAN}, "layer_norm_rms_epsilon: is nan"),
    "epsilon -Inf": ((18, 64), {"attention__layer_norm_rms_epsilon": -INFINITE}, "layer_norm_rms_epsilon: is -inf"),
    "epsilon missing": ((64,), {"attention__layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon"),
    "scaling by NaN": ((18,), {"rope__scaling__type": "linear", "rope__scaling__factor": NAN}, "scaling.factor"),
    "unknown scaling": ((77,), {"rope__scaling__type": "dynamic"}, "rope.scaling.type"),
    "more experts used than there are": ((65,), {"expert_used_count": 9}, "expert_used_count: is 9"),
    "2^32-1 experts": ((65,), {"expert_count": 2**32 - 1}, "expert_count: is 4294967295"),
    "heads of a layer too few": ((66,), {"attention__head_count": [2]}, "attention.head_count"),
    "heads in an empty list": ((66,), {"attention__head_count": array(b.I32, [])}, "attention.head_count"),
    "heads of texts": ((24, 66), {"attention__head_count": ["2", "2"]}, "attention.head_count"),
    "a layer without heads": ((58, 66), {"attention__head_count": [2, 0]}, ""),
    "widths of layers, unlike the tensors": ((55, 66), {"feed_forward_length": [96, 97]}, "blk.1.ffn_"),
    "inner width 0": ((55,), {"feed_forward_length": 0}, "blk.0.ffn_"),
    "inner width 2^63": ((55,), {"feed_forward_length": 2**63}, "feed_forward_length: is 9223372036854775808"),
    "heads of 0 elements": ((55,), {"attention__key_length": 0}, "attention.key_length: is 0"),
    "heads of 2^31 elements": ((55,), {"attention__key_length": 2**31}, "attention.key_length: is 2147483648"),
    "heads unlike the tensors' width": ((55,), {"attention__value_length": 16}, "blk.0.attn_v.weight"),
}  # fmt: skip

WITHOUT_A_USE: dict[str, tuple[tuple[int, ...], dict[str, Any], str]] = {
    "window of 0": ((67,), {"attention__sliding_window": 0}, ""),
    "window of -1": ((67,), {"attention__sliding_window": -1}, ""),
    "window of 2^32-1": ((67,), {"attention__sliding_window": 2**32 - 1}, ""),
    "window as a text": ((24, 67), {"attention__sliding_window": "8"}, ""),
    "scaling by 0": ((63,), {"rope__scaling__type": "linear", "rope__scaling__factor": 0.0}, ""),
    "experts that no tensor holds": ((54, 65), {"expert_count": 4, "expert_used_count": 2}, ""),
    "experts of which none is used": ((65,), {"expert_count": 4, "expert_used_count": 0}, ""),
}
"""Numbers that this model does not need: refused or left alone. llama.cpp scales by 1 where 0 is told."""

FILE_KEYS: dict[str, tuple[tuple[int, ...], dict[str, Any], str]] = {
    "no architecture": ((53,), {"general.architecture": None}, "general.architecture"),
    "an empty architecture": ((53,), {"general.architecture": ""}, "architecture ''"),
    "an unknown architecture": ((53,), {"general.architecture": "perceptron"}, "'perceptron'"),
    "an architecture that steers the terminal": ((53,), {"general.architecture": "\x1b]0;a\x07"}, "architecture"),
    "an architecture of 1 MB": ((53,), {"general.architecture": "a" * 10**6}, "architecture"),
    "an architecture as a number": ((24, 53), {"general.architecture": 7}, "general.architecture"),
    "an architecture as a list": ((24, 53), {"general.architecture": ["llama"]}, "general.architecture"),
    "another architecture": ((53, 54), {"general.architecture": "qwen2"}, "qwen2."),
    "an architecture that encodes": ((53, 54), {"general.architecture": "bert"}, "bert."),
}

TENSORS: dict[str, tuple[tuple[int, ...], dict[str, Tensor | None], str]] = {
    "no embedding": ((54,), {"token_embd__weight": None}, "token_embd.weight"),
    "no last norm": ((54,), {"output_norm__weight": None}, "output_norm.weight"),
    "no queries": ((54,), {"blk__1__attn_q__weight": None}, "blk.1.attn_q.weight"),
    "no feed-forward": ((54,), {"blk__0__ffn_down__weight": None}, "blk.0.ffn_down.weight"),
    "queries a row too few": ((55,), {"blk__0__attn_q__weight": Tensor((64, 63))}, "blk.0.attn_q.weight"),
    "queries a column too many": ((55,), {"blk__0__attn_q__weight": Tensor((65, 64))}, "blk.0.attn_q.weight"),
    "queries in the other order": ((55,), {"blk__0__ffn_up__weight": Tensor((96, 64))}, "blk.0.ffn_up.weight"),
    "queries of three dimensions": ((55,), {"blk__0__attn_q__weight": Tensor((64, 8, 8))}, "blk.0.attn_q.weight"),
    "queries of one dimension": ((55,), {"blk__0__attn_q__weight": Tensor((4096,))}, "blk.0.attn_q.weight"),
    "a norm that is too short": ((55,), {"blk__0__attn_norm__weight": Tensor((63,))}, "blk.0.attn_norm.weight"),
    "a norm that is a matrix": ((55,), {"blk__0__attn_norm__weight": Tensor((64, 2))}, "blk.0.attn_norm.weight"),
    "a norm of one element": ((55,), {"output_norm__weight": Tensor((1,))}, "output_norm.weight"),
    "a bias that is too short": ((55,), {"blk__0__attn_q__bias": Tensor((63,))}, "blk.0.attn_q.bias"),
    "a tensor without a use": ((54,), {"blk__0__ssm_a": Tensor((64,))}, "blk.0.ssm_a"),
    "a tensor of a layer that is none": ((54, 57), {"blk__9__attn_q__weight": Tensor((64, 64))}, "blk.9.attn_q.weight"),
    "an output of other rows": ((55, 69), {"output__weight": Tensor((64, 7))}, "output.weight"),
    "factors of RoPE that are too few": ((55,), {"rope_freqs__weight": Tensor((4,))}, "rope_freqs.weight"),
    "a quantized norm": ((56,), {"output_norm__weight": Tensor((64,), Q8_0)}, "output_norm.weight"),
    "queries of integers": (
        (56,), {"blk__0__attn_q__weight": Tensor((64, 64), I32, bytes(4 * 4096))}, "blk.0.attn_q.weight",
    ),
    "an embedding of integers": (
        (56,), {"token_embd__weight": Tensor((64, 384), I32, bytes(4 * 64 * 384))}, "token_embd.weight",
    ),
    "a norm of doubles": ((56,), {"output_norm__weight": Tensor((64,), 28, bytes(8 * 64))}, "output_norm.weight"),
    "a norm of bytes": ((56,), {"output_norm__weight": Tensor((64,), 24, bytes(64))}, "output_norm.weight"),
}  # fmt: skip


def _values(*numbers: float, n: int) -> bytes:
    return struct.pack(f"<{n}f", *(list(numbers) + [0.5] * n)[:n])


def _scales(bits: int, n_blocks: int = 64 * 64 // 32) -> bytes:
    """Q8_0 whose scale, an F16 of these bits, is the same in each block."""
    return (struct.pack("<H", bits) + bytes(range(32))) * n_blocks


NOT_FINITE: dict[str, tuple[tuple[int, ...], dict[str, Tensor | None], str]] = {
    "NaN in a norm": ((52,), {"blk__0__attn_norm__weight": Tensor((64,), data=_values(NAN, n=64))}, "attn_norm"),
    "Inf in a norm": ((52,), {"output_norm__weight": Tensor((64,), data=_values(INFINITE, n=64))}, "output_norm"),
    "NaN in a matrix": (
        (52,), {"blk__1__attn_q__weight": Tensor((64, 64), data=_values(1.0, NAN, n=4096))}, "blk.1.attn_q",
    ),
    "scales of NaN": ((52,), {"blk__0__ffn_down__weight": Tensor((96, 64), Q8_0, _scales(0x7E00, 192))}, "ffn_down"),
    "scales of Inf": ((52,), {"blk__0__attn_q__weight": Tensor((64, 64), Q8_0, _scales(0x7C00))}, "attn_q"),
    "scales of -Inf": ((52,), {"blk__0__attn_k__weight": Tensor((64, 32), Q8_0, _scales(0xFC00, 64))}, "attn_k"),
}  # fmt: skip


def _all_zero() -> Model:
    zeros = {name: Tensor(t.shape, t.kind, bytes(4 * _count(t))) for name, t in model().tensors.items()}
    return model().with_tensors(**{name.replace(".", "__"): tensor for name, tensor in zeros.items()})


def _count(tensor: Tensor) -> int:
    return tensor.shape[0] * (tensor.shape[1] if len(tensor.shape) > 1 else 1)


LEGAL: dict[str, tuple[tuple[int, ...], Callable[[], Model]]] = {
    "the model as it is": ((), model),
    "all weights are 0": ((52,), _all_zero),
    "a context of one token": ((61,), lambda: model().with_keys(context_length=1)),
    "the largest scales": ((52,), lambda: model().with_tensors(
        blk__0__attn_q__weight=Tensor((64, 64), Q8_0, _scales(0x7BFF)))),
    "a name of 1 MB": ((16,), lambda: model().with_keys({"general.name": "a" * 10**6})),
    "a name that steers the terminal": ((13,), lambda: model().with_keys({"general.name": "\x1b[2J\x1b]0;x\x07\r\n"})),
    "a name as a list": ((24,), lambda: model().with_keys({"general.name": ["a"] * 1000})),
    "50,000 keys": ((25,), lambda: model().with_keys({f"k{i}": i for i in range(50_000)})),
    "an array of 2^20 numbers": ((20, 25), lambda: model().with_keys({"a": array(b.U8, bytes(2**20))})),
    "metadata of NaN": ((18,), lambda: model().with_keys({"a": NAN, "b": -INFINITE, "c": Typed(b.F64, NAN)})),
    "arrays in arrays": ((22,), lambda: model().with_keys({"a": Typed(b.STR, "")})),
    "the numbers of other widths": (
        (24,), lambda: model().with_keys(block_count=Typed(b.U64, 2), embedding_length=Typed(b.I16, N_EMBD)),
    ),
    "an epsilon as a double": (
        (24,), lambda: model().with_keys(attention__layer_norm_rms_epsilon=Typed(b.F64, 1e-5)),
    ),
    "alignment 8": ((26,), lambda: Model(
        {**model().keys, "general.alignment": Typed(b.U32, 8)}, model().tensors, alignment=8)),
    "alignment 2^20": ((29, 30), lambda: Model(
        {**model().keys, "general.alignment": 2**20}, dict(list(model().tensors.items())), alignment=2**20)),
}  # fmt: skip


def cases() -> Iterator[Case]:
    for name, (classes, changes, words) in KEYS.items():
        yield Case(name, classes, model().with_keys(**changes).bytes, words, Stage.MODEL)
    for name, (classes, changes, words) in WITHOUT_A_USE.items():
        yield Case(name, classes, model().with_keys(**changes).bytes, words, Stage.ANY)
    for name, (classes, changes, words) in FILE_KEYS.items():
        yield Case(name, classes, model().with_keys(changes).bytes, words, Stage.MODEL)
    for name, (classes, tensors, words) in TENSORS.items():
        yield Case(name, classes, model().with_tensors(**tensors).bytes, words, Stage.MODEL)
    for name, (classes, tensors, words) in NOT_FINITE.items():
        yield Case(name, classes, model().with_tensors(**tensors).bytes, words, Stage.MODEL)
    for name, (classes, make) in LEGAL.items():
        yield Case(name, classes, file_of(make), "", Stage.NEVER)
