"""Ollama: manifests/HOST/NAMESPACE/MODEL/TAG, a JSON file that names the model's layer, which is blobs/sha256-HASH.

Newer versions keep them in manifests-v2, as links to blobs; one may be a list of several, such as one for MLX.
Source: manifest/manifest.go, manifest/layer.go, types/model/name.go and envconfig/config.go of
https://github.com/ollama/ollama. Ollama's template, parameters and system message are not used: a file's own are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localllm.store.filenames import Note
from localllm.store.origins.files import open_file, read_json, scan, stored
from localllm.store.origins.origin import Origin
from localllm.store.stored import StoredModel

SERVICE = Path("/usr/share/ollama/.ollama/models")
"""Of the service that Ollama's installer for Linux sets up, under a user of its own."""
_ROOTS = ("manifests-v2", "manifests")
_HOSTS = ("registry.ollama.ai", "ollama.com")
"""Left out of names, as `ollama list` does; so is the namespace `library`."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_MODEL = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_LIST = "application/vnd.ollama.manifest.list.v2+json"


def _folders() -> list[Path]:
    given = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    own = Path(given) if given else Path.home() / ".ollama" / "models"
    return list(dict.fromkeys([own, SERVICE]))


def _models(note: Note) -> Iterator[StoredModel]:
    for folder in _folders():
        told: set[str] = set()
        for root in _ROOTS:
            for parts, manifest in _manifests(folder / root, 4, note):
                name = _name(parts)
                if name is None:
                    note(f"{manifest}: the folders make no name of Ollama's")
                elif name not in told:
                    told.add(name)
                    yield from _of_manifest(name, manifest, folder / "blobs", note)


def _manifests(folder: Path, depth: int, note: Note) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Manifests so many folders below, each with the names on the way to it."""
    for entry in scan(folder, note):
        if depth == 1:
            yield (entry.name,), Path(entry.path)
        else:
            for names, path in _manifests(Path(entry.path), depth - 1, note):
                yield (entry.name, *names), path


def _name(parts: tuple[str, ...]) -> str | None:
    """As `ollama list` shows it: "llama3.2:3b", "user/model:latest", "hf.co/org/repo:Q4_K_M"."""
    if not all(map(_PART.fullmatch, parts)):
        return None
    host, namespace, model, tag = parts
    shown = [] if host in _HOSTS else [host]
    shown += [] if not shown and namespace == "library" else [namespace]
    return "/".join([*shown, model]) + f":{tag}"


def _of_manifest(name: str, path: Path, blobs: Path, note: Note) -> Iterator[StoredModel]:
    for manifest in _runnable(read_json(path, note), blobs, note):
        digests = _digests(manifest, _MODEL)
        blob = _blob(digests[0], blobs) if len(digests) == 1 and not _digests(manifest, _ADAPTER) else None
        if blob is not None and _is_gguf(blob):
            yield from stored(name, OLLAMA.name, (blob,), note)
            return
    note(f"{path}: not one GGUF file that is here, without an adapter")


def _runnable(manifest: dict[str, Any], blobs: Path, note: Note) -> list[dict[str, Any]]:
    """The manifest itself, or those of a list; references among them are read."""
    if manifest.get("mediaType") != _LIST:
        return [manifest]
    children = manifest.get("manifests")
    found = []
    for child in children[:8] if isinstance(children, list) else []:
        if isinstance(child, dict):
            blob = None if child.get("layers") else _blob(child.get("digest"), blobs)
            found.append(child if blob is None else read_json(blob, note))
    return found


def _digests(manifest: dict[str, Any], kind: str) -> list[Any]:
    """Of the layers of a kind."""
    layers = manifest.get("layers")
    found = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    return [layer.get("digest") for layer in found if layer.get("mediaType") == kind]


def _blob(digest: Any, blobs: Path) -> Path | None:
    """The file of a digest; None unless it is a digest of 64 digits, so nothing leads out of the folder."""
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    return None if found is None else blobs / f"sha256-{found[1].lower()}"


def _is_gguf(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


OLLAMA = Origin("ollama", "Ollama", _folders, _models)
