"""The Hugging Face cache on disk: where it is, and what stands where in it. Reads and names; needs no huggingface_hub.

Layout (huggingface_hub, "Understand caching"): models--org--repo/blobs/<etag>, snapshots/<commit>/<file> as relative
links to blobs, refs/<branch> with a commit.
"""

from __future__ import annotations

import os
from pathlib import Path


def endpoint() -> str:
    """The hub's address, without a slash at its end: $HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hf_home() -> Path:
    """The folder of all that Hugging Face's programs keep: $HF_HOME."""
    given = os.environ.get("HF_HOME")
    return _expanded(given) if given else _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def cache_dir() -> Path:
    """The folder of downloaded repositories; it need not exist yet."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(given) if given else hf_home() / "hub"


def repo_dir(repo: str) -> Path:
    """The folder of a repository "org/repo" in the cache."""
    return cache_dir() / f"models--{repo.replace('/', '--')}"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(text)))
