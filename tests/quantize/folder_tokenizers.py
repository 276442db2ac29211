"""The files of a tokenizer in a tiny Hugging Face folder: byte-level BPE, or SentencePiece's BPE."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from localllm.text.bytelevel import BYTE_TO_CHAR, to_alphabet
from tests.text.build import train

TEXT = (
    "the quick brown fox jumps over the lazy dog and the other dogs, then there were three of them in the garden\n"
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 12345 and 67 make 12412, or so they say\n"
)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


ADDED = [("<unk>", True), ("<s>", True), ("</s>", True), ("<|pad|>", False), ("[tool\u2581call]", False)]
"""Added tokens: ids 0 to 2 and the two after the vocabulary."""


def write_tokenizer(folder: Path, vocabulary: str, pre: str, post: str, config: Mapping[str, Any]) -> None:
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast" if vocabulary == "bytelevel" else "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>", "special": True},
        "unk_token": "<unk>",
        "pad_token": "<|pad|>",
        "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
        **config,
    }
    if vocabulary == "bytelevel":
        tokenizer = bytelevel_tokenizer(pre, post)
    else:
        settings |= {"add_bos_token": True, "add_eos_token": False}
        texts = sentencepiece_file(folder / "tokenizer.model")
        tokenizer = blocks_tokenizer(texts)
        if vocabulary == "blocks":
            (folder / "tokenizer.model").unlink()
    settings["added_tokens_decoder"] = {
        str(entry["id"]): {
            key: entry[key] for key in ("content", "special", "normalized", "lstrip", "rstrip", "single_word")
        }
        for entry in tokenizer["added_tokens"]
    }
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {key: value for key, value in settings.items() if value is not None})


def _added(ids: Mapping[str, int], n: int) -> list[dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    entries = []
    for text, special in ADDED:
        if text not in ids:
            ids, n = {**ids, text: n}, n + 1
        entries.append({"id": ids[text], "content": text, "special": special, **plain})
    return entries


PRE_STEPS: dict[str, list[dict[str, Any]]] = {
    "llama-bpe": [
        {
            "type": "Split",
            "pattern": {
                "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
                r"\s*[\r\n]+|\s+(?!\S)|\s+"
            },
            "behavior": "Isolated",
            "invert": False,
        }
    ],
    "qwen2": [
        {
            "type": "Split",
            "pattern": {
                "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
                r"\s*[\r\n]+|\s+(?!\S)|\s+"
            },
            "behavior": "Isolated",
            "invert": False,
        }
    ],
    "smollm": [{"type": "Digits", "individual_digits": True}],
    "deepseek-v3": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in (
            r"\p{N}{1,3}",
            "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            # as DeepSeek's file has it: line ends stand for themselves
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
            " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
        )
    ],
    "gpt-2": [],
}
PRE_STEPS["dbrx"] = PRE_STEPS["llama-bpe"]


_BOS, _TEXT = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
POST: dict[str, dict[str, Any]] = {
    "ByteLevel": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "template": {
        "type": "TemplateProcessing",
        "single": [_BOS, _TEXT],
        "pair": [_BOS, _TEXT, _BOS, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    },
}


def bytelevel_tokenizer(pre: str, post: str) -> dict[str, Any]:
    """tokenizer.json: GPT-2's bytes, merges learned from TEXT, and added tokens."""
    texts = ["<unk>", "<s>", "</s>", *BYTE_TO_CHAR.values()]
    merges = train([list(to_alphabet(" " + word)) for word in TEXT.split()], 40)
    ids = {text: i for i, text in enumerate([*texts, *(a + b for a, b in merges)])}
    bytelevel = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    steps = [*copy.deepcopy(PRE_STEPS[pre]), bytelevel | {"use_regex": pre in ("smollm", "gpt-2")}]
    return {
        "version": "1.0",
        "added_tokens": _added(ids, len(ids)),
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps} if len(steps) > 1 else steps[0],
        "post_processor": POST[post],
        "decoder": bytelevel | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "ignore_merges": pre == "llama-bpe",
            "byte_fallback": False,
            "fuse_unk": False,
            "vocab": ids,
            "merges": [list(merge) for merge in merges],
        },
    }


def sentencepiece_file(path: Path) -> list[tuple[str, float]]:
    """Trains a BPE model of 300 pieces with byte fallback; returns its pieces with their scores."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines() * 4),
        model_writer=out,
        model_type="bpe",
        vocab_size=310,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    path.write_bytes(out.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    return [(processor.IdToPiece(i), processor.GetScore(i)) for i in range(processor.vocab_size())]


def blocks_tokenizer(pieces: list[tuple[str, float]]) -> dict[str, Any]:
    """tokenizer.json of the same tokenizer, as transformers converts it: merges from the scores."""
    ids = {text: i for i, (text, _) in enumerate(pieces)}
    merges = []
    for text, score in pieces:
        for cut in range(1, len(text)):
            if text[:cut] in ids and text[cut:] in ids and not text.startswith("<"):
                merges.append((score, [text[:cut], text[cut:]]))
    merges.sort(key=lambda merge: -merge[0])
    return {
        "version": "1.0",
        "added_tokens": _added(ids, len(ids)),
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": []},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": ids,
            "merges": [pair for _, pair in merges],
        },
    }
