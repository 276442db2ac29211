"""What a hub tells about a repository: its commit, its files, their sizes and hashes. Names from it are not trusted.

A list of files needs huggingface_hub; one file whose path is known is asked about directly.
"""

from __future__ import annotations

import email.message
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from localllm.errors import StoreError
from localllm.store import web
from localllm.store.hf_cache import endpoint, is_commit, is_etag, is_safe, token
from localllm.store.retry import patiently

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HINT = "the names of a hub need huggingface_hub: pip install 'localllm[hub]'"
TIMEOUT = 20.0
_LONGEST = 1 << 48
"""Bytes; a larger file is a lie."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `etag`, the name of its blob: its SHA-256, or git's SHA-1. `size`: bytes."""

    path: str
    size: int
    etag: str


@dataclass(frozen=True)
class Repository:
    """The files of a repository at a commit. `revision`: how the commit was asked for."""

    repo: str
    revision: str
    commit: str
    files: Mapping[str, HubFile]

    def url(self, path: str) -> str:
        """The address of a file's content."""
        return file_url(self.repo, self.commit, path)


def file_url(repo: str, revision: str, path: str) -> str:
    """The address of a file's content on the hub."""
    return f"{endpoint()}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


def list_repository(repo: str, revision: str = "main") -> Repository:
    """What a repository holds. Raises StoreError: no huggingface_hub, no such repository, no access, no answer."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise StoreError(f"{repo}: {HINT}") from None
    api = HfApi(endpoint=endpoint(), token=token() or False)
    try:
        info = patiently(lambda: api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT))
    except Exception as error:  # the library's errors, its HTTP client's, and what a strange answer makes it raise
        _explain(repo, repo, revision, error)
    if not is_commit(info.sha or ""):
        raise StoreError(f"{_host()}: {repo}: {info.sha!r:.60} is no commit")
    files = {found.path: found for sibling in info.siblings or () if (found := _file(sibling))}
    return Repository(repo, revision, info.sha or "", files)


def _file(sibling: RepoSibling) -> HubFile | None:
    """None for what cannot be downloaded safely: a path that leaves its folder, no size, no hash."""
    etag: Any = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    path: Any = sibling.rfilename
    size: Any = sibling.lfs.size if sibling.lfs else sibling.size
    if not (isinstance(path, str) and isinstance(etag, str) and isinstance(size, int)):
        return None
    return HubFile(path, size, etag) if is_safe(path) and is_etag(etag) and 0 < size < _LONGEST else None


def one_file(repo: str, path: str, revision: str = "main") -> Repository:
    """A repository with one file, of which the path is known. Raises StoreError as `list_repository` does."""
    where = f"{repo}/{path}"
    if not is_safe(path):
        raise StoreError(f"{where}: no path of a file in a repository")
    try:
        headers = patiently(lambda: _headers(file_url(repo, revision, path)))
    except Exception as error:
        _explain(where, repo, revision, error)
    commit = headers.get("X-Repo-Commit", "")
    etag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    size = headers.get("X-Linked-Size") or ("" if headers.get("Location") else headers.get("Content-Length")) or ""
    etag = etag.strip().removeprefix("W/").strip('"')
    if not (is_commit(commit) and is_etag(etag) and re.fullmatch(r"[0-9]{1,15}", size) and int(size)):
        raise StoreError(f"{_host()}: {where}: the answer is not a hub's: no commit, hash or size of the file is in it")
    return Repository(repo, revision, commit, {path: HubFile(path, int(size), etag)})


def _headers(url: str) -> email.message.Message:
    with web.request(url, token(), method="HEAD", other_hosts=False, timeout=TIMEOUT) as answer:
        return answer.headers


def _host() -> str:
    return urlsplit(endpoint()).netloc


def _explain(what: str, repo: str, revision: str, error: Exception) -> NoReturn:
    """Raises StoreError: one line for each way that a hub refuses."""
    if isinstance(error, StoreError):
        raise error
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    headers = getattr(error, "headers", None) or getattr(response, "headers", None) or {}
    if status is None:
        raise StoreError(f"{_host()} cannot be reached: {web.reason(error)}; see HF_ENDPOINT, HTTPS_PROXY") from None
    why = refusal(int(status), headers.get("X-Error-Code") or "", repo, revision)
    if what == repo and why.startswith("no such repository"):  # ORG/REPO may have been meant as a path
        why = f"no such file here, and {why}"
    raise StoreError(f"{_host()}: {what}: {why}") from None


def refusal_of_file(error: Exception, repo: str) -> str:
    """Why a file of a repository cannot be fetched, in words."""
    if isinstance(error, web.StatusError) and error.url.startswith(f"{endpoint()}/"):
        return refusal(error.status, error.headers.get("X-Error-Code") or "", repo)
    return web.reason(error)


def refusal(status: int, code: str, repo: str = "", revision: str = "main") -> str:
    """What a status of the hub means and what to do. `code`: its X-Error-Code."""
    has_token = token() is not None
    if code == "GatedRepo" or status == 403:
        then = "check that the token may read it" if has_token else "set HF_TOKEN (or `hf auth login`)"
        return f"access is restricted: accept its conditions at {endpoint()}/{repo} and {then}"
    if code == "RevisionNotFound":
        return f"there is no revision {revision}"
    if code == "EntryNotFound":
        return "there is no such file"
    if status == 401:
        hint = (
            "the token is not accepted for it" if has_token else "if it is private, set HF_TOKEN (or `hf auth login`)"
        )
        return f"no such repository, or a private one: {hint}"
    if status == 404:
        return "no such repository or file" if has_token else "no such repository or file; a private one needs HF_TOKEN"
    if status == 429:
        return "too many requests: try again later"
    return f"HTTP status {status}"
