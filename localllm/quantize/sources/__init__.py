"""Where tensors come from: GGUF files and Hugging Face folders, one file a kind."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from localllm.quantize.source import Decode, Source


def open_source(
    path: str, decode: Decode | None = None, allow_requantize: bool = False, pre: str | None = None
) -> Source:
    """Opens what `path` holds: the folder of a Hugging Face model, or a GGUF file.

    `decode` (Encoder.decode) reads quantized tensors of a GGUF file, which are read only where `allow_requantize` says
    that this is wanted. `pre` names the pre-tokenizer of a folder where its tokenizer.json is not recognised.
    Raises FileError, FormatError or UnsupportedError.
    """
    source: Source
    if Path(path).is_dir():
        source = import_module("localllm.quantize.sources.huggingface").open_source(path, pre)
    else:
        source = import_module("localllm.quantize.sources.gguf").open_source(path, decode, allow_requantize)
    return source
