"""What a MODEL can be: a path, a catalog name, a repository of a hub, an address, a name of another program's model."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from localllm.errors import StoreError
from localllm.store.catalog import find_entry
from localllm.store.hf_cache import endpoint

Kind = Literal["path", "catalog", "hub", "url", "name"]


@dataclass(frozen=True)
class ModelName:
    """A MODEL as it was written, taken apart."""

    kind: Kind
    text: str
    """As it was written."""
    repo: str = ""
    """kind "hub": organization/repository."""
    quant: str = ""
    """kind "hub": the wanted format, such as Q4_K_M, as it was written; "": not said."""
    file: str = ""
    """kind "hub": the path of a file in the repository; "": not said."""
    revision: str = "main"
    """kind "hub": a branch, a tag or a commit."""

    @property
    def label(self) -> str:
        """The shortest name that means the same: org/repo:QUANT for a repository."""
        if self.kind != "hub":
            return self.text
        tag = self.quant or self.file
        return f"{self.repo}:{tag}" if tag else self.repo


_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?P<repo>{_PART}/{_PART})")
_REPO_TAG = re.compile(rf"{_REPO.pattern}(?::(?P<tag>[A-Za-z0-9_][\w.-]*))?", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HUB_HOSTS = ("hf.co", "huggingface.co", "www.huggingface.co")
_VIEWS = ("blob", "resolve", "raw", "tree")
"""huggingface.co/org/repo/VIEW/revision/path"""


def parse(text: str) -> ModelName:
    """What a MODEL means. Looks at the disk (a file goes before a name) and at the catalog, never at the network.

    `org/repo` is a repository of the hub unless there is such a path. Raises StoreError for an address or a name of a
    hub that cannot be one.
    """
    if os.path.isfile(text):
        return ModelName("path", text)
    if _SCHEME.match(text):
        return _address(text)
    if text.split("/")[0].lower() in _HUB_HOSTS and "/" in text:
        return _of_hub(text, text.partition("/")[2])
    if find_entry(text) is not None:
        return ModelName("catalog", text)
    if os.path.exists(text):
        return ModelName("path", text)
    found = _REPO_TAG.fullmatch(text)
    if found and _is_repo(found["repo"]) and (found["tag"] or not text.lower().endswith(".gguf")):
        return _tagged(text, found["repo"], found["tag"] or "")
    return ModelName("path" if is_path(text) else "name", text)


def is_path(text: str) -> bool:
    """Whether a text has the form of a path, or of the name of a GGUF file."""
    return os.sep in text or (os.altsep is not None and os.altsep in text) or text.lower().endswith(".gguf")


def _address(text: str) -> ModelName:
    scheme = text.partition("://")[0].lower()
    if scheme == "hf":
        return _of_hub(text, text.partition("://")[2])
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
        port = parts.port
    except ValueError as error:
        raise StoreError(f"{text}: {error}") from None
    if scheme not in ("http", "https") or not host:
        raise StoreError(f"{text}: an address of a model begins with https://, http:// or hf://")
    ours = urlsplit(endpoint())
    if (host in _HUB_HOSTS and port is None) or (host, port) == (ours.hostname, ours.port):
        return _of_hub(text, parts.path.removeprefix("/"))
    return ModelName("url", text)


def _of_hub(text: str, path: str) -> ModelName:
    """`path`: what follows the hub's host."""
    parts = [unquote(part) for part in path.split("?")[0].rstrip("/").split("/")]
    found = _REPO_TAG.fullmatch("/".join(parts[:2]))
    if found is None or not _is_repo(found["repo"]) or parts[0] in ("datasets", "spaces"):
        raise StoreError(f"{text}: no model's repository; write hf.co/ORG/REPO:QUANT, or the address of a file of one")
    rest = parts[2:]
    if not rest:
        return _tagged(text, found["repo"], found["tag"] or "")
    revision = "main"
    if rest[0] in _VIEWS and len(rest) > 1:
        revision, rest = rest[1], rest[2:]
    if found["tag"] or any(part in ("", ".", "..") for part in rest):
        raise StoreError(f"{text}: no address of a file in a repository")
    return ModelName("hub", text, found["repo"], file="/".join(rest), revision=revision)


def _tagged(text: str, repo: str, tag: str) -> ModelName:
    """A tag that is a file's name means this file, as for Ollama; "latest" means nothing."""
    if tag.lower().endswith(".gguf"):
        return ModelName("hub", text, repo, file=tag)
    return ModelName("hub", text, repo, quant="" if tag.lower() == "latest" else tag)


def _is_repo(repo: str) -> bool:
    """The hub's own rule: huggingface_hub, validate_repo_id."""
    return len(repo) <= 96 and "--" not in repo and ".." not in repo and not repo.endswith(".git")
