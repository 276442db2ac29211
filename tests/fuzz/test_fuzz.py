"""Each target on its seeds, and on a few hundred mutants of them that are always the same; findings stay as cases.

Longer runs, guided by coverage: `python -m tests.fuzz`.
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.store import web
from tests.fuzz.table import TARGETS, target
from tests.fuzz.target import MEGABYTES, examine
from tests.gguf import build as b

MUTANTS, SEEDS = 100, 30
"""At the most, of each target."""
FINDINGS: dict[str, tuple[bytes, ...]] = {
    "reader": (b.gguf([b.array("general.alignment", b.U32, [32])]),),  # an array of the type that a number must have
    "http": (
        b"GET /v1/none?\x93\nhost: localhost\n\n",  # a query that is no UTF-8
        b'POST /api/embed\nhost: localhost\n\n{"model": "\\n", "input": "a"}',  # a name in the message
    ),
    "imatrix": (b"\1\0\0\0\3\0\0\0a\0\x1b\1\0\0\0\0\0\0\0",),  # a name that would steer a terminal, shown in the error
    "vocabularies": (  # an escape that does not end, in a token that is decoded before any text was encoded
        b.gguf([b.kv("tokenizer.ggml.model", b.STR, "rwkv"), b.array("tokenizer.ggml.tokens", b.STR, ["\\xg"])]),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """A target may change what its process has, the network for one: other tests get it back."""
    log, environment, request = logging.getLogger("localllm"), dict(os.environ), web.request
    level = log.level
    yield
    log.setLevel(level)
    web.request = request
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    """A seed that is refused shows nothing."""
    chosen, refused = target(name), []
    seeds = [*chosen.seeds()]
    for seed in seeds[:: -(-len(seeds) // SEEDS)]:
        assert len(seed) <= chosen.max_len
        try:
            chosen.run(seed)
        except Exception as error:
            refused.append(f"{seed[:60]!r}: {error!r:.300}")
    assert not [text for text in refused if "it refuses these messages" not in text]


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_end_in_our_errors_alone(name: str) -> None:
    chosen, rng = target(name), random.Random(name)
    seeds = [*chosen.seeds()]
    seeds = seeds[:: -(-len(seeds) // SEEDS)]
    before = _peak()
    for _ in range(MUTANTS):
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = chosen.mutate(data, rng)[: chosen.max_len]
        examine(chosen, data)
    assert _peak() - before < MEGABYTES


def _peak() -> int:
    """Megabytes that this process has had at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()) if sys.platform == "linux" else None
    return int(found[1]) >> 10 if found else 0


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, found in FINDINGS.items() for data in found])
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    examine(target(name), data)
