"""Hugging Face folders: config.json, the tokenizer's files and safetensors, plain and packed (GPTQ).

An input is all files, one after another: name, length, content. Of a safetensors file it holds the header alone: the
data are zeros, as many as the header says, up to a limit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from localllm.quantize.sources import open_source
from tests.fuzz import sentencepiece_files
from tests.fuzz.mutators import json_changed, of_bytes
from tests.fuzz.target import Target
from tests.quantize.folders import CASES, write_folder
from tests.quantize.test_packed import gptq_folder

_CASES = ("llama", "llama3", "qwen2", "qwen3moe", "gemma3", "bitnet")
_MAX_DATA = 1 << 22
_WORDS = (
    "LlamaForCausalLM", "Qwen2ForCausalLM", "Gemma3ForCausalLM", "gptq", "awq", "compressed-tensors", "fp8", "F32",
    "BF16", "I32", "U8", "F8_E4M3", "BPE", "Unigram", "WordPiece", "ByteLevel", "Split", "Sequence", "Digits", "NFC",
    "Regex", "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight",
    "model.layers.0.self_attn.q_proj.qweight", "<s>", "</s>", "model.safetensors", "../x.safetensors", "yarn",
    "longrope", "linear", "llama3",
)  # fmt: skip
Files = dict[str, bytes]


def seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        folders = [write_folder(Path(folder) / case, CASES[case]) for case in _CASES]
        folders += [gptq_folder(Path(folder) / f"gptq{group}", group)[0] for group in (32, -1)]
        yield from (_packed(_read(path)) for path in folders)


def _read(folder: Path) -> Files:
    return {path.name: _shorter(path.name, path.read_bytes()) for path in sorted(folder.iterdir())}


def _shorter(name: str, content: bytes) -> bytes:
    if name.endswith(".model"):
        return [*sentencepiece_files.seeds()][-1]
    return content[: 8 + int.from_bytes(content[:8], "little")] if name.endswith(".safetensors") else content


def _packed(files: Files) -> bytes:
    return b"".join(
        struct.pack("<BI", len(name.encode()), len(content)) + name.encode() + content
        for name, content in files.items()
    )


def _unpacked(data: bytes) -> Files:
    files: Files = {}
    at = 0
    while at + 5 <= len(data) and len(files) < 16:
        n_name, n = struct.unpack_from("<BI", data, at)
        at += 5 + n_name
        name = "".join(c for c in data[at - n_name : at].decode("latin-1") if c.isalnum() or c in "._-").strip(".")
        files[name[:120] or "config.json"] = data[at : at + n]
        at += n
    return files


def mutate(data: bytes, rng: random.Random) -> bytes:
    files = _unpacked(data)
    if not files or rng.random() < 0.05:
        return of_bytes(data, rng)
    name = rng.choice(sorted(files))
    content = files[name]
    if rng.random() < 0.05:
        del files[name]
    elif rng.random() < 0.1:
        files[name] = of_bytes(content, rng)
    elif name.endswith(".safetensors"):
        head = json_changed(content[8:], _WORDS, rng)
        files[name] = struct.pack("<Q", len(head)) + head
    elif name.endswith(".model"):
        files[name] = sentencepiece_files.mutate(content, rng)
    else:
        files[name] = json_changed(content, _WORDS, rng)
    return _packed(files)


def run(data: bytes) -> None:
    folder = _folder()
    for path in folder.iterdir():
        path.unlink()
    for name, content in _unpacked(data).items():
        (folder / name).write_bytes(content + _zeros(name, content))
    source = open_source(str(folder))
    try:
        dict(source.metadata)
        for name, tensor in source.tensors.items():
            if tensor.n_rows * tensor.k <= 1 << 18:
                source.read(name)
    finally:
        source.close()


def _zeros(name: str, content: bytes) -> bytes:
    """As many bytes of data as a header tells of."""
    try:
        entries = json.loads(content[8:]).values() if name.endswith(".safetensors") else ()
        ends = [entry["data_offsets"][1] for entry in entries if "data_offsets" in entry]
        return bytes(min(max(ends, default=0), _MAX_DATA))
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        return b""


@cache
def _folder() -> Path:
    import atexit

    folder = tempfile.mkdtemp(prefix="localllm-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


TARGET = Target(seeds, run, mutate, max_len=1 << 17)
