"""Checks of files as such: their kind, whether they stay as they were opened, and parts of a split model."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from localllm.errors import ChangedError, FileError, UnsupportedError
from localllm.gate.check import Place, check
from localllm.gate.header import MAX_TENSORS

MAX_PARTS = 1024
_SENSES = "what a model sees or hears with, not the model: that is another file"
_NO_MODELS = {
    "adapter": "a LoRA adapter, not a model: merge it into its model",
    "clip": _SENSES,
    "mmproj": _SENSES,
    "imatrix": "an importance matrix, not a model: `localllm quantize --imatrix` takes it",
    "controlvector": "a control vector, not a model",
}
"""What is in files that hold no model, by general.architecture or general.type."""
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


@check("kind of a file", "a regular one", 80, error=FileError)
def regular(path: str, mode: int) -> int:
    """mode: by stat."""
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, must be a regular file")
    return mode


@check(
    "what a file without embeddings holds",
    "no adapter, projector, importance matrix or control vector",
    53,
    54,
    error=UnsupportedError,
)
def holds_model(path: str, architecture: object, kind: object) -> None:
    """By general.architecture and general.type, None where the file has none."""
    for name in (architecture, kind):
        if isinstance(name, str) and name in _NO_MODELS:
            raise UnsupportedError(f"{path}: this is {_NO_MODELS[name]}")


@check("size and time of a mapped file, before each pass", "as when it was opened", 50, 51, error=ChangedError)
def unchanged(path: str, opened: tuple[int, int], now: tuple[int, int]) -> tuple[int, int]:
    """Sizes in bytes, and times of the last write: reading a page that was cut off kills the process."""
    if now != opened:
        raise ChangedError(f"{path}: changed while in use (size {opened[0]}, now {now[0]}): load it again")
    return now


@check("split.count and split.no", f"0 to {MAX_PARTS}, and to the last part's", 79)
def split_number(place: Place, value: int, high: int) -> int:
    if not 0 <= value <= high:
        raise place.error(f"is {value}, must be 0 to {high}")
    return value


@check("name of a part of a split model", "the one that its number and their count make", 79, error=FileError)
def part_name(path: str, n_names: int, count: int, end: str) -> int:
    """n_names: parts by the file's name; end: what the name must end in."""
    if n_names != count:
        raise FileError(f"{path}: is one of {count} parts of a model: its name must end in {end}")
    return count


@check("parts of a split model, beside the first", "are there", 79, error=FileError)
def parts_present(missing: Sequence[str], named: str, count: int) -> Sequence[str]:
    if missing:
        more = f", with {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FileError(f"{missing[0]}: is missing{more}: {named} is one of {count} parts of a model")
    return missing


@check("split.count and split.no of a part", "those of its name", 79)
def by_name(place: Place, stated: int, wanted: int) -> int:
    if stated != wanted:
        raise place.error(f"is {stated}, must be {wanted} by its name")
    return stated


@check("version, alignment and architecture of a part", "those of the first", 79)
def alike(place: Place, value: object, wanted: object, first: str) -> object:
    if value != wanted:
        raise place.error(f"is {value!r}, must be {wanted!r}: as {first} is")
    return value


@check("a tensor of a split model", "stands in one part", 33, 79)
def one_part(place: Place, other: str | None) -> None:
    """other: the path of another part that has it."""
    if other is not None:
        raise place.error(f"also stands in {other}")


@check("tensors of a split model", f"{MAX_TENSORS}", 8, 79)
def n_tensors(place: Place, n: int, n_parts: int) -> int:
    if n > MAX_TENSORS:
        raise place.error(f"its {n_parts} parts hold {n} tensors, the limit is {MAX_TENSORS}")
    return n


@check("split.tensors.count", "what the parts hold together", 79)
def tensors_in_all(place: Place, stated: int, n: int) -> int:
    if stated != n:
        raise place.error(f"is {stated}, the parts hold {n} tensors")
    return stated
