"""A source written as a GGUF file by the `gguf` package, every tensor in the format that it has."""

from __future__ import annotations

from pathlib import Path

import gguf

from localllm.gguf.values import TYPE_NAMES
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.source import Source

_TYPES = {name: gguf.GGUFValueType(i) for i, name in TYPE_NAMES.items()}


def write_gguf(path: Path, source: Source) -> Path:
    architecture = source.metadata["general.architecture"].value
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in source.metadata.items():
        if key != "general.architecture":
            sub_type = _TYPES[value.element] if value.element else None
            writer.add_key_value(key, value.value, _TYPES[value.type], sub_type=sub_type)
    for name, tensor in source.tensors.items():
        raw = source.encoded(name, FORMATS[tensor.format])
        assert raw is not None
        kind = gguf.GGMLQuantizationType[tensor.format]
        writer.add_tensor(name, raw, raw_shape=(*tensor.shape[:0:-1], raw.shape[-1]), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
