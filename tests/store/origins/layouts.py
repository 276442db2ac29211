"""Folders as other programs lay them out, with a given file as the model."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

OLLAMA_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OLLAMA_LIST = "application/vnd.ollama.manifest.list.v2+json"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def hub(cache: Path, repository: str, name: str, content: bytes, revision: str = REVISION, ref: str = "main") -> Path:
    """A file of the Hugging Face cache: a blob, a link to it from a snapshot, and a reference. Returns the link."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / revision / name
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(revision)
    return link


def lm_studio(home: Path, place: str, name: str, content: bytes) -> Path:
    """A file of LM Studio's; `place`: publisher/model."""
    path = home / "models" / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def llama_cpp(cache: Path, repository: str, tag: str, file: str, content: bytes) -> Path:
    """A file of llama.cpp's cache before it used the hub's, with its manifest."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{repository.replace('/', '_')}_{file}"
    path.write_bytes(content)
    manifest = {"ggufFile": {"rfilename": file, "size": len(content)}}
    (cache / f"manifest={repository.replace('/', '=')}={tag}.json").write_text(json.dumps(manifest))
    return path


def ollama(folder: Path, name: str, content: bytes, root: str = "manifests", **more: Any) -> Path:
    """A model by its whole name, host/namespace/model/tag; more: further fields of the manifest. Returns the blob."""
    blob = ollama_blob(folder, content)
    template = ollama_blob(folder, b"{{ .Prompt }}")
    layers = [layer("template", template), layer("model", blob)]
    manifest = {"schemaVersion": 2, "mediaType": OLLAMA_MANIFEST, "config": layer("x", template), "layers": layers}
    ollama_manifest(folder, name, {**manifest, **more}, root)
    return blob


def ollama_blob(folder: Path, content: bytes) -> Path:
    path = folder / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ollama_manifest(folder: Path, name: str, manifest: object, root: str = "manifests") -> Path:
    """As JSON, or as it is if it is bytes; as a link to a blob in manifests-v2."""
    path = folder / root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    if root == "manifests-v2":
        path.symlink_to(os.path.relpath(ollama_blob(folder, content), path.parent))
    else:
        path.write_bytes(content)
    return path


def layer(kind: str, blob: Path) -> dict[str, Any]:
    digest = blob.name.replace("-", ":")
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": blob.stat().st_size}
