"""A Hugging Face folder as a source: config.json, safetensors, the tokenizer's files, as llama.cpp converts them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from localllm.errors import FileError, UsageError
from localllm.quantize.source import Source, SourceTensor, Typed, typed
from localllm.quantize.sources.architectures import gguf_keys, read_architecture
from localllm.quantize.sources.checkpoint import Checkpoint
from localllm.quantize.sources.general import general_keys
from localllm.quantize.sources.json_file import read_json
from localllm.quantize.sources.packed import open_weights
from localllm.quantize.sources.recipes import Recipe, make_recipes
from localllm.quantize.sources.vocabulary import read_vocabulary
from localllm.quantize.sources.weights import Weights
from localllm.text.pretokenizers import PRETOKENIZERS

if TYPE_CHECKING:
    from localllm.kernels.formats.table import Format
    from localllm.quantize.sources.weights import Index

_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
"""general.file_type: llama_ftype of llama.cpp's llama.h."""
_ALWAYS_F32 = ("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight")


class HuggingFaceSource(Source):
    """An open folder. `pre`: the pre-tokenizer's name (tokenizer.ggml.pre) where it cannot be recognised."""

    def __init__(self, path: str, pre: str | None = None) -> None:
        self.path = path
        self._folder = Path(path)
        self._pre = pre
        config = self._folder / "config.json"
        self._row, self._config = read_architecture(config, read_json(config))
        self._inverse_scales: dict[str, np.float32] = {}
        self._checkpoint = Checkpoint(self._folder)
        try:
            self._weights: Weights = open_weights(self._checkpoint, self._config)
            self._recipes = make_recipes(self._folder, self._row, self._config, self._weights)
        except BaseException:
            self.close()
            raise

    @property
    def files(self) -> list[str]:
        return sorted({str(stored.file) for stored in self._checkpoint.tensors.values()})

    @cached_property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return {name: self._tensor(name, recipe) for name, recipe in self._recipes.items()}

    @cached_property
    def metadata(self) -> Mapping[str, Typed]:
        formats = [tensor.format for tensor in self.tensors.values() if tensor.n_dims > 1]
        most = max(sorted(set(formats)), key=formats.count)
        return {
            "general.architecture": typed(self._row.name),
            "general.type": typed("model"),
            **general_keys(self._folder, self._row.name, self.tensors),
            **gguf_keys(self._row, self._config),
            "general.file_type": typed(_FILE_TYPES.get(most, 1)),
            "general.quantization_version": typed(2),
            **read_vocabulary(self._folder, self._row, self._config, self._pre),
        }

    def read(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        return self.rows(name, 0, tensor.n_rows).reshape(tensor.shape[::-1])

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        recipe, k = self._recipes[name], self.tensors[name].k
        if recipe.constant is not None:
            return recipe.constant.reshape(1, k)[start:stop]
        if len(recipe.shape) < 2:
            return self._vector(recipe).reshape(1, k)[start:stop]
        pieces = [self._weights.read(part, rows) for part, rows in _pieces(recipe, start, stop)]
        x = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, k), np.float32), *pieces])
        return self._ternary(x, recipe.parts[0]) if recipe.ternary else x

    def _ternary(self, x: np.ndarray, name: str) -> np.ndarray:
        """Rows of the matrix `name` as BitNet's layers use them; see Recipe. The same operations as in llama.cpp."""
        if name not in self._inverse_scales:
            size = np.abs(self._weights.read(name, slice(None))).mean(dtype=np.float64)
            self._inverse_scales[name] = np.float32(1) / np.float32(max(size, 1e-5))
        inverse = self._inverse_scales[name]
        return np.clip(np.rint(x * inverse), -1, 1) / inverse

    def _vector(self, recipe: Recipe) -> np.ndarray:
        """float32 [k]: a norm or a bias."""
        x = self._weights.read(recipe.parts[0], slice(None) if recipe.order is None else recipe.order)
        return x + np.float32(recipe.shift) if recipe.shift else x

    def encoded(self, name: str, format: Format) -> np.ndarray | None:
        recipe, tensor = self._recipes[name], self.tensors[name]
        if _always_f32(name, recipe):
            return self.rows(name, 0, tensor.n_rows).view(np.uint8) if format.name == "F32" else None
        if recipe.ternary:
            return None
        pieces = []
        for part, rows in _pieces(recipe, 0, tensor.n_rows):
            piece = self._weights.encoded(part, format, rows)
            if piece is None:
                return None
            pieces.append(piece)
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return whole.reshape(tensor.n_rows, format.row_bytes(tensor.k))

    def close(self) -> None:
        self._checkpoint.close()

    def _tensor(self, name: str, recipe: Recipe) -> SourceTensor:
        experts = (len(recipe.parts),) if len(recipe.parts) > 1 else ()
        format = "F32" if _always_f32(name, recipe) else self._weights.tensors[recipe.parts[min(recipe.parts)]].format
        return SourceTensor(name, recipe.shape[::-1] + experts, format)


def _always_f32(name: str, recipe: Recipe) -> bool:
    """Norms, biases, routers and factors are F32 in every file, whatever the checkpoint has."""
    return recipe.constant is not None or len(recipe.shape) < 2 or name.endswith(_ALWAYS_F32)


def open_source(path: str, pre: str | None = None) -> HuggingFaceSource:
    """Opens a folder. Raises FileError, FormatError, UnsupportedError, or UsageError for an unknown `pre`."""
    if pre is not None and pre not in PRETOKENIZERS:
        raise UsageError(f"there is no pre-tokenizer {pre!r:.40}; there are {', '.join(sorted(PRETOKENIZERS))}")
    if not (Path(path) / "config.json").is_file():
        raise FileError(f"{path}: holds no config.json: must be the folder of a Hugging Face model, or a GGUF file")
    return HuggingFaceSource(path, pre)


def _pieces(recipe: Recipe, start: int, stop: int) -> list[tuple[str, Index]]:
    """Names and rows of the parts that the rows [start, stop) of a matrix, or of all experts, are made of."""
    n = recipe.shape[0]
    pieces: list[tuple[str, Index]] = []
    for expert in range(start // n, -(-stop // n)):
        rows = slice(max(start - expert * n, 0), min(stop - expert * n, n))
        pieces.append((recipe.parts[expert], rows if recipe.order is None else recipe.order[rows]))
    return pieces
