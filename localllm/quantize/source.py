"""What is quantized: named tensors that are read one at a time, and the metadata of the file to be written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from localllm.errors import FormatError

if TYPE_CHECKING:
    import numpy as np

    from localllm.kernels.formats.table import Format

Decode = Callable[["Format", "np.ndarray", int], "np.ndarray"]
"""(format, uint8 [n, row_bytes], k) -> float32 [n, k]: Encoder.decode."""


@dataclass(frozen=True)
class Typed:
    """A metadata value with its GGUF type: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str, or arr of `element`s."""

    value: Any
    type: str
    element: str = ""


@dataclass(frozen=True)
class SourceTensor:
    """A tensor of the source, under the name, shape and order that it has in a GGUF file."""

    name: str
    shape: tuple[int, ...]
    """In GGML's order: (k,), (k, n) or (k, n, n_expert); k elements of a row are next to each other."""
    format: str
    """GGUF name of the format that it has in the source: F32, BF16, Q4_K, ..."""

    @property
    def k(self) -> int:
        """Elements of a row."""
        return self.shape[0]

    @property
    def n_rows(self) -> int:
        """Rows, those of all experts counted."""
        return math.prod(self.shape[1:])

    @property
    def n_weights(self) -> int:
        return math.prod(self.shape)

    @property
    def n_dims(self) -> int:
        """Dimensions without those of length 1 at the end: ggml_n_dims of llama.cpp's ggml.c."""
        return max((axis + 1 for axis, length in enumerate(self.shape) if length > 1), default=1)


class Source(Protocol):
    """An open model to quantize. Subclasses may replace `rows` where they can read a part of a tensor."""

    path: str

    @property
    def files(self) -> Sequence[str]:
        """Paths of what is read: none of them may be overwritten."""
        return [self.path]

    @property
    def metadata(self) -> Mapping[str, Typed]:
        """Keys and values of the GGUF file to be written, in its order."""
        ...

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        """In the order of the file to be written."""
        ...

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32 [k], [n, k] or [n_expert, n, k]. Nothing is kept. Raises LocalllmError."""
        ...

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), counted through all experts, as float32 [stop - start, k]."""
        tensor = self.tensors[name]
        return self.read(name).reshape(tensor.n_rows, tensor.k)[start:stop]

    def encoded(self, name: str, format: Format) -> np.ndarray | None:
        """uint8 [n_rows, row_bytes] where the source holds the tensor exactly in `format`, else None."""
        ...

    def close(self) -> None:
        """Closes the files. May be called twice."""
        ...


def typed(value: Any) -> Typed:
    """The value with the type that GGUF writers give it: bool, u32 (i32, i64, u64 where it does not fit), f32, str.

    Raises FormatError for what no GGUF value can be.
    """
    if isinstance(value, list | tuple):
        return _array(value)
    if isinstance(value, bool):
        return Typed(value, "bool")
    if isinstance(value, int):
        return Typed(value, _integer(value, value))
    if isinstance(value, float):
        return Typed(value, "f32")
    if isinstance(value, str):
        return Typed(value, "str")
    raise FormatError(f"a metadata value of type {type(value).__name__} cannot be stored in a GGUF file: {value!r:.60}")


def _array(values: Sequence[Any]) -> Typed:
    if not values:
        raise FormatError("the type of an empty metadata array is not known")
    kinds = {typed(value).type for value in values}
    if "arr" in kinds:
        raise FormatError("arrays of arrays are not written: llama.cpp does not read them")
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        least = min(values)
        kind = "i32" if least >= -(2**31) and max(values) < 2**31 else _integer(least, max(values))
        return Typed(list(values), "arr", kind)
    if len(kinds) > 1:
        raise FormatError(f"a metadata array must hold one type of value, not {' and '.join(sorted(kinds))}")
    return Typed(list(values), "arr", kinds.pop())


def _integer(least: int, most: int) -> str:
    for kind, low, high in (("u32", 0, 2**32), ("i32", -(2**31), 2**31), ("u64", 0, 2**64), ("i64", -(2**63), 2**63)):
        if low <= least and most < high:
            return kind
    raise FormatError(f"metadata integers have at most 64 bits: {most if most >= 2**63 else least}")
