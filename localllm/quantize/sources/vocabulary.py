"""The vocabulary of a Hugging Face folder as keys tokenizer.*: of tokenizer.model, or of tokenizer.json.

Token types and padding follow llama.cpp's conversion/base.py. Scores of a SentencePiece vocabulary that only
tokenizer.json has are its merges' ranks, where that conversion gives all tokens the same score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localllm.errors import FileError, TokenizerError, UnsupportedError
from localllm.quantize.source import Typed, typed
from localllm.quantize.sources.architectures import Architecture
from localllm.quantize.sources.json_file import Config, read_json
from localllm.quantize.sources.special_tokens import chat_templates, special_keys
from localllm.text.sentencepiece_file import read_model
from localllm.text.tokenizer_json import recognise
from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

_ADDED_SCORE, _PAD_SCORE = -1000.0, -10000.0
_GRANITE_VOCABULARY = 49152
"""Llama-like models of this size (Granite, SmolLM) do not begin with BOS, whatever their files say, as in llama.cpp."""
_SPECIAL_LOOK = re.compile(r"<pad>|<mask>|<2mass>|\[@BOS@\]|<\|.*\|>|<\uff5c.*\uff5c>|<unused.*>", re.DOTALL)
"""Added tokens that are control tokens, although their files do not call them special."""
_BYTE_NAME = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass
class Tokens:
    """Tokens by id. scores is empty for a vocabulary of merges."""

    model: str
    pre: str
    texts: list[str]
    types: list[int]
    scores: list[float]
    of_json: bool = False
    """Of a tokenizer.json, not of a SentencePiece file."""

    def put(self, token_id: int, text: str, kind: int, score: float) -> None:
        self.texts[token_id], self.types[token_id] = text, kind
        if self.scores:
            self.scores[token_id] = score


def read_vocabulary(folder: Path, row: Architecture, config: Config, pre: str | None) -> dict[str, Typed]:
    """Keys tokenizer.*. `pre` replaces what is recognised. Raises FileError, FormatError or TokenizerError."""
    try:
        return _keys(folder, row, config, pre)
    except RecursionError:
        raise TokenizerError(f"{folder / 'tokenizer.json'}: is nested too deeply") from None


def _keys(folder: Path, row: Architecture, config: Config, pre: str | None) -> dict[str, Typed]:
    settings = Config(folder / "tokenizer_config.json", _optional(folder / "tokenizer_config.json"))
    path = folder / "tokenizer.json"
    tokenizer = _optional(path)
    tokens = _tokens(folder, tokenizer, row, config, settings, pre)
    keys = {
        "tokenizer.ggml.model": typed(tokens.model),
        "tokenizer.ggml.pre": typed(tokens.pre),
        "tokenizer.ggml.tokens": Typed(tokens.texts, "arr", "str"),
        "tokenizer.ggml.token_type": Typed(tokens.types, "arr", "i32"),
    }
    if tokens.scores:
        keys["tokenizer.ggml.scores"] = Typed(tokens.scores, "arr", "f32")
    else:
        merges = _merges(path, Config(path, tokenizer).inner("model").values.get("merges"))
        keys["tokenizer.ggml.merges"] = Typed([_joined(*pair) for pair in merges], "arr", "str")
    keys |= special_keys(folder, tokenizer, settings, config, len(tokens.texts)) | chat_templates(folder, settings)
    space = row.add_space_prefix
    if space is None and row.space_prefix_of_config and "add_prefix_space" in settings.values:
        space = settings.flag("add_prefix_space", False)
    if space is None and tokens.of_json and tokens.scores and not _prepends(tokenizer):
        space = False
    if space is not None:
        keys["tokenizer.ggml.add_space_prefix"] = typed(space)
    if row.space_prefix_of_config and len(tokens.texts) == _GRANITE_VOCABULARY:
        keys["tokenizer.ggml.add_bos_token"] = typed(False)
    return keys


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _tokens(
    folder: Path, tokenizer: dict[str, Any], row: Architecture, config: Config, settings: Config, pre: str | None
) -> Tokens:
    n_vocab = config.integer("vocab_size")
    path = folder / "tokenizer.json"
    model = Config(path, tokenizer).inner("model")
    bytelevel = settings.text("tokenizer_class") == "GPT2Tokenizer"
    if (folder / "tokenizer.model").is_file() and not bytelevel:
        tokens = _sentencepiece(folder / "tokenizer.model", n_vocab)
        _add(folder, tokens, _added_tokens_json(folder), row)
        _add(folder, tokens, _added_tokens_decoder(settings), row)
        if row.added_of_tokenizer_json:
            _add(folder, tokens, _added_tokens(path, tokenizer), row)
        return tokens
    if not tokenizer:
        raise FileError(f"{folder}: holds no tokenizer.json and no tokenizer.model: download the tokenizer, too")
    if model.text("type") != "BPE":
        raise UnsupportedError(f"{path}: the tokenizer model {model.text('type')!r:.40} is not converted: BPE is")
    if model.flag("byte_fallback", False):
        tokens = _blocks(path, model, n_vocab)
    else:
        tokens = _bytelevel(path, model, n_vocab, pre or recognise(tokenizer, str(path)))
    _add(folder, tokens, _added_tokens_decoder(settings), row)
    _add(folder, tokens, _added_tokens(path, tokenizer), row)
    return tokens


def _sentencepiece(path: Path, n_vocab: int) -> Tokens:
    """Of a SentencePiece file. Its user-defined pieces are normal ones, as in llama.cpp."""
    read: Mapping[str, Any] = read_model(str(path))
    if read["tokenizer.ggml.model"] != "llama":
        raise UnsupportedError(f"{path}: is a unigram model, must be a BPE model")
    tokens = _padded("llama", "default", n_vocab, scored=True)
    pieces = zip(*(read[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type", "scores")), strict=True)
    for i, (text, kind, score) in enumerate(pieces):
        if i < n_vocab:
            tokens.put(i, text, NORMAL if kind == USER_DEFINED else kind, score)
    return tokens


def _padded(model: str, pre: str, n_vocab: int, scored: bool) -> Tokens:
    texts = [f"[PAD{i}]" for i in range(n_vocab)]
    return Tokens(model, pre, texts, [UNUSED] * n_vocab, [_PAD_SCORE] * n_vocab if scored else [])


def _vocab(path: Path, model: Config, n_vocab: int) -> dict[str, int]:
    vocab = model.inner("vocab").values
    for text, token_id in vocab.items():
        if type(token_id) is not int or not 0 <= token_id < n_vocab:
            raise TokenizerError(
                f"{path}: token {text!r:.40}: its id is {token_id!r:.40}; ids go from 0 to {n_vocab - 1}"
            )
    return vocab


def _bytelevel(path: Path, model: Config, n_vocab: int, pre: str) -> Tokens:
    tokens = _padded("gpt2", pre, n_vocab, scored=False)
    for text, token_id in _vocab(path, model, n_vocab).items():
        tokens.put(token_id, text, NORMAL, 0.0)
    return tokens


def _blocks(path: Path, model: Config, n_vocab: int) -> Tokens:
    """A SentencePiece vocabulary that only tokenizer.json has. A token's score is the rank of the first merge that
    makes it, negated: what is merged first by the ranks is merged first by the scores.
    """
    tokens = _padded("llama", "default", n_vocab, scored=True)
    ranks: dict[str, int] = {}
    merges = model.values.get("merges", [])
    for rank, (left, right) in enumerate(_merges(path, merges)):
        ranks.setdefault(left + right, rank)
    tokens.of_json = True
    unknown = model.text("unk_token")
    for text, token_id in _vocab(path, model, n_vocab).items():
        kind = BYTE if _BYTE_NAME.fullmatch(text) else UNKNOWN if text == unknown else NORMAL
        tokens.put(token_id, text, kind, -float(ranks.get(text, len(merges))))
    return tokens


def _prepends(step: Any) -> bool:
    """Whether a tokenizer.json, or a step of it, puts U+2581 before a text."""
    if isinstance(step, list):
        return any(_prepends(inner) for inner in step)
    if not isinstance(step, dict):
        return False
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space") is not False
    inner = ("normalizer", "pre_tokenizer", "normalizers", "pretokenizers")
    return step.get("type") == "Prepend" or any(_prepends(step.get(key)) for key in inner)


def _merges(path: Path, merges: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(merges, list):
        raise TokenizerError(f"{path}: key merges: must be a list")
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TokenizerError(f"{path}: key merges: holds {merge!r:.60}, must be a pair of tokens")
        yield pair[0], pair[1]


def _joined(left: str, right: str) -> str:
    """A merge as GGUF has it; spaces within tokens become U+0120, as in the byte alphabet."""
    return f"{left.replace(' ', chr(0x120))} {right.replace(' ', chr(0x120))}"


Added = Iterator[tuple[int, str, bool | None]]
"""(id, text, special) of added tokens; special None: user-defined whatever it looks like."""


def _added_tokens_json(folder: Path) -> Added:
    path = folder / "added_tokens.json"
    for text, token_id in _optional(path).items():
        yield Config(path, {text: token_id}).integer(text, low=0), text, None


def _added_tokens_decoder(settings: Config) -> Added:
    for key, entry in settings.inner("added_tokens_decoder").values.items():
        if not key.isdecimal() or not isinstance(entry, dict):
            raise settings.fail("added_tokens_decoder", f"holds {key!r:.40}, must hold ids and objects")
        token = Config(settings.path, entry)
        yield int(key), token.text("content"), token.flag("special", False)


def _added_tokens(path: Path, tokenizer: Mapping[str, Any]) -> Added:
    entries = tokenizer.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TokenizerError(f"{path}: key added_tokens: must be a list of objects")
    for entry in entries:
        token = Config(path, entry)
        yield token.integer("id", low=0), token.text("content"), token.flag("special", False)


def _add(folder: Path, tokens: Tokens, added: Added, row: Architecture) -> None:
    """Puts added tokens over what is there. Those past the last id are left out: they have no embedding."""
    for token_id, text, special in added:
        if token_id >= len(tokens.texts) or not text:
            continue
        looks = special is not None and not row.added_of_tokenizer_json and _SPECIAL_LOOK.fullmatch(text)
        if special or looks:
            tokens.put(token_id, text, CONTROL, _ADDED_SCORE)
        else:
            plain = text if special is None or row.added_of_tokenizer_json else text.replace("\u2581", " ")
            tokens.put(token_id, plain, USER_DEFINED, _ADDED_SCORE)
