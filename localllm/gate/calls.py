"""Checks of each call of a context: what kernels take for indices into states, tables and rows.

The functions see a whole batch: none of them is called for each of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import SupportsIndex

from localllm.errors import ContextFullError, UnsupportedError, UsageError
from localllm.gate.check import check, shown

MAX_CTX = 1 << 31
"""Tokens of a context: positions have 32 bits."""


@check(
    "a size, a sequence, a position, a token",
    "an integer; NumPy's become Python's, which do not wrap",
    error=UsageError,
)
def integer(name: str, value: SupportsIndex) -> int:
    if type(value) is int:
        return value
    try:
        return index(value)
    except TypeError:
        raise UsageError(f"{name} is {shown(value)}, must be an integer") from None


@check(
    "n_ctx, n_seq, n_batch, n_threads", "1 to what positions, sequences, rows and threads can be numbered by",
    error=UsageError,
)  # fmt: skip
def size(name: str, value: SupportsIndex, high: int) -> int:
    n = integer(name, value)
    if not 1 <= n <= high:
        raise UsageError(f"{name} is {shown(n)}, must be 1 to {high}")
    return n


@check("kv_type", "one of the types that cells can have", error=UsageError)
def one_of(name: str, value: str, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} is {shown(value)}, must be one of {', '.join(known)}")
    return value


@check("q8_0 and q4_0 cells of heads", "heads of whole groups", error=UnsupportedError)
def grouped_heads(name: str, kv_type: str, dims: Sequence[int], group: int) -> Sequence[int]:
    """dims: elements of the heads of each plane."""
    if any(dim % group for dim in dims):
        shown = " and ".join(map(str, dims))
        raise UnsupportedError(
            f"{name} has heads of {shown} elements: kv_type {kv_type} needs multiples of {group}, take f16"
        )
    return dims


@check("a text", "str", error=UsageError)
def text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} is a {type(value).__name__}, must be a text (str)")
    return value


@check("texts", "a list of str; one that stands alone is a list of it", error=UsageError)
def texts(name: str, values: Iterable[str]) -> list[str]:
    try:
        found = [values] if isinstance(values, str) else list(values)
    except TypeError:
        raise UsageError(f"{name} is {shown(values)}, must be a list of texts") from None
    for value in found:
        text(f"one of {name}", value)
    return found


@check("max_tokens of an answer", "0 or more; None: no limit", error=UsageError)
def max_tokens(value: SupportsIndex | None) -> int | None:
    if value is None:
        return None
    n = integer("max_tokens", value)
    if n < 0:
        raise UsageError(f"max_tokens is {shown(n)}, must be 0 or more (None: no limit)")
    return n


@check("texts, and lists of ids", "a list, not one text or bytes", error=UsageError)
def several(name: str, values: Sequence[object]) -> int:
    """How many."""
    if isinstance(values, str | bytes | bytearray | Mapping) or not hasattr(values, "__getitem__"):
        raise UsageError(f"{name} are a {type(values).__name__}, must be a list")
    try:
        return len(values)
    except TypeError:
        raise UsageError(f"{name} are a {type(values).__name__}, must be a list") from None


@check("rows of a batch", "1 to n_batch", error=UsageError)
def batch_rows(n: int, n_batch: int) -> int:
    if not 1 <= n <= n_batch:
        raise UsageError(f"a batch has 1 to {n_batch} rows, not {n}")
    return n


@check("an architecture whose logits are asked for", "has an output matrix: it is no encoder", error=UnsupportedError)
def has_logits(path: str, architecture: str, has: bool) -> bool:
    if not has:
        raise UnsupportedError(f"{path}: {architecture} is run as an encoder: it has no logits, but embeddings (embed)")
    return has


@check("rows of hidden states that are given", "of the model's width", error=UsageError)
def hidden_width(shape: Sequence[int], n_embd: int) -> int:
    """How many there are."""
    if len(shape) != 2 or shape[1] != n_embd:
        raise UsageError(f"hidden states have the shape {list(shape)}, must have [rows, {n_embd}]")
    return shape[0]


@check("positions, sequences and flags of a batch", "one a row", error=UsageError)
def columns(n: int, n_ids: int, n_positions: int, n_flags: int) -> int:
    if n_ids != n or n_positions != n:
        raise UsageError(f"{n} tokens need as many sequence ids and positions")
    if n_flags != n:
        raise UsageError(f"{n} tokens need as many flags of whose logits are wanted, not {n_flags}")
    return n


@check("tokens, positions and sequences", "integers", error=UsageError)
def integers(name: str, values: Iterable[object]) -> list[int]:
    if isinstance(values, bytes | bytearray | memoryview):  # whose elements are integers
        raise UsageError(f"{name}s must be integers, not {type(values).__name__}")
    try:
        return list(map(index, values))  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(f"{name}s must be integers: {error}") from None


@check("swa_full", "true or false", error=UsageError)
def flag(name: str, value: object) -> bool:
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is {shown(value)}, must be true or false") from None


@check("flags of whose logits are wanted", "true or false each", error=UsageError)
def flags(values: Sequence[object]) -> list[bool]:
    several("want_logits", values)
    try:
        return list(map(bool, values))
    except (TypeError, ValueError) as error:  # an array of several elements is neither
        raise UsageError(f"want_logits must be true or false for each row: {error}") from None


@check("token ids", "0 to the vocabulary's last", 69, 72, error=UsageError)
def tokens(ids: Sequence[int], n_vocab: int) -> Sequence[int]:
    """At least one."""
    if min(ids) < 0 or max(ids) >= n_vocab:
        wrong = next(token for token in ids if not 0 <= token < n_vocab)
        raise UsageError(f"token id {shown(wrong)} is not in the vocabulary of {n_vocab}")
    return ids


@check("sequence ids", "0 to the context's last", error=UsageError)
def sequences(ids: Sequence[int], n_seq: int) -> Sequence[int]:
    """At least one."""
    if min(ids) < 0 or max(ids) >= n_seq:
        wrong = next(seq for seq in ids if not 0 <= seq < n_seq)
        raise UsageError(f"sequence {shown(wrong)} is not one of the {n_seq} of this context")
    return ids


@check("a sequence id that stands alone", "an integer, 0 to the context's last", error=UsageError)
def sequence(seq_id: SupportsIndex, n_seq: int) -> int:
    """One alone."""
    return sequences([integer("sequence", seq_id)], n_seq)[0]


@check("positions", "where each sequence has ended, without holes", error=UsageError)
def positions(stated: Sequence[int], wanted: Sequence[int], ids: Sequence[int]) -> Sequence[int]:
    """Of each row, and its sequence."""
    for row, (have, want) in enumerate(zip(stated, wanted, strict=True)):
        if have != want:
            raise UsageError(f"sequence {ids[row]} goes on at position {want}, not {shown(have)} (row {row})")
    return stated


@check("tokens of a sequence", "n_ctx", 61, error=ContextFullError)
def context_room(n: int, n_ctx: int) -> int:
    if n > n_ctx:
        raise ContextFullError(f"the context is full: it holds {n_ctx} tokens (-c, n_ctx for more)")
    return n


@check("tokens of a sequence, where positions are learned", "rows of their table", 61, error=ContextFullError)
def learned_positions(n: int, most: int) -> int:
    if n > most:
        raise ContextFullError(f"this model has learned {most} positions, no more")
    return n


@check("a sequence of a model that attends in both directions", "is one batch", error=UsageError)
def one_batch(n_past: int, n_batch: int) -> int:
    """n_past: the most tokens that a sequence of the batch holds."""
    if n_past:
        raise UsageError(
            f"this model attends in both directions: a sequence is one batch of at most {n_batch} tokens (n_batch)"
        )
    return n_past


@check("where a sequence is cut", "0 to the tokens that it holds", error=UsageError)
def cut(seq_id: int, position: SupportsIndex, n_past: int) -> int:
    at = integer("position", position)
    if not 0 <= at <= n_past:
        raise UsageError(f"sequence {seq_id} holds {n_past} tokens: it cannot be cut at {shown(at)}")
    return at


@check("where a sequence is taken back to", "where its states can go on", error=UsageError)
def reached(seq_id: int, position: int, reach: int) -> int:
    if reach != position:
        raise UsageError(f"sequence {seq_id} cannot go back to {shown(position)}, but to {reach}")
    return position


@check("cells that are copied out of a sequence", "those of its tokens", error=UsageError)
def span(seq_id: int, start: SupportsIndex, stop: SupportsIndex, n_past: int) -> tuple[int, int]:
    first, end = integer("start", start), integer("stop", stop)
    if not 0 <= first <= end <= n_past:
        raise UsageError(
            f"sequence {seq_id} holds {n_past} tokens: there is nothing from {shown(first)} to {shown(end)}"
        )
    return first, end


@check("tokens of a saved sequence", "n_ctx", error=UsageError)
def n_past(value: SupportsIndex, least: int, n_ctx: int) -> int:
    n = integer("n_past", value)
    if not least <= n <= n_ctx:
        raise UsageError(f"n_past is {shown(n)}, must be {least} to n_ctx, {n_ctx}")
    return n


@check("the flag that stops a pass", "one int64, in memory that it owns", error=UsageError)
def stop_flag(kind: str, n: int) -> int:
    if kind != "int64" or n != 1:
        raise UsageError(f"stop is an array of {n} × {kind}, must be one int64")
    return n


@check("states of a saved sequence", "of the sizes that the context's own have", error=UsageError)
def saved(what: str, problem: str) -> str:
    """problem: what is wrong with it by the state's own count, or nothing."""
    if problem:
        raise UsageError(f"{what} {problem}")
    return what
