"""JSON files of a Hugging Face folder, and typed reads of what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localllm.errors import FileError, FormatError
from localllm.terminal.safe import visible

MAX_BYTES = 256 << 20
"""The largest tokenizer.json of the hub has 36 MB, the largest index of shards 9 MB."""
_MOST = 3.4e38
_MOST_SAID = 300


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """A UTF-8 file of at most `limit` bytes. Raises FileError or FormatError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise FormatError(f"{path}: is larger than {limit >> 20} MB, which no such file is")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is no UTF-8 text (byte {error.start})") from None


def said(error: Exception) -> str:
    """What another package says of a file, which it may quote: one short line without control characters."""
    line = " ".join(visible(str(error)).split())
    return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}..."


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds. Raises FileError or FormatError."""
    try:
        value = json.loads(read_text(path, limit))
    except ValueError as error:
        raise FormatError(f"{path}: is no JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"{path}: is nested too deeply") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path}: holds {type(value).__name__}, must hold an object")
    return value


class Config:
    """A JSON object whose values are checked as they are read; null counts as absent.

    A key may be given as several names: the first that is there counts. Errors name the file, the key and the limit.
    """

    def __init__(self, path: Path, values: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
        self.path = path
        self.values = {**(defaults or {}), **{key: value for key, value in values.items() if value is not None}}

    def fail(self, key: str, problem: str) -> FormatError:
        return FormatError(f"{self.path}: key {key}: {problem}")

    def find(self, *keys: str) -> tuple[str, Any]:
        """(name, value) of the first key that is there, else (the first name, None)."""
        return next(((key, self.values[key]) for key in keys if key in self.values), (keys[0], None))

    def integer(self, *keys: str, low: int = 1, high: int = 1 << 31, default: int | None = None) -> int:
        key, value = self.find(*keys)
        if value is None:
            value = default
        if value is None:
            raise self.fail(key, "is missing")
        if type(value) is not int or not low <= value <= high:
            raise self.fail(key, f"is {value!r:.40}, must be an integer from {low} to {high}")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """A finite number that float32 holds, as GGUF keys do."""
        key, value = self.find(*keys)
        if value is None:
            value = default
        if value is None:
            raise self.fail(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST <= value <= _MOST:
            raise self.fail(key, f"is {value!r:.40}, must be a finite number, at most {_MOST}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"is {value!r:.40}, must be true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.fail(key, f"is {value!r:.40}, must be a string")
        return value

    def numbers(self, key: str, n: int) -> list[float]:
        """A list of n finite numbers."""
        values = self.values.get(key)
        if not isinstance(values, list) or len(values) != n:
            raise self.fail(key, f"must be a list of {n} numbers")
        return [Config(self.path, {key: value}).number(key) for value in values]

    def strings(self, key: str, n: int) -> list[str] | None:
        """A list of n strings, or None where there is none."""
        values = self.values.get(key)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) < n or not all(isinstance(value, str) for value in values):
            raise self.fail(key, f"must be a list of {n} strings")
        return values[:n]

    def inner(self, *keys: str) -> Config:
        """The object at a key; an empty one where there is none."""
        key, value = self.find(*keys)
        if value is not None and not isinstance(value, dict):
            raise self.fail(key, "must be an object")
        return Config(self.path, value or {})
