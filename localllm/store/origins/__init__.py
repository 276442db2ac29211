"""Where models lie on this machine: what we fetched, and what other programs did; one file a program."""

from __future__ import annotations

import os

from localllm.errors import StoreError
from localllm.store.origins.huggingface import HUGGINGFACE
from localllm.store.origins.llama_cpp import LLAMA_CPP
from localllm.store.origins.lmstudio import LM_STUDIO
from localllm.store.origins.ollama import OLLAMA
from localllm.store.origins.origin import Origin
from localllm.store.origins.own import OWN

ORIGINS = {origin.name: origin for origin in (OWN, HUGGINGFACE, LLAMA_CPP, LM_STUDIO, OLLAMA)}
"""By name; where two have a model of one name, the first one's comes first."""


def origins() -> list[Origin]:
    """Those that are looked into: all, or what LOCALLLM_ORIGINS lists. Raises StoreError for a name it has wrong."""
    wanted = os.environ.get("LOCALLLM_ORIGINS")
    if wanted is None:
        return list(ORIGINS.values())
    names = {name.strip() for name in wanted.split(",") if name.strip()}
    unknown = sorted(names - ORIGINS.keys())
    if unknown:
        raise StoreError(f"LOCALLLM_ORIGINS: {unknown[0]!r} is none; those that are: {', '.join(ORIGINS)}")
    return [origin for name, origin in ORIGINS.items() if name in names]


def origin_of(path: str) -> Origin | None:
    """Whose folders a file lies in; None: it is the user's own."""
    real = os.path.realpath(path)
    for origin in origins():
        if any(real.startswith(os.path.join(os.path.realpath(folder), "")) for folder in origin.folders()):
            return origin
    return None
