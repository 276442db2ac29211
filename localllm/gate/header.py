"""Checks of the parser: header, keys, values and arrays of a file, each before it is read.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Stricter than llama.cpp where that costs no real
file.
"""

from __future__ import annotations

from collections.abc import Container

from localllm.errors import UnsupportedError
from localllm.gate.check import Place, check

MIN_BYTES = 24
"""Of a file: its magic, version and counts."""
MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_TENSORS, MAX_KV = 1 << 17, 1 << 16
MIN_KV_BYTES, MIN_TENSOR_BYTES = 8 + 1 + 4 + 1, 8 + 1 + 4 + 8 + 4 + 8
MAX_KEY = 65535
"""Bytes of a key; the limit of the format's description."""
MAX_ARRAY = 1 << 22
"""Elements in one array: eight times the largest vocabulary's merges. Bounds what a hostile file can take."""
MAX_ARRAYS, MAX_DEPTH = 1 << 14, 4
"""Arrays in one file, those in arrays included, and how deep they may be nested."""
MAX_METADATA = 1 << 27
"""Bytes from the start of the file to the end of the tensor directory; large vocabularies take 1 << 24."""
MIN_ALIGNMENT, MAX_ALIGNMENT = 8, 1 << 20

_OLD = "a GGML file of 2023: convert the original model to GGUF"
_PAGE = "a web page: the download failed, fetch the file itself"
_ANSWER = "a server's answer, not the file: the download failed, fetch it again"
_OTHER_FILES: dict[bytes, str] = {
    b"lmgg": _OLD,
    b"fmgg": _OLD,
    b"tjgg": _OLD,
    b"algg": "a GGML adapter of 2023: convert the original to GGUF",
    b"FUGG": "a big-endian file: get the usual, little-endian one",
    b"PK\3\4": "a zip archive: unpack it, or, for a PyTorch checkpoint, convert it to GGUF",
    b"\x1f\x8b": "a file packed by gzip: unpack it",
    b"(\xb5/\xfd": "a file packed by zstd: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"vers": "a Git LFS pointer or a text: fetch the file itself (git lfs pull)",
    b"<!": _PAGE,
    b"<htm": _PAGE,
    b"<HTM": _PAGE,
    b"<?xml": _ANSWER,
    b'{"': _ANSWER,
}
"""How other files begin, white space aside."""
_SAFETENSORS = "a safetensors file: `localllm quantize FOLDER OUT.gguf F16` converts the folder that it is in"


def _guess(start: bytes) -> str:
    if start[8:10] == b'{"':
        return f"; this looks like {_SAFETENSORS}"
    known = (told for sign, told in _OTHER_FILES.items() if start.lstrip().startswith(sign))
    return next((f"; this looks like {told}" for told in known), "")


@check("length of a file", f"{MIN_BYTES} bytes or more", 1, 2)
def file_length(place: Place, size: int, start: bytes) -> int:
    """start: its first 10 bytes, which may tell what it is instead."""
    if size < MIN_BYTES:
        raise place.error(f"{size} bytes long; a GGUF header has {MIN_BYTES}{_guess(start)}")
    return size


@check("first four bytes", repr(MAGIC), 3)
def magic(place: Place, start: bytes) -> bytes:
    if start[:4] != MAGIC:
        raise place.error(f"not a GGUF file: it starts with {start[:4]!r}, must be {MAGIC!r}{_guess(start)}")
    return start


@check("version, and by it the byte order", "2 or 3, little-endian", 4, 5, 6, 7, error=UnsupportedError)
def version(place: Place, value: int) -> int:
    if value in VERSIONS:
        return value
    if value and value & 0xFFFF == 0:  # llama.cpp's test: no version will reach 65536
        raise place.error("a big-endian file; get the usual, little-endian one", UnsupportedError)
    if value == 1:
        raise place.error("1 (of August 2023); 2 and 3 are read: convert the model again", UnsupportedError)
    raise place.error(f"{value}; 2 and 3 are read", UnsupportedError)


@check("number of tensors", f"{MAX_TENSORS}", 8)
def n_tensors(place: Place, count: int) -> int:
    if count > MAX_TENSORS:
        raise place.error(f"{count}, the limit is {MAX_TENSORS}")
    return count


@check("number of keys", f"{MAX_KV}", 9)
def n_kv(place: Place, count: int) -> int:
    if count > MAX_KV:
        raise place.error(f"{count}, the limit is {MAX_KV}")
    return count


