"""The process that fuzzes one target with atheris: `python -m tests.fuzz.child TARGET CORPUS [libFuzzer's options]`."""

from __future__ import annotations

import contextlib
import random
import sys

import atheris  # type: ignore[import-untyped, unused-ignore]


def main() -> None:
    name = sys.argv.pop(1)
    # Stays in force: localllm imports most of itself when it is needed. Kernels are no Python when they run.
    instrumented = atheris.instrument_imports(include=["localllm", "jinja2"], exclude=["localllm.kernels"])
    instrumented.__enter__()
    from tests.fuzz.table import target
    from tests.fuzz.target import examine

    chosen = target(name)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, max_size))
        return chosen.mutate(data, random.Random(seed))[:max_size]

    for data in chosen.seeds():  # what they import is not the time of an input
        with contextlib.suppress(Exception):
            chosen.run(data)
    atheris.Setup(sys.argv, lambda data: examine(chosen, data), custom_mutator=mutate)
    atheris.Fuzz()


main()
