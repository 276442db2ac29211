"""Folders of Hugging Face that `quantize` must refuse: safetensors, indexes, JSON, packed weights."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.malformed.call import Call, Make
from tests.quantize.folders import CASES as FOLDERS
from tests.quantize.folders import write_folder

Edit = Callable[[Path], object]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def _json(name: str, **values: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


def _raw(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def _header(change: Callable[[dict[str, Any]], object]) -> Edit:
    """Changes the JSON at the beginning of the weights."""

    def edit(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        n = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8 : 8 + n])
        change(header)
        head = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(head)) + head + data[8 + n :])

    return edit


def _entry(**values: Any) -> Edit:
    return _header(lambda header: header["model.norm.weight"].update(values))


def _map(path: str) -> Edit:
    return _raw(INDEX, json.dumps({"weight_map": {"model.norm.weight": path}}).encode())


def _link(name: str, target: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return edit


def _pipe(name: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return edit


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
EDITS: dict[str, Edit] = {
    "a header of 2^63": _raw(WEIGHTS, struct.pack("<Q", 2**63) + bytes(100)),
    "a header of 2^64-1": _raw(WEIGHTS, struct.pack("<Q", 2**64 - 1) + bytes(100)),
    "a header longer than the file": _raw(WEIGHTS, struct.pack("<Q", 10**6) + b"{}"),
    "a header that is no JSON": _raw(WEIGHTS, struct.pack("<Q", 8) + b"{{{{{{{{"),
    "a header that is a list": _raw(WEIGHTS, struct.pack("<Q", 2) + b"[]"),
    "a header 100,000 deep": _raw(WEIGHTS, struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000),
    "weights that are empty": _raw(WEIGHTS, b""),
    "weights that are a pickle": _raw(WEIGHTS, b"\x80\x04\x95" + bytes(100)),
    "weights that are a pipe": _pipe(WEIGHTS),
    "weights that are a device": _link(WEIGHTS, "/dev/zero"),
    "weights that are a link to themselves": _link(WEIGHTS, WEIGHTS),
    "data that overlap": _entry(data_offsets=[0, 128]),
    "data past the end": _entry(data_offsets=[2**40, 2**40 + 128]),
    "data that end before they begin": _entry(data_offsets=[128, 0]),
    "data of -1": _entry(data_offsets=[-1, 127]),
    "a dtype that lies": _entry(dtype="F32"),
    "a dtype that is unknown": _entry(dtype="F4097"),
    "a dtype of integers": _entry(dtype="I16"),
    "a shape whose product wraps": _entry(shape=[2**32, 2**32]),
    "a shape of -1": _entry(shape=[-1]),
    "a shape of floats": _entry(shape=[64.0]),
    "a shape of nothing": _entry(shape=[]),
    "an index that leaves the folder": _map("../../secret.safetensors"),
    "an index that names a path": _map("/etc/passwd"),
    "an index that names nothing": _map("none.safetensors"),
    "an index that is a list": _raw(INDEX, b"[]"),
    "an index without a map": _raw(INDEX, b"{}"),
    "config.json that is empty": _raw("config.json", b""),
    "config.json that is a list": _raw("config.json", b"[1]"),
    "config.json that is not UTF-8": _raw("config.json", b'{"a": "\xff"}'),
    "config.json that is 100,000 deep": _raw("config.json", b'{"a":' * 100_000),
    "config.json that is a device": _link("config.json", "/dev/zero"),
    "config.json that is a pipe": _pipe("config.json"),
    "config.json with a number of 5,000 digits": _raw("config.json", b'{"hidden_size": ' + b"9" * 5000 + b"}"),
    "no layers": _json("config.json", num_hidden_layers=0),
    "-1 layers": _json("config.json", num_hidden_layers=-1),
    "2^63 layers": _json("config.json", num_hidden_layers=2**63),
    "layers as a text": _json("config.json", num_hidden_layers="2"),
    "no heads": _json("config.json", num_attention_heads=0),
    "heads of NaN": _json("config.json", num_attention_heads=float("nan")),
    "a width of Inf": _json("config.json", hidden_size=float("inf")),
    "an epsilon of 1e999": _json("config.json", rms_norm_eps=float("inf")),
    "an unknown class": _json("config.json", architectures=["../../x"]),
    "classes as a number": _json("config.json", architectures=7),
    "tokenizer.json that is empty": _raw("tokenizer.json", b""),
    "tokenizer.json that is a list": _raw("tokenizer.json", b"[]"),
    "tokenizer.json without a model": _raw("tokenizer.json", b"{}"),
    "tokenizer.json that is 100,000 deep": _raw("tokenizer.json", b'{"a":' * 100_000),
    "ids of 2^63": _raw("tokenizer.json", json.dumps(
        {"model": {"type": "BPE", "vocab": {"a": 2**63}, "merges": []}}).encode()),
    "ids of -1": _raw("tokenizer.json", json.dumps(
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}).encode()),
    "GPTQ of 0 bits": _json("config.json", quantization_config=GPTQ | {"bits": 0}),
    "GPTQ of 2^31 bits": _json("config.json", quantization_config=GPTQ | {"bits": 2**31}),
    "GPTQ in groups of 0": _json("config.json", quantization_config=GPTQ | {"group_size": 0}),
    "GPTQ in groups of -7": _json("config.json", quantization_config=GPTQ | {"group_size": -7}),
    "GPTQ of a folder that is not": _json("config.json", quantization_config=GPTQ | {"bits": 4.5}),
    "AWQ of 3 bits": _json("config.json", quantization_config=AWQ | {"bits": 3}),
    "AWQ in groups as a text": _json("config.json", quantization_config=AWQ | {"group_size": "all"}),
    "a method that is unknown": _json("config.json", quantization_config={"quant_method": "magic"}),
    "a method that is a list": _json("config.json", quantization_config=[1]),
}  # fmt: skip


def of_folder(edit: Edit, statuses: tuple[int, ...] = (1,)) -> Make:
    def make(folder: Path) -> Call:
        path = write_folder(folder / "bad", FOLDERS["qwen2"])
        edit(path)
        return Call(["quantize", str(path), str(folder / "out.gguf"), "F16"], statuses)

    return make


WITHOUT_A_USE = ("GPTQ in groups of 0", "GPTQ in groups of -7", "AWQ in groups as a text")
"""Nothing is packed in the folder: the groups may be passed over."""


def calls() -> Iterator[tuple[str, Make]]:
    for name, edit in EDITS.items():
        yield f"folder: {name}", of_folder(edit, (0, 1) if name in WITHOUT_A_USE else (1,))
