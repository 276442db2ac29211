"""What a pool of processes runs: it must be importable there."""

from __future__ import annotations

import localllm


def answer(path: str) -> str:
    with localllm.load(path, n_ctx=256, n_threads=2) as model:
        return "".join(model.generate("hello", max_tokens=12, temperature=0))
