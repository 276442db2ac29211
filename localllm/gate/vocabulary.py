"""Checks of the vocabulary by itself, and of it against the rest of the model.

Limits follow llama.cpp's `llama_vocab::impl::load` (src/llama-vocab.cpp), except where it guesses. The functions see
whole lists, or what was counted on the way through them: nothing here is called for each token.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import index
from typing import SupportsIndex, TypeVar

from localllm.errors import TokenizerError, UnsupportedError
from localllm.gate.check import Place, check, shown

T = TypeVar("T")
MAX_LENGTHS = 512
"""Of tokens that begin alike; RWKV's have 60. A search for the longest token tries each."""
MAX_TOKEN = 1 << 24
"""Characters of a token."""
MAX_MERGES = 1 << 22
"""Eight times the most that a vocabulary has."""
MAX_MODEL_BYTES = 256 << 20
"""Of a SentencePiece model."""
BYTE = 6
"""The greatest type of a token."""
_HEX = frozenset("0123456789abcdefABCDEF")


def _error(place: Place, problem: str) -> TokenizerError:
    return TokenizerError(": ".join(filter(None, (place.path, f"{place.field} {problem}"))))


@check("tokenizer.ggml.model", "is there", 68, 77, error=TokenizerError)
def kind_is_told(place: Place, value: object) -> str:
    if not isinstance(value, str):
        found = "missing" if value is None else f"{value!r:.40}"
        raise _error(place, f"is {found}: this file has no tokenizer")
    return value


