"""Metadata of the file that is written: what is added, and what the user changes."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from localllm.errors import UsageError
from localllm.gguf.values import PYTHON_TYPES, SCALARS, TYPE_NAMES
from localllm.quantize.calibration import Calibration
from localllm.quantize.source import Typed

QUANTIZATION_VERSION = 2
"""GGML_QNT_VERSION of ggml.h."""
_KINDS = {name: PYTHON_TYPES[id] for id, name in TYPE_NAMES.items()}
_CODES = {kind.name: kind.code for kind in SCALARS.values()}
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def with_format(metadata: Mapping[str, Typed], file_type: int) -> dict[str, Typed]:
    """With the keys that say how the tensors are stored."""
    return {
        **metadata,
        "general.quantization_version": Typed(QUANTIZATION_VERSION, "u32"),
        "general.file_type": Typed(file_type, "u32"),
    }


def with_calibration(metadata: Mapping[str, Typed], path: str, calibration: Calibration) -> dict[str, Typed]:
    """With the keys of llama-quantize (tools/quantize/quantize.cpp) that name the importance matrix."""
    imatrix = calibration.imatrix
    name = os.fsencode(path).decode("utf-8", "replace")
    added = {"file": Typed(name, "str"), "entries_count": Typed(len(imatrix.entries), "u32")}
    if imatrix.datasets:
        added["dataset"] = Typed(imatrix.datasets[0], "str")
    if imatrix.chunk_count > 0:
        added["chunks_count"] = Typed(imatrix.chunk_count, "u32")
    return {**metadata, **{f"quantize.imatrix.{key}": value for key, value in added.items()}}


def with_changes(metadata: Mapping[str, Typed], changes: Iterable[str]) -> dict[str, Typed]:
    """With KEY=VALUE for keys that are there, which keep their types, and KEY:TYPE=VALUE for any.

    TYPE: str, bool, u8 to i64, f32, f64, or arr:ELEMENT with a JSON array. Raises UsageError.
    """
    changed = dict(metadata)
    for change in changes:
        left, equals, text = change.partition("=")
        key, colon, kind = left.partition(":")
        if not equals or not key.isprintable() or not key:
            raise UsageError(f"--metadata {change!r}: must be KEY=VALUE or KEY:TYPE=VALUE")
        if not colon:
            if key not in metadata:
                raise UsageError(f"--metadata {key}: the source has no such key: give its type, {key}:TYPE=VALUE")
            old = metadata[key]
            kind = f"arr:{old.element}" if old.type == "arr" else old.type
        changed[key] = _parsed(key, kind, text)
    return changed


def _parsed(key: str, kind: str, text: str) -> Typed:
    outer, _, element = kind.partition(":")
    if outer != "arr":
        return Typed(_scalar(key, kind, text), kind)
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list):
        raise UsageError(f"--metadata {key}: {text!r:.60} is no JSON array")
    return Typed(
        [_scalar(key, element, item if isinstance(item, str) else json.dumps(item)) for item in items], "arr", element
    )


def _scalar(key: str, kind: str, text: str) -> Any:
    if kind not in _KINDS or kind == "arr":
        names = ", ".join(name for name in _KINDS if name != "arr")
        raise UsageError(f"--metadata {key}: there is no type {kind!r}; types are {names}, and arr:TYPE")
    try:
        return _READERS[_KINDS[kind]](kind, text)
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"--metadata {key}: {text!r:.60} is no {kind}") from None


def _integer(kind: str, text: str) -> int:
    bits, signed = int(kind[1:]), kind[0] == "i"
    value = int(text, 0)
    if not -(2 ** (bits - 1)) * signed <= value < 2 ** (bits - signed):
        raise ValueError
    return value


def _real(kind: str, text: str) -> float:
    value = float(text)
    struct.pack("<" + _CODES[kind], value)  # raises OverflowError
    if not math.isfinite(value):
        raise ValueError
    return value


_READERS: dict[type, Callable[[str, str], Any]] = {
    int: _integer,
    float: _real,
    bool: lambda _, text: _BOOLS[text.lower()],
    str: lambda _, text: text,
}
