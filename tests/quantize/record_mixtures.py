"""Record which format llama.cpp gives each tensor of the models of mixture_models.py, into mixtures.json.

    pip install llama-cpp-python gguf numpy        # not a dependency of localllm
    python -m tests.quantize.record_mixtures

Files with holes in place of data are enough: llama_model_quantize with dry_run chooses formats and prints them.
Recorded with llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import ctypes
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import gguf

from localllm.kernels.formats.table import FORMATS
from localllm.quantize.mixture import MIXTURES
from localllm.quantize.source import Source
from tests.quantize.mixture_models import MODELS

TARGET = Path(__file__).parent / "mixtures.json"
_LINE = re.compile(
    r"\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = *(\w+), .*?size = *[\d.]+ MiB(?: -> *[\d.]+ MiB \((\w+)\))?"
)


def write_hollow(path: Path, source: Source) -> None:
    """The source's metadata and shapes, with a hole for each tensor's data."""
    writer = gguf.GGUFWriter(path, source.metadata["general.architecture"].value)
    names = {"u32": "UINT32", "i32": "INT32", "f32": "FLOAT32", "str": "STRING", "bool": "BOOL", "arr": "ARRAY"}
    for key, entry in source.metadata.items():
        if key != "general.architecture":
            writer.add_key_value(key, entry.value, gguf.GGUFValueType[names[entry.type]])
    writer.add_string("tokenizer.ggml.model", "no_vocab")
    size = 0
    for tensor in source.tensors.values():
        n_bytes = FORMATS[tensor.format].row_bytes(tensor.k) * tensor.n_rows
        kind = gguf.GGMLQuantizationType[tensor.format]
        writer.add_tensor_info(tensor.name, tensor.shape[::-1], None, n_bytes, raw_dtype=kind)
        size += n_bytes + 64
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "ab") as file:
        file.truncate(file.tell() + size)


def formats(path: Path, file_type: int, has_imatrix: bool, **parameters: object) -> dict[str, str]:
    """Tensor -> format, as llama_model_quantize prints them. Empty where it refuses."""
    import llama_cpp as lib

    text: list[str] = []
    callback = lib.llama_log_callback(lambda level, line, data: text.append(line.decode()))
    lib.llama_log_set(callback, None)
    options = lib.llama_model_quantize_default_params()
    options.ftype, options.dry_run, options.allow_requantize = file_type, True, True
    for key, value in parameters.items():
        setattr(options, key, value)
    nothing = (lib.llama_model_imatrix_data * 1)()  # a list that ends at once: there is an imatrix, without entries
    if has_imatrix:
        options.imatrix = ctypes.cast(nothing, type(options.imatrix))
    failed = lib.llama_model_quantize(str(path).encode(), b"/dev/null", ctypes.byref(options))
    found = {} if failed else {m[1]: (m[3] or m[2]).upper() for m in _LINE.finditer("".join(text))}
    if not found and not failed:
        raise SystemExit("llama.cpp prints no formats: " + "".join(text)[-500:])
    return found


def packed(chosen: Mapping[str, str]) -> dict[str, str]:
    """Kind of tensor -> its formats layer after layer: {"ffn_down.weight": "12*Q4_K 3*Q6_K"}."""
    kinds: dict[str, list[str]] = {}
    for name, format in chosen.items():
        kinds.setdefault(re.sub(r"^blk\.\d+\.", "", name), []).append(format)
    return {kind: _runs(row) for kind, row in kinds.items()}


def _runs(row: list[str]) -> str:
    parts: list[list[object]] = []
    for format in row:
        if parts and parts[-1][1] == format:
            parts[-1][0] = int(str(parts[-1][0])) + 1
        else:
            parts.append([1, format])
    return " ".join(f"{n}*{format}" for n, format in parts)


def record(source: Source) -> dict[str, dict[str, str]]:
    """Kind of tensor -> formats -> mixtures that choose them; with + or - those that do with or without an imatrix."""
    kinds: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        write_hollow(path, source)
        for name, mixture in MIXTURES.items():
            plain, calibrated = (formats(path, mixture.file_type, imatrix) for imatrix in (False, True))
            for label, found in (
                [(name, plain)] if plain == calibrated else [(name + "-", plain), (name + "+", calibrated)]
            ):
                rows = packed({tensor: found[tensor] for tensor in source.tensors}) if found else {"refused": ""}
                for kind, row in rows.items():
                    kinds.setdefault(kind, {}).setdefault(row, []).append(label)
    return {kind: {row: " ".join(labels) for row, labels in rows.items()} for kind, rows in kinds.items()}


def main() -> None:
    TARGET.write_text(json.dumps({title: record(source) for title, source in MODELS.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
