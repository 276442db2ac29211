"""The metadata of a GGUF file: a mapping whose arrays are decoded when they are first read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from localllm.gate import header as gate
from localllm.gate import numbers
from localllm.gate.check import Place
from localllm.gguf.values import ARRAY, PYTHON_TYPES, TYPE_NAMES, Cursor, LazyArray, Value


class _Required:
    """Marks an argument that was not given: None is a default one may ask for."""


REQUIRED: Final = _Required()


class Metadata(Mapping[str, Value]):
    """Keys and values of one file, in its order. Arrays become lists when they are read, not by `describe`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._values: dict[str, Value] = {}
        self._types: dict[str, tuple[int, int, int]] = {}

    def read(self, cursor: Cursor, n_kv: int) -> None:
        """Reads `n_kv` pairs at the cursor."""
        for index in range(n_kv):
            start = cursor.pos
            key = cursor.name(f"key {index}", gate.key_length)
            gate.new_key(cursor.at(f"key {index}", start), key, self._values)
            kind = cursor.number("I", f"type of {key}")
            value = cursor.value(kind, key)
            self._values[key] = value
            lazy = isinstance(value, LazyArray)
            self._types[key] = (kind, value.element if lazy else kind, value.count if lazy else 1)

    def __getitem__(self, key: str) -> Value:
        value = self._values[key]
        if isinstance(value, LazyArray):
            value = self._values[key] = value.decode()
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values  # the mixin's would decode the array

    def kind(self, key: str) -> int:
        """Type id of the value."""
        return self._types[key][0]

    def describe(self, key: str) -> tuple[str, int | None]:
        """(type name of the value or of its elements, number of elements; None for what is no array)."""
        kind, element, count = self._types[key]
        return TYPE_NAMES[element], count if kind == ARRAY else None

    def get_typed(self, key: str, kind: type, default: Value = REQUIRED) -> Value:
        """The value of `key` as int, float, bool or str.

        A number may be asked for as float whatever its type. Raises FormatError when the type is another, a float is
        not finite, or the key is missing and there is no default.
        """
        if key not in self._values:
            return self._default(key, default)
        value, place = self._values[key], self._place(key)
        numbers.type_of_value(place, PYTHON_TYPES[self.kind(key)], kind, lambda: self._shown(key))
        return numbers.finite(place, float(value)) if kind is float else value

    def get_array(self, key: str, element: type, default: Value = REQUIRED) -> Value:
        """The list at `key`, whose elements are int, float, bool or str. Raises FormatError like `get_typed`."""
        if key not in self._values:
            return self._default(key, default)
        kind, stored, _ = self._types[key]
        numbers.type_of_array(self._place(key), kind == ARRAY, PYTHON_TYPES[stored], element, lambda: self._shown(key))
        return self[key]

    def _default(self, key: str, default: Value) -> Value:
        numbers.present(self._place(key), default is not REQUIRED)
        return default

    def _place(self, key: str) -> Place:
        return Place(self.path, f"metadata key {key}")

    def _shown(self, key: str) -> str:
        name, count = self.describe(key)
        return f"{self[key]!r:.60} ({name})" if count is None else f"an array of {count} × {name}"
