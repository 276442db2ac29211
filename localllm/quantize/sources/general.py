"""The keys general.* of a Hugging Face folder: names and licence as the `gguf` package guesses them, and sampling.

The package's Metadata is what llama.cpp's conversion uses: it reads config.json, README.md's front matter and the
folder's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localllm.errors import FormatError
from localllm.gguf.values import ARRAY, TYPE_NAMES
from localllm.quantize.source import SourceTensor, Typed, typed
from localllm.quantize.sources.json_file import Config, read_json, read_text, said

_MAX_CARD = 4 << 20
_OURS = ("general.architecture", "general.sampling.")
"""Keys that the package is not asked for: its versions differ in them."""
_SAMPLING = {
    "top_k": ("top_k", "i32"),
    "top_p": ("top_p", "f32"),
    "min_p": ("min_p", "f32"),
    "temp": ("temperature", "f32"),
    "penalty_repeat": ("repetition_penalty", "f32"),
}
"""Key -> (name in generation_config.json, type)."""


def _typed(field: Any) -> Typed:
    value, kind = field.value, int(field.type)
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if kind == ARRAY:
        return typed(list(value))
    if TYPE_NAMES[kind] == "f32":
        value = float(value)
    return Typed(value, TYPE_NAMES[kind])


def general_keys(folder: Path, architecture: str, tensors: Mapping[str, SourceTensor]) -> dict[str, Typed]:
    """general.name and the others that can be known. Raises FileError or FormatError."""
    from gguf import GGUFWriter, Metadata, size_label

    if (folder / "README.md").is_file():
        read_text(folder / "README.md", _MAX_CARD)
    total, shared, expert, n_expert = _counts(tensors)
    writer = GGUFWriter(None, architecture)  # writes nothing: it is asked for what it was told
    try:
        metadata = Metadata.load(model_path=folder, total_params=total)
        metadata.name = metadata.name or folder.resolve().name
        metadata.size_label = metadata.size_label or size_label(total, shared, expert, n_expert)
        metadata.set_gguf_meta_model(writer)
        (found,) = writer.kv_data
        keys = {key: _typed(field) for key, field in found.items() if not key.startswith(_OURS)}
    except Exception as error:  # whatever the packages gguf and yaml raise
        problem = f"{type(error).__name__}: {said(error)}"
        raise FormatError(f"{folder}: README.md cannot be used: {problem:.120}") from None
    return _sampling(folder / "generation_config.json") | keys


def _sampling(path: Path) -> dict[str, Typed]:
    """Keys general.sampling.*: what generation_config.json recommends."""
    given = Config(path, read_json(path, _MAX_CARD) if path.is_file() else {})
    keys = {}
    for key, (name, kind) in _SAMPLING.items():
        if name in given.values:
            value = given.integer(name, low=0) if kind == "i32" else given.number(name)
            keys[f"general.sampling.{key}"] = Typed(value, kind)
    return keys


def _counts(tensors: Mapping[str, SourceTensor]) -> tuple[int, int, int, int]:
    """(parameters, those that every token uses, those of one expert, experts)."""
    sizes = {name: math.prod(tensor.shape) for name, tensor in tensors.items()}
    experts = {name: tensors[name].shape[-1] for name in sizes if "_exps." in name}
    shared = sum(size for name, size in sizes.items() if name not in experts)
    one = sum(sizes[name] // n for name, n in experts.items())
    return sum(sizes.values()), shared, one, sum(experts.values()) // max(len(experts), 1)