@check("tokenizer.ggml.model", "one of those that are supported", 77, error=UnsupportedError)
def kind(place: Place, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if name not in names:
        problem = f"the tokenizer model {name!r:.40} is not supported; supported are {', '.join(names)}"
        raise place.error(problem, UnsupportedError)
    return name


@check("tokenizer.ggml.pre", "a text", 77, error=TokenizerError)
def pretokenizer_name(place: Place, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _error(place, f"is {value!r:.40}, not a name")
    return value


@check("tokens", "one at least", 68, error=TokenizerError)
def tokens(place: Place, n: int) -> int:
    if n < 1:
        raise _error(place, "is missing or empty: this file has no vocabulary")
    return n


@check("arrays of the vocabulary", "are arrays", 24, 68, 70, error=TokenizerError)
def array(place: Place, is_array: bool, name: str) -> bool:
    """name: of the type that it is."""
    if not is_array:
        raise _error(place, f"is {name}, not an array")
    return is_array


@check("elements of the vocabulary's arrays", "of one type each", 24, 70, error=TokenizerError)
def elements(place: Place, found: Collection[type], wanted: Sequence[type]) -> Collection[type]:
    for one in found:
        if one not in wanted:
            raise _error(place, f"holds {one.__name__}, not {' or '.join(k.__name__ for k in wanted)}")
    return found


@check("a token", "stands once", 71, error=TokenizerError)
def unique(place: Place, texts: Sequence[str], ids: Mapping[str, int]) -> Mapping[str, int]:
    """ids: the last id of each text."""
    if len(ids) != len(texts):
        twice = next(text for i, text in enumerate(texts) if ids[text] != i)
        raise _error(place, f"holds {twice[:40]!r} twice")
    return ids


@check("the longest token", f"{MAX_TOKEN} characters", 75, error=TokenizerError)
def token_length(place: Place, longest: int) -> int:
    if longest > MAX_TOKEN:
        raise _error(place, f"holds a token of {longest} characters, at most {MAX_TOKEN}")
    return longest


@check("scores and types", "as many as there are tokens", 70, error=TokenizerError)
def one_each(place: Place, n: int, n_vocab: int) -> int:
    if n < n_vocab:
        raise _error(place, f"has {n} entries for {n_vocab} tokens")
    return n


@check("types of tokens", f"1 to {BYTE}; up to 255 are passed over", 70, error=TokenizerError)
def token_types(place: Place, types: Sequence[int]) -> bytearray:
    """One byte a token."""
    try:
        return bytearray(types)
    except ValueError:
        wrong = next(t for t in types if not 0 <= t < 256)
        raise _error(place, f"holds {wrong}: types go from 1 to {BYTE}") from None


@check("scores", "finite", 18, 70, error=TokenizerError)
def scores(place: Place, total: float) -> float:
    """total: of their absolute values, which is not finite where one is not."""
    if not total < float("inf"):
        raise _error(place, "holds a value that is not finite")
    return total


@check("flags of the vocabulary", "a bool", 24, error=TokenizerError)
def flag(place: Place, value: object) -> bool:
    if not isinstance(value, bool):
        raise _error(place, f"is {value!r:.40}, not a boolean")
    return value


@check("ids of special tokens", "0 to the last token's", 72, error=TokenizerError)
def special_id(place: Place, value: object, n_vocab: int) -> int:
    if type(value) is not int or not 0 <= value < n_vocab:
        raise _error(place, f"is {value!r:.40}: ids go from 0 to {n_vocab - 1}")
    return value


@check("the token that the file wants added to texts", "is one of the file's", 72, error=TokenizerError)
def added_id(place: Place, token_id: int | None, is_wanted: bool, name: str) -> int | None:
    if token_id is None and is_wanted:
        raise _error(place, f"is true, but the file names no {name}_token_id")
    return token_id


@check("texts that no token covers", "there is a token for unknown ones", 72, 74, error=TokenizerError)
def unknown_id(place: Place, token_id: int | None, what: str | bytes) -> int:
    if token_id is None:
        raise _error(place, f"is missing, and {what[:40]!r} is in no token: it cannot be encoded")
    return token_id


@check("lengths of tokens that begin alike", f"{MAX_LENGTHS} different ones", 75, error=TokenizerError)
def lengths(place: Place, most: int) -> int:
    if most > MAX_LENGTHS:
        raise _error(place, f"holds tokens of {most} lengths that begin alike, at most {MAX_LENGTHS}")
    return most


@check("merges of byte-pair encoding", f"are there, {MAX_MERGES} at most", 73, error=TokenizerError)
def merges(place: Place, n: int | None) -> int:
    if n is None:
        raise _error(place, "is missing: byte-pair encoding needs it")
    if n > MAX_MERGES:
        raise _error(place, f"has {n} entries, at most {MAX_MERGES} are taken")
    return n


@check("a merge", "two tokens with a space between them", 73, error=TokenizerError)
def merge_form(place: Place, all_have_spaces: bool, texts: Sequence[str]) -> Sequence[str]:
    if not all_have_spaces:
        wrong = next(i for i, text in enumerate(texts) if " " not in text)
        what = f"entry {wrong} is {texts[wrong]!r:.40}"
        raise _error(place, f"{what}: a merge is two tokens with a space between them")
    return texts


@check("text of a byte token", "<0x00> to <0xFF>", 74, error=TokenizerError)
def byte_token(place: Place, token_id: int, text: str) -> bytes:
    """The byte."""
    is_one = len(text) == 6 and text.startswith("<0x") and text[5] == ">" and _HEX.issuperset(text[3:5])
    if not is_one:
        raise _error(place, f"entry {token_id} is {text!r:.40}: byte tokens are <0x00> to <0xFF>")
    return bytes.fromhex(text[3:5])


@check("byte tokens, where every byte needs one", "all 256", 74, error=TokenizerError)
def byte_tokens(place: Place, missing: Sequence[str]) -> Sequence[str]:
    """missing: their texts, in lower case."""
    if missing:
        raise _error(place, f"has no byte token {missing[0].upper().replace('X', 'x')}")
    return missing


@check("tokens that texts can be written with", "one at least", 68, 70, error=TokenizerError)
def usable(place: Place, n: int, problem: str) -> int:
    if n < 1:
        raise _error(place, f"{problem}: no text can be written with this vocabulary")
    return n


@check(
    "character maps, escapes in tokens, and what sentencepiece makes of a vocabulary", "can be read", 70, 74, 76,
    error=TokenizerError,
)  # fmt: skip
def readable(place: Place, read: Callable[[], T], told: str = "") -> T:
    """read: reads one, and raises ValueError or RuntimeError; told: what stands before what these say."""
    try:
        return read()
    except (ValueError, RuntimeError) as error:
        raise _error(place, f"{told}{error}") from None


@check("tokens", "as many as the embedding matrix has rows", 69)
def rows(place: Place, n_tokens: int, n_rows: int) -> int:
    """An id of a token without a row would lead past the matrix; a row without a token has no text."""
    if n_tokens != n_rows:
        raise place.error(f"holds {n_tokens} tokens, the embedding matrix has {n_rows} rows")
    return n_tokens


@check("tokens that are never generated", "ids of the vocabulary, and not all of them", 72)
def suppressed(place: Place, ids: Sequence[int], n_vocab: int) -> Sequence[int]:
    for token in ids:
        if not 0 <= token < n_vocab:
            raise place.error(f"holds {token}, must be 0 to {n_vocab - 1}")
    if len(set(ids)) >= n_vocab:
        raise place.error(f"holds all {n_vocab} tokens: none is left to generate")
    return ids


@check("tokens that an architecture never generates", "ids of the vocabulary", 69, 72, error=UnsupportedError)
def lowered(place: Place, ids: range, n_vocab: int) -> range:
    if ids.stop > n_vocab:
        problem = f"a vocabulary of {n_vocab} tokens; this architecture suppresses tokens {ids.start} to {ids.stop - 1}"
        raise place.error(problem, UnsupportedError)
    return ids


@check("bytes of a SentencePiece model", f"{MAX_MODEL_BYTES}", 75, error=TokenizerError)
def model_bytes(path: str, n_bytes: int) -> int:
    if n_bytes > MAX_MODEL_BYTES:
        raise TokenizerError(f"{path}: is larger than {MAX_MODEL_BYTES >> 20} MB, which no tokenizer is")
    return n_bytes


@check("a SentencePiece model", "protobuf of its fields", 76, error=TokenizerError)
def sentencepiece_model(path: str, read: Callable[[], T]) -> T:
    """read: raises ValueError or struct.error where it is none."""
    try:
        return read()
    except (ValueError, struct.error) as error:
        raise TokenizerError(f"{path}: not a SentencePiece model: {error}") from None


@check("pre_tokenizer of a tokenizer.json", "an object, with a list where it is a Sequence", 77, error=TokenizerError)
def pretokenizer(path: str, entry: object, kind: type[T], problem: str) -> T:
    if not isinstance(entry, kind):
        raise TokenizerError(f"{path}: key pre_tokenizer: {problem}")
    return entry


@check("how a tokenizer.json cuts words", "as a pre-tokenizer that is known does", 77, error=UnsupportedError)
def cut_as(path: str, steps: str, is_known: bool, known: Iterable[str]) -> bool:
    """steps: for people."""
    if not is_known:
        raise UnsupportedError(
            f"{path}: cuts words in a way that is not known here ({steps!r:.200}): name one that does the same, "
            f"--pre NAME, of {', '.join(sorted(known))}"
        )
    return is_known


@check("a vocabulary whose model is to fill in a middle", "has the tokens for it", 72, error=UnsupportedError)
def infill(missing: Sequence[str]) -> Sequence[str]:
    """missing: keys of tokens that it does not have."""
    if missing:
        raise UnsupportedError(
            "this model cannot fill in the middle: its vocabulary has no tokens for it "
            f"({', '.join('tokenizer.ggml.' + name for name in missing)})"
        )
    return missing


@check("a token id that is decoded", "0 to the vocabulary's last", error=TokenizerError)
def token_id(value: SupportsIndex, n_vocab: int) -> int:
    try:
        n = index(value)
    except TypeError:
        raise TokenizerError(f"token ids are integers, not {type(value).__name__}") from None
    if not 0 <= n < n_vocab:
        raise TokenizerError(f"token id {shown(n)}: ids go from 0 to {n_vocab - 1}")
    return n
