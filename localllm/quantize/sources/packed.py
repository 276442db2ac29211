"""What the quantization_config of a checkpoint says: float tensors, or matrices that a method has packed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from localllm.errors import UnsupportedError
from localllm.quantize.sources.checkpoint import Checkpoint
from localllm.quantize.sources.json_file import Config, read_json
from localllm.quantize.sources.weights import FloatWeights, Weight, Weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from localllm.kernels.formats.table import Format
    from localllm.quantize.sources.fp8 import FloatMatrix
    from localllm.quantize.sources.grids import Matrix
    from localllm.quantize.sources.weights import Index

METHODS = {"gptq": "gptq", "awq": "awq", "compressed-tensors": "compressed_tensors", "fp8": "fp8"}
"""quant_method -> the file here: `PARTS`, names of a packed module's tensors, and `open_matrices`."""
_OLDER_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Where checkpoints of 2023 have what config.json has today."""


def open_weights(checkpoint: Checkpoint, config: Config) -> Weights:
    """Weights by the names of transformers' classes. Raises FormatError, or UnsupportedError naming the methods."""
    quantization, method = _quantization(checkpoint, config)
    if not method:
        return FloatWeights(checkpoint)
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise UnsupportedError(f"{quantization.path}: the quant_method {method!r:.40} is not read: {known} are")
    module = import_module(f"localllm.quantize.sources.{METHODS[method]}")
    return PackedWeights(checkpoint, module.open_matrices(checkpoint, quantization), module.PARTS)


def _quantization(checkpoint: Checkpoint, config: Config) -> tuple[Config, str]:
    """(what is said, the method); no method for float checkpoints."""
    if "quantization_config" in config.values:
        found = config.inner("quantization_config")
        return found, found.text("quant_method") or "unknown"
    for name, method in _OLDER_FILES.items():
        if (checkpoint.folder / name).is_file():
            return Config(checkpoint.folder / name, read_json(checkpoint.folder / name)), method
    return config, ""


class PackedWeights(Weights):
    """Packed matrices, and the float tensors beside them."""

    def __init__(
        self, checkpoint: Checkpoint, matrices: Mapping[str, Matrix | FloatMatrix], parts: tuple[str, ...]
    ) -> None:
        self._floats = FloatWeights(checkpoint)
        self._matrices = {f"{module}.weight": matrix for module, matrix in matrices.items()}
        packed = {f"{module}.{part}" for module in matrices for part in parts}
        floats = {name: weight for name, weight in self._floats.tensors.items() if name not in packed}
        self._tensors = floats | {name: Weight(m.shape, m.nearest()) for name, m in self._matrices.items()}

    @property
    def tensors(self) -> Mapping[str, Weight]:
        return self._tensors

    def read(self, name: str, rows: Index) -> np.ndarray:
        matrix = self._matrices.get(name)
        return self._floats.read(name, rows) if matrix is None else matrix.read(rows)

    def encoded(self, name: str, format: Format, rows: Index) -> np.ndarray | None:
        matrix = self._matrices.get(name)
        return self._floats.encoded(name, format, rows) if matrix is None else matrix.encoded(format.name, rows)
