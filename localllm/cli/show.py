"""`localllm show`: what a file holds, whether this machine can run it, and the memory it needs."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import note, one_model
from localllm.cli.streams import echo, echo_json
from localllm.cli.tables import table
from localllm.errors import FormatError, LocalllmError, StoreError
from localllm.gguf.header import TensorInfo
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.store import catalog
from localllm.store.hf_cache import cache_dir
from localllm.store.origins import ORIGINS, origin_of
from localllm.store.resolve import resolve
from localllm.terminal.figures import size

if TYPE_CHECKING:
    from localllm.store.remote import RemoteModel

CTX_CAP = 4096
"""Tokens of context that memory is counted for unless -c says otherwise: models allow many times what a chat needs."""
_MAX_TEXT = 60
_MAX_ITEMS = 8


@click.command()
@click.argument("model", required=False)
@click.option("-m", "--model", "-hf", "--hf-repo", "option", metavar="MODEL", help="The same as MODEL.")
@click.option("-c", "--ctx-size", type=click.IntRange(1), metavar="N", help="Context size for which memory is counted.")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
def command(model: str | None, option: str | None, ctx_size: int | None, tensors: bool, output: str) -> None:
    """Show what a model file holds, whether it is supported, the memory it needs, and whether it fits here.

    MODEL is the path of a GGUF file or a name of `localllm list`; without it, the default model. Of a model that is
    not here (org/repo:QUANT, an address, a name of the catalog) the first megabytes are read from where it lies.
    """
    with _open(one_model(model, option)) as (file, remote):
        facts = collect(file, ctx_size, tensors) | _place(file, remote)
    if output == "json":
        echo_json(facts, indent=1)
    else:
        echo(_text(facts))


@contextmanager
def _open(name: str | None) -> Iterator[tuple[GGUFFile, RemoteModel | None]]:
    """The file of a MODEL; of one that is not here, its header."""
    try:
        path = resolve(name)
    except StoreError:
        from localllm.store.remote import has_remote, open_remote

        name = catalog.catalog().default.name if name is None else name
        if not has_remote(name):
            raise
        if sys.stderr.isatty():
            note(f"{name} is not here: reading its header from where it lies")
        remote = open_remote(name)
        yield remote.file, remote
        return
    with open_gguf(path) as file:
        yield file, None


def _place(file: GGUFFile, remote: RemoteModel | None) -> dict[str, Any]:
    """Where a model is, and what the disk has for one that is not here."""
    entry = None if remote is None else catalog.find_entry(remote.name)
    return {
        "use": entry.use if entry else None,
        "about": entry.about if entry else None,
        "licence": entry.licence if entry else _optional(file, "general.license", str),
        "here": remote is None,
        "origin": found.name if (found := origin_of(file.path)) and remote is None else None,
        "host": remote.host if remote else None,
        "parts": list(remote.sizes) if remote else [os.path.getsize(path) for path in file.paths],
        "read": remote.n_read if remote else None,
        "fetched": entry.fetched if entry else None,
        "disk_free": _disk_free() if remote else None,
    }


def _disk_free() -> int:
    """Bytes of the disk that downloads go to."""
    folder = cache_dir()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def collect(file: GGUFFile, n_ctx: int | None, all_tensors: bool) -> dict[str, Any]:
    """Everything that is shown, as JSON values; sizes in bytes."""
    architecture = _optional(file, "general.architecture", str)
    facts = {
        "file": file.path,
        "size": file.size,
        "gguf_version": file.version,
        "alignment": file.alignment,
        "architecture": architecture,
        "name": _optional(file, "general.name", str),
        "n_params": sum(tensor.n_elements for tensor in file.tensors.values()),
        "bits_per_weight": _bits_per_weight(file),
        "formats": _formats(file),
        "support": _support(file, architecture),
        "mtp_layers": _optional(file, f"{architecture}.nextn_predict_layers", int) or 0,
        "memory": _memory(file, architecture, n_ctx),
        "metadata": {key: _summary(file, key) for key in file.metadata},
    }
    if all_tensors:
        facts["tensors"] = [_tensor(tensor) for tensor in file.tensors.values()]
    return facts


def _bits_per_weight(file: GGUFFile) -> float | None:
    """Of all tensors together."""
    n = sum(tensor.n_elements for tensor in file.tensors.values())
    return 8 * sum(tensor.n_bytes for tensor in file.tensors.values()) / n if n else None


def _formats(file: GGUFFile) -> list[dict[str, Any]]:
    by_format: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in file.tensors.values():
        by_format[tensor.format.name].append(tensor)
    rows = []
    for name, tensors in by_format.items():
        n_bytes, fmt = sum(tensor.n_bytes for tensor in tensors), tensors[0].format
        rows.append({"format": name, "tensors": len(tensors), "bytes": n_bytes, "bits_per_weight": fmt.bits_per_weight})
    return sorted(rows, key=lambda row: -row["bytes"])


def _support(file: GGUFFile, architecture: str | None) -> dict[str, str]:
    """What it is -> "supported" or why not."""
    refused = sorted({t.format.name for t in file.tensors.values() if not t.format.supported})
    return {
        "architecture": _architecture_support(file, architecture),
        "formats": f"not supported: {', '.join(refused)}" if refused else "supported",
        "tokenizer": _tokenizer_support(file),
    }


def _architecture_support(file: GGUFFile, architecture: str | None) -> str:
    from localllm.model.spec import architectures, configuration

    if architecture not in architectures():
        return f"not supported; supported are {', '.join(architectures())}"
    try:
        configuration(file)
    except LocalllmError as error:
        return f"not supported: {str(error).removeprefix(file.path + ': ')}"
    return "supported"


def _tokenizer_support(file: GGUFFile) -> str:
    from localllm.text.pretokenizers import PRETOKENIZERS
    from localllm.text.tokenizer import KINDS

    kind = _optional(file, "tokenizer.ggml.model", str)
    if kind in (None, "no_vocab", "none"):
        return "none: the model runs on token ids"
    if kind not in KINDS:
        return f"not supported: {kind!r}"
    pre = _optional(file, "tokenizer.ggml.pre", str) or "default"
    if kind == "gpt2" and pre not in PRETOKENIZERS:
        return f"not supported: pre-tokenizer {pre!r}"
    return "supported"


def _memory(file: GGUFFile, architecture: str | None, n_ctx: int | None) -> dict[str, Any]:
    trained = _optional(file, f"{architecture}.context_length", int)
    wanted = n_ctx or min(max(trained or CTX_CAP, 1), CTX_CAP)
    fit, problem = None, ""
    try:
        from localllm.model.memory import estimate

        fit = estimate(file).fit(wanted)
    except LocalllmError as error:
        problem = str(error).removeprefix(file.path + ": ")
    return {
        "file": file.size,
        "n_ctx": wanted,
        "n_ctx_train": trained,
        "weights": fit.need.weights if fit else None,
        "cache": fit.need.cells if fit else None,
        "recurrent": fit.need.recurrent if fit else None,
        "checkpoints": fit.need.checkpoints if fit else None,
        "scratch": fit.need.scratch if fit else None,
        "total": fit.need.total if fit else None,
        "free": fit.free.n_bytes if fit else None,
        "fits": fit.fits if fit else None,
        "largest_n_ctx": fit.largest if fit else None,
        "problem": problem,
    }


def _summary(file: GGUFFile, key: str) -> Any:
    """A value as it is; a long text cut; a long array as its type and length."""
    kind, count = file.metadata.describe(key)
    if count is not None and (count > _MAX_ITEMS or kind == "arr"):
        return {"type": kind, "count": count}
    value = file.metadata[key]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no NaN


def _optional(file: GGUFFile, key: str, kind: type) -> Any:
    """A value, or None where it is missing or of a wrong type: a file that cannot be run can still be shown."""
    try:
        return file.get(key, kind, None)
    except FormatError:
        return None


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "format": tensor.format.name,
        "shape": list(tensor.shape),
        "offset": tensor.offset,
        "bytes": tensor.n_bytes,
        "bits_per_weight": tensor.format.bits_per_weight,
    }


def _text(facts: dict[str, Any]) -> str:
    parts = [table(_head(facts)), "Metadata\n" + _metadata_table(facts["metadata"])]
    if facts["formats"]:
        parts.append("Tensors by format\n" + _formats_table(facts["formats"]))
    if "tensors" in facts:
        parts.append("Tensors (shape[0] is contiguous)\n" + _tensors_table(facts["tensors"]))
    return "\n\n".join(parts)


def _head(facts: dict[str, Any]) -> list[list[str]]:
    support, memory = facts["support"], facts["memory"]
    weights = f"{facts['n_params'] / 1e6:.1f} M"
    if facts["bits_per_weight"]:
        weights += f", {facts['bits_per_weight']:.2f} bits each"
    rows = [
        ["File", f"{_printable(facts['file'])} ({_file_size(facts)}, GGUF version {facts['gguf_version']})"],
        ["From", ORIGINS[facts["origin"]].title if facts["origin"] else ""],
        ["Here", "" if facts["here"] else _not_here(facts)],
        ["Good for", f"{facts['use']}: {facts['about']}" if facts["about"] else ""],
        ["Licence", _shown_text(facts["licence"])],
        ["Name", _shown(facts["name"])],
        ["Architecture", _with(facts["architecture"], support["architecture"])],
        ["Weights", weights],
        ["Left out", _left_out(facts["mtp_layers"], facts["architecture"])],
        ["Formats", _with(", ".join(row["format"] for row in facts["formats"]) or None, support["formats"])],
        ["Tokenizer", _with(facts["metadata"].get("tokenizer.ggml.model"), support["tokenizer"])],
        ["Memory", _memory_line(memory)],
        ["Fits here", _fits(facts)],
    ]
    return [row for row in rows if row[1]]


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _shown_text(text: str | None) -> str:
    return _printable(text[:_MAX_TEXT]) if text else ""


def _file_size(facts: dict[str, Any]) -> str:
    count = len(facts["parts"])
    return _mb(facts["size"]) + (f" in {count} parts" if count > 1 else "")


def _not_here(facts: dict[str, Any]) -> str:
    read = f"no: the first {_mb(facts['read'])} were read from {facts['host']}"
    return read if facts["fetched"] in (None, True) else f"{read}; we have never downloaded it ourselves"


def _fits(facts: dict[str, Any]) -> str:
    """Whether the memory that is free now has room for it, and the disk for one that is not here."""
    memory, disk = facts["memory"], facts["disk_free"]
    lacks = []
    if memory["fits"] is False:
        lacks.append("memory")
    if disk is not None and facts["size"] > disk:
        lacks.append("disk")
    if memory["total"] is None and not lacks:
        return ""
    room = [f"{size(memory['free'])} of memory"] if memory["total"] is not None else []
    room += [] if disk is None else [f"{size(disk)} of disk"]
    largest = memory["largest_n_ctx"]
    most = f"; the largest context that fits has {largest} tokens (-c {largest})" if largest else ""
    return f"{'no, too little ' + ' and '.join(lacks) if lacks else 'yes'}: {' and '.join(room)} are free{most}"


def _left_out(n_mtp: int, architecture: str) -> str:
    if n_mtp <= 0:
        return ""
    from localllm.model.spec import architectures, spec_for

    is_known = architecture in architectures() and spec_for(architecture).nextn
    use = "; --draft mtp guesses by the first" if n_mtp > 1 else "; --draft mtp guesses by it"
    return f"{n_mtp} layer{'s' if n_mtp > 1 else ''} for multi-token prediction (MTP){use if is_known else ''}"


def _with(what: Any, support: str | None) -> str:
    shown = what if isinstance(what, str) and what.isprintable() else _shown(what)
    return ": ".join(part for part in (shown, support) if part)


def _memory_line(memory: dict[str, Any]) -> str:
    if memory["problem"]:
        return f"{_mb(memory['file'])} for the file; a context cannot be counted: {memory['problem']}"
    trained = f", the model allows {memory['n_ctx_train']}" if memory["n_ctx_train"] else ""
    parts = [f"{_mb(memory['weights'])} for the weights, mapped"]
    if memory["cache"]:
        parts.append(f"{_mb(memory['cache'])} for a context of {memory['n_ctx']} tokens in F16 (-c{trained})")
    if memory["recurrent"]:
        parts.append(f"{_mb(memory['recurrent'])} for recurrent states, whatever the context")
        parts.append(f"up to {_mb(memory['checkpoints'])} for their checkpoints")
    parts.append(f"{_mb(memory['scratch'])} to compute")
    return f"{_mb(memory['total'])}: {'; '.join(parts)}"


def _metadata_table(metadata: dict[str, Any]) -> str:
    return table([[key, _shown(value)] for key, value in metadata.items()] or [["(none)", ""]], indent="  ")


def _shown(value: Any) -> str:
    """A value on one line. Text goes through repr: a file must not send control codes to the terminal."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{value['count']} × {value['type']}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return f"{value[:_MAX_TEXT]!r}… ({len(value)} characters)"
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


def _formats_table(rows: list[dict[str, Any]]) -> str:
    cells = [["format", "tensors", "size", "bits a weight"]]
    for row in rows:
        cells.append([row["format"], str(row["tensors"]), _mb(row["bytes"]), f"{row['bits_per_weight']:.4g}"])
    return table(cells, right=(1, 2, 3), indent="  ")


def _tensors_table(rows: list[dict[str, Any]]) -> str:
    cells = [["name", "format", "shape", "bytes", "bits a weight"]]
    for row in rows:
        shape, bits = " × ".join(map(str, row["shape"])), f"{row['bits_per_weight']:.4g}"
        cells.append([row["name"], row["format"], shape, str(row["bytes"]), bits])
    return table(cells, right=(3, 4), indent="  ")


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
