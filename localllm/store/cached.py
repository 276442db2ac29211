"""Models of a hub that are in the Hugging Face cache, found without asking anybody."""

from __future__ import annotations

from pathlib import Path

from localllm.errors import StoreError
from localllm.store.choice import choose
from localllm.store.hf_cache import commit_of, files_of, snapshot
from localllm.store.hub_address import HubAddress


def cached(hub: HubAddress) -> tuple[Path, ...] | None:
    """The files of a model, parts in their order, as its revision was when it was last asked for; None: not all are
    here. Without a quantization, what is here is chosen from by the usual preference."""
    commit = commit_of(hub.repo, hub.revision)
    if commit is None:
        return None
    try:
        parts = choose(files_of(hub.repo, commit), hub.repo, hub.quant, hub.file).parts
    except StoreError:
        return None
    return tuple(snapshot(hub.repo, commit) / part for part in parts)
