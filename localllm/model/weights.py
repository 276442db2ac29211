"""Weights: validated views of the mapped file. Nothing else forms an address from what a file says.

Shapes are in GGML's order, (k, n): n rows of k elements that follow each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from localllm.errors import FormatError, UnsupportedError
from localllm.gguf.reader import GGUFFile
from localllm.kernels.formats.table import FORMATS, Format

_OTHER_USES = re.compile(r"(cls|vis|v|mm|a)[._]|.*\brope_(long|short)\.")
"""Tensors of heads and towers for other uses than text: left alone."""


@dataclass(frozen=True)
class Weight:
    """A matrix of n rows of k elements, or a vector (n = 1). `address` stays valid as long as the Weights do."""

    name: str
    format: Format
    k: int
    n: int
    row_bytes: int
    address: int

    @property
    def module(self) -> str:
        """The format's name in kernel keys."""
        return self.format.module


class Weights:
    """The tensors of an open file, each handed out once its shape and format are checked."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        # The array pins the mapping: close() of the file lets it live on until this object goes.
        self._bytes = np.frombuffer(file.map(), np.uint8)
        self._base = int(self._bytes.ctypes.data)
        self._used: set[str] = set()
        self._copies: dict[str, np.ndarray] = {}

    def has(self, name: str) -> bool:
        return name in self.file.tensors

    def matrix(self, name: str, k: int, n: int) -> Weight:
        """The matrix of this name, of shape (k, n). Raises FormatError or UnsupportedError naming the tensor."""
        info = self._info(name, (k, n))
        if not info.format.supported:
            known = ", ".join(f.name for f in FORMATS.values() if f.supported)
            raise UnsupportedError(
                f"{self.file.path}: tensor {name}: format {info.format.name} is not supported; supported: {known}"
            )
        row_bytes = info.format.row_bytes(k)
        end = info.offset + n * row_bytes
        if end > self._bytes.size:
            raise FormatError(f"{self.file.path}: tensor {name}: ends at byte {end}, the file at {self._bytes.size}")
        return Weight(name, info.format, k, n, row_bytes, self._base + info.offset)

    def vector(self, name: str, n: int) -> Weight:
        """The vector of this name as f32 [n]; one in another format is copied."""
        info = self._info(name, (n,))
        if name not in self._copies:
            raw = self._bytes[info.offset : info.offset + info.n_bytes]
            if info.format.name == "F32":
                values = raw.view("<f4") if info.offset % 4 == 0 else raw.copy().view("<f4")
            elif info.format.name == "F16":
                values = raw.copy().view("<f2").astype(np.float32)
            elif info.format.name == "BF16":
                values = (raw.copy().view("<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                raise UnsupportedError(
                    f"{self.file.path}: tensor {name}: a vector in format {info.format.name} is not supported; "
                    "supported: F32, F16, BF16"
                )
            self._copies[name] = values
        return Weight(name, FORMATS["F32"], n, 1, 4 * n, int(self._copies[name].ctypes.data))

    def values(self, name: str, n: int) -> np.ndarray:
        """A vector's elements, float32 [n]."""
        self.vector(name, n)
        return self._copies[name]

    def optional(self, name: str, n: int) -> Weight | None:
        """A vector that the file may lack."""
        return self.vector(name, n) if self.has(name) else None

    def _info(self, name, shape):  # type: ignore[no-untyped-def]
        if name not in self.file.tensors:
            raise FormatError(f"{self.file.path}: tensor {name}: is missing")
        info = self.file.tensors[name]
        # A trailing dimension of 1 may be left out.
        if tuple(info.shape) + (1,) * (len(shape) - len(info.shape)) != shape:
            raise FormatError(f"{self.file.path}: tensor {name}: has shape {list(info.shape)}, must be {list(shape)}")
        self._used.add(name)
        return info

    def check_all_used(self) -> list[str]:
        """Names of tensors for other uses. Raises UnsupportedError for a tensor of the model that nothing consumed."""
        rest = [name for name in self.file.tensors if name not in self._used]
        unknown = [name for name in rest if not _OTHER_USES.match(name)]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UnsupportedError(
                f"{self.file.path}: tensor {unknown[0]}{more}: this architecture's spec has no use for it, "
                "so the text would be silently wrong"
            )
        return rest
