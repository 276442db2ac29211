"""GGUF files: header, metadata, tensor directory, parts. What is read twice is the same, from a map or from bytes."""

from __future__ import annotations

from collections.abc import Iterator

from localllm.errors import LocalllmError, NeedMoreError
from localllm.gguf.header import read_beginning
from localllm.gguf.reader import GGUFFile, open_gguf, open_header
from tests.fuzz.gguf_mutator import of_gguf
from tests.fuzz.target import Finding, Target, written
from tests.gguf import build as b
from tests.gguf.test_hostile import GOOD
from tests.malformed.parser import deep_array

_KEYS = ("general.architecture", "general.alignment", "split.count", "split.no", "split.tensors.count", "tokens")


def seeds() -> Iterator[bytes]:
    yield GOOD
    scalars = [b.kv(f"k{kind}", kind, 1) for kind in b.CODES] + [b.kv("s", b.STR, "text")]
    yield b.gguf(scalars, [b.tensor("a", (4,), 0)], bytes(16))
    yield b.gguf([b.array(f"a{kind}", kind, [1, 0]) for kind in b.CODES] + [deep_array(3)], version=2)
    split = [b.kv("split.count", b.U16, 1), b.kv("split.no", b.U16, 0), b.kv("split.tensors.count", b.I32, 2)]
    yield b.gguf(split, [b.tensor("a", (32,), 8), b.tensor("b", (256,), 12, offset=64)], bytes(64 + 144))
    for name in ("BF16", "MXFP4", "IQ2_XXS", "Q6_K"):
        from localllm.kernels.formats.table import FORMATS

        f = FORMATS[name]
        yield b.gguf([], [b.tensor("t", (f.block * 2, 3), f.id)], bytes(f.row_bytes(f.block * 6)))


def run(data: bytes) -> None:
    path = str(written(data, "model.gguf"))
    try:
        first = _of_file(path)
    except LocalllmError as error:
        _check_refused_again(data, path, str(error))
        raise
    if _of_file(path) != first:
        raise Finding("a second reading differs")
    if _said(open_header(data, len(data), path)) != first:
        raise Finding("what the bytes say differs from what the file says")
    _check_beginnings(data, path)


def _of_file(path: str) -> object:
    with open_gguf(path) as file:
        for info in file.tensors.values():
            if len(file.data(info)) != info.n_bytes:
                raise Finding(f"tensor {info.name} is not whole")
        return _said(file)


def _said(file: GGUFFile) -> str:
    """As text, since NaN does not equal itself."""
    return repr((file.version, file.alignment, dict(file.metadata), list(file.tensors.values())))


def _check_refused_again(data: bytes, path: str, said: str) -> None:
    """An array that is no UTF-8 is refused when it is decoded, both ways."""
    if "split." in said or "is missing" in said or "is one of" in said:
        return  # parts of a split model: the bytes of one stand alone
    try:
        _said(open_header(data, len(data), path))
    except LocalllmError as error:
        if str(error) != said:
            raise Finding(f"refused for {said!r}, and as bytes for {error}") from error
        return
    raise Finding(f"refused for {said!r}, and taken as bytes")


def _check_beginnings(data: bytes, path: str) -> None:
    """A beginning that is too short says how much is needed at least, and more than there is."""
    for n in {0, 23, 24, len(data) // 3, len(data) // 2, len(data) - 1} & set(range(len(data))):
        try:
            open_header(data[:n], len(data), path)
        except NeedMoreError as error:
            if not n < error.n_bytes <= len(data):
                raise Finding(f"{n} bytes are too few, and {error.n_bytes} of {len(data)} would do") from error
        if n >= 24:
            read_beginning(data[:n], len(data), path)


TARGET = Target(seeds, run, of_gguf(_KEYS, ("t", "a", "b")))
