"""Checks of the tensor directory: each row by itself, and that data lie one behind the other, within the file."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from localllm.gate.check import Place, check

MAX_NAME = 63
"""Bytes of a tensor's name: ggml's GGML_MAX_NAME without its NUL."""
MAX_DIMS = 4


@check("length of a tensor's name", f"{MAX_NAME} bytes", 31)
def name_length(place: Place, length: int) -> int:
    if length > MAX_NAME:
        raise place.error(f"length {length}, the limit is {MAX_NAME} bytes")
    return length


@check("name of a tensor", "stands once", 33)
def new_name(place: Place, name: str, known: Container[str]) -> str:
    if name in known:
        raise place.error(f"the name {name!r} occurs twice")
    return name


@check("number of dimensions", f"1 to {MAX_DIMS}", 34)
def n_dims(place: Place, count: int) -> int:
    if not 1 <= count <= MAX_DIMS:
        raise place.error(f"{count} dimensions, must be 1 to {MAX_DIMS}")
    return count


@check("each dimension, as a signed number", "1 or more", 35, 36)
def shape(place: Place, sizes: Sequence[int]) -> Sequence[int]:
    if min(sizes) < 1:
        raise place.error(f"shape {list(sizes)}: every dimension must be 1 or more")
    return sizes


@check("type of a tensor", "one of GGML's that were not removed", 41, 42)
def tensor_type(
    place: Place, type_id: int, known: Container[int], removed: Mapping[int, str], names: Iterable[str]
) -> int:
    """removed: what stands for each that was; names: of those that are known."""
    if type_id in known:
        return type_id
    if type_id in removed:
        raise place.error(f"type {type_id} is {removed[type_id]}")
    raise place.error(f"type {type_id} is unknown; known are {', '.join(names)}")


@check("elements of a row", "whole blocks of the tensor's format", 43)
def whole_blocks(place: Place, k: int, block: int, name: str) -> int:
    if k % block:
        raise place.error(f"rows of {k} elements are no whole blocks of {block} ({name})")
    return k


@check(
    "where a tensor's data begin", "behind those of the one before, at the next multiple of the alignment", 44, 45, 46
)
def data_offset(place: Place, offset: int, expected: int, alignment: int) -> int:
    if offset != expected:
        raise place.error(f"data offset {offset}, must be {expected}: next in order, aligned to {alignment} bytes")
    return offset


@check(
    "where a tensor's data end, by its dimensions and format, in integers that do not wrap",
    "within the file",
    30, 37, 38, 39, 40, 47, 48, 49,
)  # fmt: skip
def data_end(place: Place, end: int, size: int) -> int:
    if end > size:
        raise place.error(f"data ends at byte {end}, the file at {size}: it is truncated, fetch it again")
    return end
