"""Checks of each call of a context: what kernels take for indices into states, tables and rows.

The functions see a whole batch: none of them is called for each of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index

from localllm.errors import ContextFullError, UsageError
from localllm.gate.check import check


@check("n_ctx, n_seq, n_batch", "1 to what positions, sequences and rows can be numbered by", error=UsageError)
def size(name: str, value: int, high: int) -> int:
    if not 1 <= value <= high:
        raise UsageError(f"{name} is {value}, must be 1 to {high}")
    return value


@check("rows of a batch", "1 to n_batch", error=UsageError)
def batch_rows(n: int, n_batch: int) -> int:
    if not 1 <= n <= n_batch:
        raise UsageError(f"a batch has 1 to {n_batch} rows, not {n}")
    return n


@check("positions, sequences and flags of a batch", "one a row", error=UsageError)
def columns(n: int, n_ids: int, n_positions: int, n_flags: int) -> int:
    if n_ids != n or n_positions != n:
        raise UsageError(f"{n} tokens need as many sequence ids and positions")
    if n_flags != n:
        raise UsageError(f"{n} tokens need as many flags of whose logits are wanted, not {n_flags}")
    return n


@check("tokens, positions and sequences", "integers", error=UsageError)
def integers(name: str, values: Iterable[object]) -> list[int]:
    try:
        return list(map(index, values))  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(f"{name}s must be integers: {error}") from None


@check("token ids", "0 to the vocabulary's last", 69, 72, error=UsageError)
def tokens(ids: Sequence[int], n_vocab: int) -> Sequence[int]:
    """At least one."""
    if min(ids) < 0 or max(ids) >= n_vocab:
        wrong = next(token for token in ids if not 0 <= token < n_vocab)
        raise UsageError(f"token id {wrong} is not in the vocabulary of {n_vocab}")
    return ids


@check("sequence ids", "0 to the context's last", error=UsageError)
def sequences(ids: Sequence[int], n_seq: int) -> Sequence[int]:
    """At least one."""
    if min(ids) < 0 or max(ids) >= n_seq:
        wrong = next(seq for seq in ids if not 0 <= seq < n_seq)
        raise UsageError(f"sequence {wrong} is not one of the {n_seq} of this context")
    return ids


@check("positions", "where each sequence has ended, without holes", error=UsageError)
def positions(stated: Sequence[int], wanted: Sequence[int], ids: Sequence[int]) -> Sequence[int]:
    """Of each row, and its sequence."""
    for row, (have, want) in enumerate(zip(stated, wanted, strict=True)):
        if have != want:
            raise UsageError(f"sequence {ids[row]} goes on at position {want}, not {have} (row {row})")
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
def cut(seq_id: int, position: int, n_past: int) -> int:
    if not 0 <= position <= n_past:
        raise UsageError(f"sequence {seq_id} holds {n_past} tokens: it cannot be cut at {position}")
    return position


@check("cells that are copied out of a sequence", "those of its tokens", error=UsageError)
def span(seq_id: int, start: int, stop: int, n_past: int) -> tuple[int, int]:
    if not 0 <= start <= stop <= n_past:
        raise UsageError(f"sequence {seq_id} holds {n_past} tokens: there is nothing from {start} to {stop}")
    return start, stop


@check("tokens of a saved sequence", "n_ctx", error=UsageError)
def n_past(value: int, least: int, n_ctx: int) -> int:
    if not least <= value <= n_ctx:
        raise UsageError(f"n_past is {value}, must be {least} to n_ctx, {n_ctx}")
    return value


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
