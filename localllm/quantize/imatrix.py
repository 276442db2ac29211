"""Importance matrices in llama.cpp's files: of each matrix, the sum of squares of each column of its input.

The GGUF form holds NAME.in_sum2 and NAME.counts, a row an expert (llama.cpp, tools/imatrix/imatrix.cpp and
common/imatrix-loader.cpp). The older .dat form is read, not written.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from localllm.errors import FileError, FormatError
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.runtime.whole import written_whole

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
IDENTITY = "localllm.calibration"
_MAX_ENTRIES = 1 << 17
_MAX_DAT = 1 << 30
"""Bytes of a .dat file; those of the largest mixtures of experts have some 400 MB."""
_MAX_NAME = 1 << 10
_MAX_COUNT = float(1 << 62)
"""Counts are stored as float32, and read as int64."""


@dataclass(frozen=True)
class Entry:
    """Of one tensor. sums: float32 [n_counts, k], of each matrix that is counted by itself; counts: int64 [n_counts],
    the rows that were added up. Where several matrices have one count, as a .dat file's experts, k is that of all of
    them, one after another."""

    sums: np.ndarray
    counts: np.ndarray

    def importance(self, k: int | None = None) -> np.ndarray:
        """Mean squares, float32 [n_matrices, k]: ones for what was never used, as llama-quantize has it. k: elements of
        a row of the tensor, if matrices that share a count are to be told apart. Raises ValueError for an impossible
        k."""
        n = self.counts[:, None]
        means = np.where(n > 0, self.sums / np.maximum(n, 1).astype(np.float32), np.float32(1.0))
        if k is not None and (k < 1 or self.sums.shape[1] % k):
            raise ValueError(f"has {self.sums.shape[1]} columns, the tensor's rows have {k} elements")
        return means.astype(np.float32).reshape(-1, k or self.sums.shape[1])


@dataclass(frozen=True)
class Imatrix:
    """What a file says. chunk_size: tokens of a chunk, 0 where the file does not say; identity: what the file of
    Hessians beside it says, too, if it belongs to it."""

    entries: Mapping[str, Entry]
    datasets: Sequence[str] = ()
    chunk_count: int = 0
    chunk_size: int = 0
    identity: str = ""


def read_imatrix(path: str | os.PathLike[str]) -> Imatrix:
    """Read a file of either form. Raises FileError or FormatError."""
    path = os.fspath(path)
    if _magic(path) != b"GGUF":
        return _read_dat(path)
    with open_gguf(path) as file:
        if file.get("general.type", str, "imatrix") != "imatrix":
            raise FormatError(f"{path}: metadata key general.type: is {file.get('general.type', str)!r}, not 'imatrix'")
        entries = {
            name.removesuffix(SUMS): _entry(file, name.removesuffix(SUMS))
            for name in file.tensors
            if name.endswith(SUMS)
        }
        if not entries:
            raise FormatError(f"{path}: holds no importance matrix (tensors NAME{SUMS})")
        datasets, n_chunks = file.get_array(DATASETS, str, ()), file.get(CHUNK_COUNT, int, 0)
        return Imatrix(entries, tuple(datasets), n_chunks, file.get(CHUNK_SIZE, int, 0), file.get(IDENTITY, str, ""))


def write_imatrix(path: str | os.PathLike[str], imatrix: Imatrix) -> None:
    """Write the GGUF form, names sorted, whole or not at all. Raises FileError."""
    import gguf

    with written_whole(path) as temporary:
        # llama.cpp's files have no architecture.
        writer = gguf.GGUFWriter(temporary, "")
        writer.kv_data[0].pop("general.architecture", None)
        writer.add_string("general.type", "imatrix")
        writer.add_array(DATASETS, list(imatrix.datasets) or [""])
        writer.add_uint32(CHUNK_COUNT, imatrix.chunk_count)
        writer.add_uint32(CHUNK_SIZE, imatrix.chunk_size)
        if imatrix.identity:
            writer.add_string(IDENTITY, imatrix.identity)
        for name, entry in sorted(imatrix.entries.items()):
            writer.add_tensor(name + SUMS, np.ascontiguousarray(entry.sums, np.float32))
            writer.add_tensor(name + COUNTS, entry.counts.astype(np.float32).reshape(-1, 1))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def floats(file: GGUFFile, name: str, row: int | None = None) -> np.ndarray:
    """A copy of an F32 tensor, rows first, or of one of its rows. Raises FormatError."""
    if name not in file.tensors:
        raise FormatError(f"{file.path}: tensor {name}: is missing")
    info = file.tensors[name]
    if info.format.name != "F32":
        raise FormatError(f"{file.path}: tensor {name}: is in {info.format.name}, must be in F32")
    raw = np.frombuffer(file.data(info), "<f4")
    rows = raw.reshape(info.shape[::-1])
    return (rows if row is None else rows[row]).astype(np.float32)


def _entry(file: GGUFFile, name: str) -> Entry:
    sums, counts = floats(file, name + SUMS), floats(file, name + COUNTS).ravel()
    if sums.size % counts.size:
        raise FormatError(f"{file.path}: tensor {name}{SUMS}: {sums.size} sums for {counts.size} counts")
    for what, values in ((SUMS, sums), (COUNTS, counts)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise FormatError(f"{file.path}: tensor {name}{what}: has elements that are negative or no numbers")
    if counts.max() > _MAX_COUNT:
        raise FormatError(f"{file.path}: tensor {name}{COUNTS}: has {counts.max():g}, must be at most {_MAX_COUNT:g}")
    return Entry(sums.reshape(counts.size, -1), np.rint(counts).astype(np.int64))


def _magic(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None


def _read_dat(path: str) -> Imatrix:
    """The older form: entries as (length, name, calls, n, f32 [n]), then calls and the text's name."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_DAT + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MAX_DAT:
        raise FormatError(f"{path}: no importance matrix (GGUF or .dat): is larger than {_MAX_DAT >> 20} MiB")
    at = 0

    def take(n: int, what: str) -> bytes:
        nonlocal at
        if n < 0 or at + n > len(data):
            raise FormatError(f"{path}: no importance matrix (GGUF or .dat): {what} at byte {at} is past the end")
        at += n
        return data[at - n : at]

    def number(what: str, high: int) -> int:
        (value,) = struct.unpack("<i", take(4, what))
        if not 0 <= value <= high:
            raise FormatError(f"{path}: no importance matrix (GGUF or .dat): {what} is {value}, must be 0 to {high}")
        return int(value)

    entries = {}
    for i in range(number("the number of entries", _MAX_ENTRIES)):
        name = take(number(f"the length of name {i}", _MAX_NAME), f"name {i}").decode("utf-8", "replace")
        if not name.isprintable():
            raise FormatError(
                f"{path}: no importance matrix (GGUF or .dat): name {i} is {name[:64]!r}, which is no name"
            )
        calls, n = number(f"the calls of {name}", (1 << 31) - 1), number(f"the size of {name}", (1 << 31) - 1)
        sums = np.frombuffer(take(4 * n, f"{name}"), "<f4").astype(np.float32)
        if not n or not np.isfinite(sums).all() or (sums < 0).any():
            raise FormatError(f"{path}: entry {name}: has no elements, or such that are negative or no numbers")
        entries[name] = Entry(sums.reshape(1, n), np.array([calls]))
    if not entries:
        raise FormatError(f"{path}: holds no importance matrix (GGUF or .dat)")
    if at == len(data):
        return Imatrix(entries)
    calls = number("the number of calls", (1 << 31) - 1)
    dataset = take(number("the length of the text's name", 1 << 16), "the text's name") if at < len(data) else b""
    return Imatrix(entries, (dataset.decode("utf-8", "replace"),) if dataset else (), calls)
