"""Vocabularies of as few tokens as still take every way through a tokenizer: metadata of the seeds."""

from __future__ import annotations

import string
from typing import Any

from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from tests.recorded.models import N_VOCAB
from tests.text.build import metadata

LETTERS = string.ascii_letters + string.digits
TEXT = "ab the cab\n12é <user> z"
"""What each mutant is asked to encode."""
TEMPLATE = (
    "{% for m in messages %}{{ '<user>' if m['role'] == 'user' else '' }}{{ m['content'] | trim }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ':' }}{% endif %}"
)
N_PLAMO = 300


def filled(pieces: list[str], n: int = N_VOCAB) -> list[str]:
    """The first n of these pieces and of letters."""
    return list(dict.fromkeys([*pieces, *LETTERS, *(f"{a}{b}" for a in "xyz" for b in LETTERS)]))[:n]


def _llama() -> dict[str, Any]:
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "<0x0A>",
        "<0x20>",
        "<0xC3>",
        "<0xA9>",
        "<user>",
        "▁",
        "▁the",
        "th",
        "he",
        "▁t",
        "ab",
    ]
    tokens = filled(pieces)
    types = [UNKNOWN, CONTROL, CONTROL, BYTE, BYTE, BYTE, BYTE, USER_DEFINED] + [NORMAL] * (len(tokens) - 8)
    scores = [0.0] * 8 + [-float(i) for i in range(len(tokens) - 8)]
    return metadata(
        "llama", tokens, types, scores=scores, bos_token_id=1, eos_token_id=2, unknown_token_id=0, pre="default",
        add_bos_token=True, add_space_prefix=True, chat_template=TEMPLATE,
    )  # fmt: skip


def _gpt2(model: str = "gpt2", pre: str = "gpt-2") -> dict[str, Any]:
    # "Ã" and "©" are the bytes of é, "Ċ" a line feed, "Ġ" a space.
    tokens = filled(["<|end|>", "<user>", "Ġ", "Ċ", "Ã", "©", "Ã©", "th", "the", "Ġthe", "ab", "cab", "12", "<", ">"])
    types = [CONTROL, USER_DEFINED] + [NORMAL] * (len(tokens) - 2)
    return metadata(
        model, tokens, types, merges=["t h", "th e", "Ġ the", "a b", "c ab", "1 2", "Ã ©"], eos_token_id=0,
        bos_token_id=0, pre=pre, add_bos_token=False, chat_template=TEMPLATE,
    )  # fmt: skip


def _bert() -> dict[str, Any]:
    tokens = filled(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁the", "▁cab", "▁a", "b", "▁12", "▁z", "e", "user"])
    types = [CONTROL] * 5 + [NORMAL] * (len(tokens) - 5)
    ids = {"bos_token_id": 2, "cls_token_id": 2, "seperator_token_id": 3, "unknown_token_id": 1, "padding_token_id": 0}
    return metadata("bert", tokens, types, **ids, token_type_count=2)


def _t5() -> dict[str, Any]:
    tokens = filled(["<pad>", "</s>", "<unk>", "<user>", "▁", "▁the", "▁ab", "▁cab", "12", "th", "é"])
    types = [CONTROL, CONTROL, UNKNOWN, USER_DEFINED] + [NORMAL] * (len(tokens) - 4)
    return metadata(
        "t5", tokens, types, scores=[0.0] * 4 + [-1.0 - i / 8 for i in range(len(tokens) - 4)], eos_token_id=1,
        unknown_token_id=2, padding_token_id=0, add_eos_token=True, add_space_prefix=True,
        precompiled_charsmap=list(bytes(4) + b"\0"),
    )  # fmt: skip


def _rwkv() -> dict[str, Any]:
    tokens = filled(["<s>", "\\n", "\\xc3", "\\xa9", "the", " the", "ab", "cab", "12", " ", "<", ">"])
    return metadata("rwkv", tokens, [CONTROL] + [NORMAL] * (len(tokens) - 1), eos_token_id=0, unknown_token_id=0)


def _plamo2() -> dict[str, Any]:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "ab", "the", " the", "cab", "12"]
    tokens = filled(pieces, N_PLAMO)
    n = len(tokens) - 259
    scores = [0.0] * 259 + [-2.0 - i / 4 for i in range(n)]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * n]
    return metadata("plamo2", tokens, types, scores=scores, bos_token_id=1, eos_token_id=2)


VOCABULARIES = {
    "llama": _llama(),
    "gpt2": _gpt2(),
    "gpt2-qwen2": _gpt2(pre="qwen2"),
    "gemma4": _gpt2("gemma4"),
    "bert": _bert(),
    "t5": _t5(),
    "rwkv": _rwkv(),
    "plamo2": _plamo2(),
    "none": {"tokenizer.ggml.model": "no_vocab"},
}
"""By name: keys and values."""