@check(
    "the least that so many keys and tensors take",
    f"bytes of the file, at {MIN_KV_BYTES} a key and {MIN_TENSOR_BYTES} a tensor",
    10,
)
def counts(place: Place, n_tensors: int, n_kv: int, left: int) -> int:
    """left: bytes behind the counts."""
    least = n_tensors * MIN_TENSOR_BYTES + n_kv * MIN_KV_BYTES
    if least > left:
        what = f"{n_tensors} tensors and {n_kv} keys take {least} bytes or more, {left} are left"
        raise place.error(f"{what}; the file may be truncated: fetch it again")
    return least


@check(
    "bytes of each number, string, array and row of the directory",
    f"what is left of the file, and of {MAX_METADATA} bytes in all",
    16, 19, 21, 25, 49,
)  # fmt: skip
def room(place: Place, n_bytes: int, left: int, is_capped: bool) -> int:
    """left: bytes up to the end of the file, or up to where metadata must end (is_capped)."""
    if n_bytes <= left:
        return n_bytes
    if is_capped:
        raise place.error(f"needs {n_bytes} bytes, metadata may take {MAX_METADATA} in all, {left} are left")
    raise place.error(f"needs {n_bytes} bytes, the file has {left} left; it may be truncated: fetch it again")


@check("length of a key", f"{MAX_KEY} bytes", 11)
def key_length(place: Place, length: int) -> int:
    if length > MAX_KEY:
        raise place.error(f"length {length}, the limit is {MAX_KEY} bytes")
    return length


@check("bytes of a text", "UTF-8", 13)
def utf8(place: Place, raw: bytes) -> str:
    """place: its offset is that of the first byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        at = None if place.offset is None else place.offset + error.start
        raise place._replace(offset=at).error(f"not UTF-8: {raw[:32]!r}") from None


@check("key, and name of a tensor", "not empty, no NUL or other control characters", 12, 13, 32)
def name(place: Place, text: str) -> str:
    """Nothing that would steer a terminal, either."""
    if not text or not text.isprintable():
        raise place.error(f"{text[:64]!r} is no name: it must not be empty or hold control characters")
    return text


@check("key", "stands once", 15)
def new_key(place: Place, key: str, known: Container[str]) -> str:
    if key in known:
        raise place.error(f"{key[:64]!r} occurs twice")
    return key


@check("type of a value", "0 to 12", 14)
def value_type(place: Place, kind: int, known: Container[int]) -> int:
    if kind not in known:
        raise place.error(f"value type {kind} is unknown; types are 0 to 12")
    return kind


@check("bool", "0 or 1", 17)
def bool_value(place: Place, value: int) -> bool:
    if value > 1:
        raise place.error(f"bool is {value}, must be 0 or 1")
    return value == 1


@check("array of bool", "bytes 0 and 1", 17)
def bools(place: Place, raw: bytes) -> bytes:
    if raw.strip(b"\0\1"):
        raise place.error("an array of bool holds other bytes than 0 and 1")
    return raw


@check("how deep arrays are nested", f"{MAX_DEPTH}", 22)
def array_depth(place: Place, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise place.error(f"arrays nested deeper than {MAX_DEPTH}")
    return depth


@check("number of arrays, those in arrays included", f"{MAX_ARRAYS}", 22)
def n_arrays(place: Place, count: int) -> int:
    if count > MAX_ARRAYS:
        raise place.error(f"more than {MAX_ARRAYS} arrays in one file")
    return count


@check("type of an array's elements", "0 to 12", 23)
def element_type(place: Place, kind: int, known: Container[int]) -> int:
    if kind not in known:
        raise place.error(f"array element type {kind} is unknown; types are 0 to 12")
    return kind


@check("number of an array's elements", f"{MAX_ARRAY}", 20)
def array_length(place: Place, count: int) -> int:
    if count > MAX_ARRAY:
        raise place.error(f"{count} array elements, the limit is {MAX_ARRAY}")
    return count


@check("where a string of an array ends", "within the file, and within what metadata may take", 16, 21, 25)
def string_end(place: Place, reached: int, end: int, is_capped: bool) -> int:
    """reached: the byte behind the string; end: where the file ends, or where metadata must (is_capped)."""
    if reached > end:
        limit = "metadata may end" if is_capped else "the file ends"
        raise place.error(f"its string reaches byte {reached}, {limit} at {end}")
    return reached


@check("type of general.alignment", "u32", 28)
def alignment_type(place: Place, kind: str) -> str:
    if kind != "u32":
        raise place.error(f"is of type {kind}, must be u32")
    return kind


@check("general.alignment", f"a power of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT}", 26, 27, 29)
def alignment(place: Place, value: int) -> int:
    if not MIN_ALIGNMENT <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise place.error(f"is {value}, must be a power of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT}")
    return value
