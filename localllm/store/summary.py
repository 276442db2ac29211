"""What a list tells of a model file, from its first bytes: reading vocabularies would take seconds for many files."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from localllm.errors import LocalllmError, NeedMoreError
from localllm.gguf.file_types import FILE_TYPES
from localllm.gguf.header import read_beginning
from localllm.gguf.metadata import Metadata
from localllm.store.filenames import quantization
from localllm.store.origins.files import open_file
from localllm.store.stored import StoredModel

_BEGINNING = 1 << 16
"""Bytes that hold all keys before the vocabulary."""
_HEADER = 1 << 25
"""Bytes in which the key of the format is looked for where it stands behind the vocabulary."""
_CHUNK = 1 << 20
_KEY = b"general.file_type"
_PLACE = struct.pack("<Q", len(_KEY)) + _KEY + struct.pack("<I", 4)
"""The key as a file of any version has it, and the type u32. llama-quantize puts it behind all others."""


@dataclass(frozen=True)
class Summary:
    """architecture, format (such as Q4_K_M): "" where the file does not tell. problem: why it cannot be read."""

    architecture: str = ""
    format: str = ""
    problem: str = ""


def summary(model: StoredModel) -> Summary:
    """Of a model that was found. Its tensors are not looked at: `show` checks a file wholly."""
    path = str(model.path)
    try:
        with open_file(model.path) as file:
            size = os.fstat(file.fileno()).st_size
            metadata = read_beginning(file.read(_BEGINNING), size, path)
            architecture = metadata.get_typed("general.architecture", str, "")
            return Summary(architecture, _format(metadata, model, file))
    except OSError as error:
        return Summary(problem=error.strerror or str(error))
    except NeedMoreError:
        return Summary(problem="changes while it is read")
    except LocalllmError as error:
        return Summary(problem=str(error).removeprefix(f"{path}: "))


def _format(metadata: Metadata, model: StoredModel, file: BinaryIO) -> str:
    """By the file's beginning, else by its name, else by the end of its metadata."""
    stated = metadata.get_typed("general.file_type", int, -1)
    return FILE_TYPES.get(stated) or quantization(model.path.name) or FILE_TYPES.get(_late(file), "")


def _late(file: BinaryIO) -> int:
    """The file type that stands behind the vocabulary; -1 where there is none."""
    tail = b""
    file.seek(0)
    for _ in range(_HEADER // _CHUNK):
        chunk = file.read(_CHUNK)
        found = (tail + chunk).find(_PLACE)
        value = (tail + chunk)[found + len(_PLACE) :][:4] if found >= 0 else b""
        if len(value) == 4 or not chunk:
            return int.from_bytes(value, "little") if len(value) == 4 else -1
        tail = chunk[-len(_PLACE) - 4 :]
    return -1
