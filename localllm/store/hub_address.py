"""Repositories and files of a hub as people write them: ORG/REPO:QUANT, hf.co/ORG/REPO, the address of a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from localllm.errors import StoreError


@dataclass(frozen=True)
class HubAddress:
    """`repo`: ORG/REPO. `quant`: the wanted format, such as Q4_K_M, as it was written, or "". `file`: a path in the
    repository, or "". `revision`: a branch, a tag or a commit."""

    repo: str
    quant: str = ""
    file: str = ""
    revision: str = "main"

    @property
    def label(self) -> str:
        """As short as it can be written: ORG/REPO:QUANT."""
        tag = self.quant or self.file
        return f"{self.repo}:{tag}" if tag else self.repo


_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO_TAG = re.compile(rf"(?P<repo>{_PART}/{_PART})(?::(?P<tag>[A-Za-z0-9_][\w.-]*))?", re.ASCII)
_HOSTS = ("hf.co", "huggingface.co", "www.huggingface.co")
_VIEWS = ("blob", "resolve", "raw", "tree")
"""huggingface.co/ORG/REPO/VIEW/REVISION/PATH"""


def short_name(text: str) -> HubAddress | None:
    """The meaning of ORG/REPO[:QUANT] or ORG/REPO:FILE.gguf; None where a text has not this form."""
    found = _REPO_TAG.fullmatch(text)
    if found is None or not _is_repo(found["repo"]) or (not found["tag"] and text.lower().endswith(".gguf")):
        return None
    return _tagged(found["repo"], found["tag"] or "")


def is_address(text: str) -> bool:
    """Whether a text has a scheme (https://...), or begins with a host of the hub (hf.co/...)."""
    host, slash, _ = text.partition("/")
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)) or bool(slash and host.lower() in _HOSTS)


def address(text: str) -> HubAddress | None:
    """What an address means on the hub; None where it is one of another host. Raises StoreError for one that cannot
    be used: another scheme than http and https, a data set's, no repository's."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _of_path(text, text.partition("/")[2])
    if scheme.lower() == "hf":
        return _of_path(text, rest)
    from localllm.store.hf_cache import endpoint

    try:
        parts = urlsplit(text)
        host, port, ours = (parts.hostname or "").lower(), parts.port, urlsplit(endpoint())
    except ValueError as error:
        raise StoreError(f"{text}: {error}") from None
    if scheme.lower() not in ("http", "https") or not host:
        raise StoreError(f"{text}: an address of a model begins with https://, http:// or hf://")
    if parts.username is not None:
        raise StoreError("an address with a user or a password in it is not used")
    if (host in _HOSTS and port is None) or (host, port) == (ours.hostname, ours.port):
        return _of_path(text, parts.path.removeprefix("/"))
    return None


def _of_path(text: str, path: str) -> HubAddress:
    """`path`: what follows the hub's host."""
    parts = [unquote(part) for part in path.split("?")[0].rstrip("/").split("/")]
    found = _REPO_TAG.fullmatch("/".join(parts[:2]))
    if found is None or not _is_repo(found["repo"]) or parts[0] in ("datasets", "spaces"):
        raise StoreError(f"{text}: no model's repository; write hf.co/ORG/REPO:QUANT, or the address of a file of one")
    rest = parts[2:]
    if not rest:
        return _tagged(found["repo"], found["tag"] or "")
    revision = "main"
    if rest[0] in _VIEWS and len(rest) > 1:
        revision, rest = rest[1], rest[2:]
    if found["tag"] or not all(map(_is_name, (*rest, *revision.split("/")))):
        raise StoreError(f"{text}: no address of a file in a repository")
    return HubAddress(found["repo"], file="/".join(rest), revision=revision)


def _is_name(part: str) -> bool:
    """Whether a part of a path can be a file's or a folder's, on every system."""
    return part not in ("", ".", "..") and "\\" not in part and part.isprintable()


def _tagged(repo: str, tag: str) -> HubAddress:
    """A tag that is a file's name means this file, as for Ollama; "latest" means nothing."""
    if tag.lower().endswith(".gguf"):
        return HubAddress(repo, file=tag)
    return HubAddress(repo, "" if tag.lower() == "latest" else tag)


def _is_repo(repo: str) -> bool:
    """The hub's own rule: huggingface_hub's validate_repo_id."""
    return len(repo) <= 96 and "--" not in repo and ".." not in repo and not repo.endswith(".git")
