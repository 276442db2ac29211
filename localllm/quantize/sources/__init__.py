"""Where tensors come from: GGUF files and Hugging Face folders, one file a kind."""

from __future__ import annotations

from importlib import import_module

from localllm.quantize.source import Decode, Source


def open_source(path: str, decode: Decode | None = None, allow_requantize: bool = False) -> Source:
    """Opens what `path` holds. `decode` (Encoder.decode) reads quantized tensors.

    Raises FileError, FormatError or UnsupportedError. Tensors of a GGUF file that are quantized are read only where
    `allow_requantize` says that this is wanted.
    """
    source: Source = import_module("localllm.quantize.sources.gguf").open_source(path, decode, allow_requantize)
    return source
