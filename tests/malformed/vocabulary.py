"""Models whose vocabulary, or chat template, is wrong. The rows of tests/text/test_hostile_vocabulary.py come in whole
files, beside what a file alone can have: types of arrays, sizes, the embedding's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.gguf import build as b
from tests.malformed.base import Model, array, file_of, model, of_bytes, with_vocabulary
from tests.malformed.case import Case, Stage
from tests.text.build import byte_level, prefixed, sentencepiece
from tests.text.test_hostile_vocabulary import CASES, KINDS

TEMPLATE = "tokenizer.chat_template"
Make = Callable[[], Model]


def changed(kind: str, changes: Mapping[str, Any]) -> Model:
    """The model with a vocabulary of this kind, of which keys are replaced, or by None taken out."""
    data = KINDS[kind]() | prefixed(dict(changes))
    return with_vocabulary({key: value for key, value in data.items() if value is not None})


def llama(**changes: Any) -> Model:
    return model().with_keys(prefixed(changes))


def gpt2(**changes: Any) -> Model:
    return of_bytes().with_keys(prefixed(changes))


def with_template(template: Any) -> Model:
    return model().with_keys({TEMPLATE: template})


def with_rows_of(n_tokens: int) -> Model:
    """The embedding is that of so many tokens more, or fewer, than the vocabulary has."""
    tensors = with_vocabulary({"tokenizer.ggml.tokens": ["a"] * (N + n_tokens)}).tensors
    return replace(model(), tensors=tensors).with_keys(vocab_size=None)


N = len(sentencepiece()["tokenizer.ggml.tokens"])
LONG = "a" * 10_000_000

# classes, the model, words of the error
REFUSED: dict[str, tuple[tuple[int, ...], Make, str]] = {
    "types of floats": ((24, 70), lambda: llama(token_type=array(b.F32, [1.0] * N)), "token_type"),
    "scores that are too few by one": ((70,), lambda: llama(scores=array(b.F32, [0.0] * (N - 1))), "scores"),
    "types in an empty array": ((70,), lambda: llama(token_type=array(b.I32, [])), "token_type"),
    "tokens that are not UTF-8": ((13, 68), lambda: llama(tokens=array(b.STR, [b"\xff\xfe"] * N)), "not UTF-8"),
    "tokens of numbers": ((24, 68), lambda: llama(tokens=array(b.I32, [1, 2])), "tokens"),
    "tokens in arrays": ((22, 68), lambda: llama(tokens=array(b.ARR, [])), "tokens"),
    "merges that are not UTF-8": ((13, 73), lambda: gpt2(merges=array(b.STR, [b"\xc3 \xc3"])), "not UTF-8"),
    "a vocabulary of an unknown kind": ((77,), lambda: llama(model="wordle"), "'wordle'"),
    "a vocabulary whose kind is a number": ((24, 77), lambda: llama(model=7), "tokenizer.ggml.model"),
}

WITH_THE_MODEL: dict[str, tuple[tuple[int, ...], Make, str]] = {
    "more tokens than rows": ((69,), lambda: with_rows_of(-1), "tokens"),
    "far more tokens than rows": ((69,), lambda: with_rows_of(-N + 1), "tokens"),
    "a template as a number": ((24, 78), lambda: with_template(7), "chat_template is int"),
    "a template as a list": ((24, 78), lambda: with_template(["a"]), "chat_template is list"),
    "a template of 4 MB": ((78,), lambda: with_template("a" * 4_000_000), "4000000 characters long"),
}

STRANGE: dict[str, tuple[tuple[int, ...], Make]] = {
    "fewer tokens than rows": ((69,), lambda: with_rows_of(7)),
    "a kind of vocabulary that is empty": ((77,), lambda: llama(model="")),
    "a pre-tokenizer that is empty": ((77,), lambda: gpt2(pre="")),
    "types of bytes": ((24, 70), lambda: llama(token_type=array(b.U8, [1] * N))),
    "scores of bytes": ((24, 70), lambda: llama(scores=array(b.U8, [0] * N))),
    "scores of 16 bits": ((24, 70), lambda: llama(scores=array(b.I16, [0] * N))),
    "a pre-tokenizer that is unknown": ((77,), lambda: gpt2(pre="after-eight")),
    "a pre-tokenizer that steers the terminal": ((77,), lambda: gpt2(pre="\x1b[2J")),
    "vocab_size of 2^31": ((69,), lambda: model().with_keys(vocab_size=2**31)),
    "vocab_size of 0": ((69,), lambda: model().with_keys(vocab_size=0)),
    "vocab_size of one more": ((69,), lambda: model().with_keys(vocab_size=N + 1)),
    "scores of doubles": ((24, 70), lambda: llama(scores=array(b.F64, [0.0] * N))),
    "scores that are too many": ((70,), lambda: llama(scores=array(b.F32, [0.0] * (N + 1)))),
    "a token of 5,000 bytes": ((75,), lambda: _last_token("a" * 5000)),
    "a token of 10 MB": ((75,), lambda: _last_token(LONG)),
    "a token of 10 MB that is special": ((75,), lambda: _last_token(LONG, kind=3)),
    "an empty token": ((74,), lambda: _last_token("")),
    "merges that go in circles": ((73,), lambda: gpt2(merges=["a b", "ab a", "b a", "ba b", "ab ab"] * 3)),
    "200,000 merges of nothing": ((73,), lambda: gpt2(merges=[f"{i} {i}" for i in range(200_000)])),
    "a template that is no template": ((78,), lambda: with_template("{% if %}")),
    "a template of 10,000 blocks": ((78,), lambda: with_template("{% if 1 %}" * 10_000 + "{% endif %}" * 10_000)),
    "a template that walks": ((78,), lambda: with_template("{{ ''.__class__.__mro__[1].__subclasses__() }}")),
    "a template that loops": ((78,), lambda: with_template(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    )),
    "an empty template": ((78,), lambda: with_template("")),
    "suppressed tokens that are none": ((72,), lambda: llama(suppress_tokens=array(b.I32, [2**31 - 1, -1]))),
    "suppressed tokens of bytes": ((24, 72), lambda: llama(suppress_tokens=array(b.U8, [1, 2]))),
}  # fmt: skip


def _last_token(text: str, kind: int = 1) -> Model:
    data = byte_level()
    tokens, types = data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"]
    return gpt2(tokens=[*tokens[:-1], text], token_type=[*types[:-1], kind])


def cases() -> Iterator[Case]:
    for name, (kind, changes, words) in CASES.items():
        content = file_of(changed, kind, changes)
        words = "tokens" if name == "an empty list" else words  # no embedding has no rows: the model sees that first
        yield Case(f"vocabulary: {name}", CLASSES.get(name, (68,)), content, words, Stage.VOCABULARY)
    for stage, rows in ((Stage.VOCABULARY, REFUSED), (Stage.MODEL, WITH_THE_MODEL)):
        for name, (classes, make, words) in rows.items():
            yield Case(name, classes, file_of(make), words, stage)
    for name, (classes, make) in STRANGE.items():
        yield Case(name, classes, file_of(make), "", Stage.ANY)


_ROWS: dict[tuple[int, ...], tuple[str, ...]] = {
    (70,): ("types too short", "types as texts", "scores too short", "scores as texts"),
    (18, 70): ("a score of NaN", "a score of Inf"),
    (71,): ("a token twice", "an empty token's name is taken"),
    (72,): (
        "an id past the vocabulary", "an id of 2^63", "an id below 0", "an id as a text", "an id as a bool",
        "an id of infill", "ids of endings", "a flag as a number", "EOS is asked for, and there is none",
        "BOS is asked for, and there is none",
    ),
    (73,): ("no merges", "a merge without a space", "merges as numbers"),
    (74,): (
        "a byte of -1", "a byte without an end", "a byte of other letters", "a byte of another form",
        "a byte that goes on",
    ),
    (76,): ("a map of 3 bytes", "a map as texts", "a trie longer than the map", "no normal token"),
    (77,): ("an escape without digits", "an escape without an end", "a pre-tokenizer that is a number"),
}  # fmt: skip
CLASSES = {name: classes for classes, names in _ROWS.items() for name in names}
"""Of rows of test_hostile_vocabulary.py; the others are 68."""
