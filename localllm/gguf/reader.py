"""Opens GGUF files over memory maps: one file, or all parts of a split model as one. Tensor data is never touched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from localllm.errors import FileError
from localllm.gate import files
from localllm.gguf.header import Header, TensorInfo, read_header
from localllm.gguf.mapped import MappedFile
from localllm.gguf.metadata import REQUIRED
from localllm.gguf.split import join, parts_of
from localllm.gguf.values import Value


class GGUFFile:
    """An open model: a GGUF file, or several that it was split into. Use `open_gguf`; a context manager.

    Metadata, version and alignment are those of the first part. A tensor's offset is one into its own part. Where only
    headers are at hand (`open_header`), there is no data to map.
    """

    def __init__(self, headers: Sequence[Header], mapped: Sequence[MappedFile] = ()) -> None:
        first = headers[0]
        self.path = first.path
        self.headers = tuple(headers)
        self.size = sum(header.size for header in headers)
        """Bytes of all parts."""
        self.version, self.metadata, self.alignment = first.version, first.metadata, first.alignment
        self.tensors: Mapping[str, TensorInfo] = join(headers)
        self._mapped = tuple(mapped)

    def matrix_formats(self) -> list[str]:
        """Modules of the formats of its matrices, that with the most bytes first."""
        formats: Counter[str] = Counter()
        for t in self.tensors.values():
            if t.format.supported and len(t.shape) > 1 and t.shape[1] > 1:
                formats[t.format.module] += t.n_bytes
        return [module for module, _ in formats.most_common()]

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all parts, in order."""
        return tuple(header.path for header in self.headers)

    @property
    def has_data(self) -> bool:
        """Not a header alone."""
        return bool(self._mapped)

    def get(self, key: str, kind: type, default: Value = REQUIRED) -> Value:
        """The metadata value of `key` as `kind`: int, float, bool or str. See Metadata.get_typed."""
        return self.metadata.get_typed(key, kind, default)

    def get_array(self, key: str, element: type, default: Value = REQUIRED) -> Value:
        """The metadata array of `key`, with elements of type `element`. See Metadata.get_array."""
        return self.metadata.get_array(key, element, default)

    def map(self, part: int = 0) -> memoryview:
        """All of a part, read-only. The mapping lives until `close`, and then as long as a view of it does. Raises
        FileError."""
        self._require_data()
        return self._mapped[part].view()

    def data(self, info: TensorInfo) -> memoryview:
        """The bytes of a tensor of this file, read-only. Raises FileError."""
        return self.map(info.part)[info.offset : info.offset + info.n_bytes]

    def watch(self) -> None:
        """From now on, a page that cannot be read does not end the process; see `MappedFile.watch`."""
        for part in self._mapped:
            part.watch()

    def check_unchanged(self) -> None:
        """Raises FileError if a part was written to since it was opened, or a page could not be read."""
        self._require_data()
        for part in self._mapped:
            part.check_unchanged()

    @property
    def identity(self) -> tuple[int, ...]:
        """Of the open files: device, inode, size, times of the last write and change in nanoseconds of each. As long as
        it is the same, so is the content. Raises FileError."""
        self._require_data()
        return tuple(number for part in self._mapped for number in part.identity)

    def duplicates(self) -> list[int]:
        """A descriptor of each open part, which the caller closes; offsets are shared. Raises FileError."""
        self._require_data()
        return [part.duplicate() for part in self._mapped]

    def close(self) -> None:
        """Drops the mappings. Arrays of metadata that were not read yet cannot be read any more. May be called
        twice."""
        for part in self._mapped:
            part.close()

    def _require_data(self) -> None:
        if not self._mapped:
            raise FileError(f"{self.path}: only its header is at hand")

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Opens and checks a GGUF file; reads its metadata and tensor directory, no tensor. Of a split model any part
    stands for all.

    Raises FileError (cannot be read, is no regular file, or a part is missing), FormatError (what it says cannot be) or
    UnsupportedError (a version or byte order that is not read here).
    """
    path = os.fspath(path)
    opened: dict[str, MappedFile] = {}

    def header(path: str) -> Header:
        file = opened[path] = MappedFile(path)
        return read_header(file.data, file.size, path)

    try:
        named = header(path)
        paths = parts_of(named)
        _require_all(paths, path)
        headers = [named if other == path else header(other) for other in paths]
        return GGUFFile(headers, [opened[other] for other in paths])
    except BaseException:
        for file in opened.values():
            file.close()
        raise


def _require_all(paths: Sequence[str], named: str) -> None:
    missing = [path for path in paths if path != named and not os.path.exists(path)]
    files.parts_present(missing, named, len(paths))


def open_header(data: bytes, size: int, name: str) -> GGUFFile:
    """Reads and checks metadata and tensor directory of a file of `size` bytes, of which only the first are at hand, as
    of one that lies elsewhere. name: stands in errors, and as the path; of a split model this is one part: see
    `join_headers`.

    Raises NeedMoreError, which tells how many bytes it takes at least, FormatError or UnsupportedError.
    """
    return GGUFFile([read_header(data, size, name)])


def join_headers(parts: Sequence[GGUFFile]) -> GGUFFile:
    """The headers of all parts of a split model, in order, as one. Raises FormatError where they do not belong
    together."""
    return GGUFFile([header for part in parts for header in part.headers])
