"""Pulls a model from the stub of a hub, and looks at what is in the cache then."""

from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store.fetch import fetch
from localllm.store.names import parse

DATA = b"GGUF" + bytes(range(256)) * 2048
FILE = "m-Q4_K_M.gguf"
NAME = "org/repo:Q4_K_M"


def pull(name: str = NAME, check: bool = False) -> tuple[Path, list[str]]:
    """The path, and the messages."""
    said: list[str] = []
    path = fetch(parse(name), lambda text, done, total: None if total else said.append(text), check)
    return path, said


def refused(name: str = NAME) -> str:
    with pytest.raises(StoreError) as caught:
        pull(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_cache(cache: Path) -> list[str]:
    """Files of the cache but locks, by name."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if not p.is_dir() and ".locks" not in p.parts)


def require_clean(cache: Path) -> None:
    """Nothing that a program could take for a model, and nothing that is left over."""
    assert in_cache(cache) == []
