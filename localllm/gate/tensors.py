"""Checks of tensors against what an architecture makes of them. After these a view is formed, and kernels see it.

Shapes are in GGML's order: the first dimension is the contiguous one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from localllm.errors import UnsupportedError
from localllm.gate.check import Place, check

T = TypeVar("T")
MAX_STAND_IN = 1 << 27
"""Bytes of a vector that is made up where only a header is at hand."""


@check("a tensor that the architecture needs", "is in the file", 54)
def present(place: Place, found: T | None) -> T:
    if found is None:
        raise place.error("is missing")
    return found


@check("shape of a tensor", "the one that the metadata's numbers give; dimensions of 1 at its end may be left out", 55)
def shape(place: Place, have: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    full = tuple(have) + (1,) * (len(wanted) - len(have))
    if full[: len(wanted)] != tuple(wanted) or any(size != 1 for size in full[len(wanted) :]):
        raise place.error(f"has shape {list(have)}, must be {list(wanted)}")
    return tuple(wanted)


@check("format of a tensor", "one that its role takes: matrix, vector or table of numbers", 56, error=UnsupportedError)
def format_of_role(place: Place, name: str, known: Sequence[str], role: str = "") -> str:
    """role: "a vector in", with what may follow, for people."""
    if name not in known:
        raise place.error(f"{role}format {name} is not supported; supported: {', '.join(known)}", UnsupportedError)
    return name


@check("elements of a row", "what kernels have scratch memory for", 56, error=UnsupportedError)
def row_length(place: Place, k: int, most: int, name: str) -> int:
    if k > most:
        raise place.error(f"has rows of {k} elements: in {name} at most {most} are supported", UnsupportedError)
    return k


@check("elements that choose rows", "0 to the last row", 55)
def indices(place: Place, least: int, greatest: int, n: int) -> tuple[int, int]:
    if least < 0 or greatest >= n:
        raise place.error(f"has elements from {least} to {greatest}, must be 0 to {n - 1}")
    return least, greatest


@check("rows of a table that others lead into", "as many as that takes", 55, 69)
def rows(place: Place, n: int, need: int) -> int:
    if n < need:
        raise place.error(f"has {n} rows, must have {need}")
    return n


@check("rows of a gate", "one a head, or one an element", 55)
def gate_rows(place: Place, n: int, n_head: int, n_out: int) -> int:
    if n not in (n_head, n_out):
        raise place.error(f"has {n} rows, must have {n_head} or {n_out}")
    return n


@check("decay of a state", "0 or less, as a logarithm", 52)
def decays(place: Place, greatest: float) -> float:
    """NaN is let through: what computes with it says so."""
    if greatest > 0:
        raise place.error("has elements above 0: a state that grows")
    return greatest


@check(
    "a tensor of the model that nothing has used", "there is none, but for other uses than text", 54, 55,
    error=UnsupportedError,
)  # fmt: skip
def all_used(path: str, unknown: Sequence[str]) -> Sequence[str]:
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        problem = "this architecture's spec has no use for it, so the text would be silently wrong"
        raise Place(path, f"tensor {unknown[0]}{more}").error(problem, UnsupportedError)
    return unknown


@check("bytes of a vector of which only the header is at hand", f"{MAX_STAND_IN}", 55, error=UnsupportedError)
def stand_in(place: Place, n_bytes: int) -> int:
    if n_bytes > MAX_STAND_IN:
        raise place.error(f"{n_bytes} bytes are too many for a vector", UnsupportedError)
    return n_bytes


@check("what kernels hold of a row in a thread's scratch memory", "what it has room for", 55, error=UnsupportedError)
def fits_scratch(place: Place, fits: bool, what: str) -> bool:
    """fits: by the kernel's own count of bytes."""
    if not fits:
        raise place.error(f"{what} are more than scratch can hold", UnsupportedError)
    return fits


@check("a combination of tensors and keys", "one that blocks can compute", 56, error=UnsupportedError)
def supported(place: Place, is_supported: bool, what: str) -> bool:
    if not is_supported:
        raise place.error(f"{what} is not supported", UnsupportedError)
    return is_supported


@check("the kind of block that a stack needs in a layer", "is there", 54)
def block_kind(place: Place, has: bool, problem: str) -> bool:
    if not has:
        raise place.error(problem)
    return has
