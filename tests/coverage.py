"""Branch coverage of what decides whether a file is accepted, which must be whole:

python -m tests.coverage               the reader, the gate, weights, tokenizers' construction
python -m tests.coverage reader        one of PARTS alone
"""

from __future__ import annotations

import os
import sys

import pytest


class Part:
    """Modules, and the tests that cover them."""

    def __init__(self, modules: tuple[str, ...], tests: tuple[str, ...]) -> None:
        self.modules, self.tests = modules, tests


_TOKENIZERS = (
    "bpe", "bulk", "bytelevel", "charsmap", "endings", "infill", "plamo2", "pretokenizers", "rwkv",
    "sentencepiece_file", "sentencepiece_proto", "specials", "spm", "tokenizer", "tokenizer_json", "unigram",
    "vocabulary", "wordpiece",
)  # fmt: skip
_OF_TOKENIZERS = ("hostile_vocabulary", "models", "bpe", "spm", "tokenizer", "plamo2", "infill", "sentencepiece_file",
                  "tokenizer_json")  # fmt: skip
PARTS = {
    "gate": Part(("localllm.gate",), ("tests/gate",)),
    "reader": Part(
        ("localllm.gguf", "localllm.model.weights"),
        (
            "tests/gguf",
            *(f"tests/model/test_{name}.py" for name in ("weights", "bad_files", "not_finite", "changed_file")),
        ),
    ),
    "tokenizers": Part(
        tuple(f"localllm.text.{name}" for name in _TOKENIZERS),
        tuple(f"tests/text/test_{name}.py" for name in _OF_TOKENIZERS),
    ),
}
_LEFT_OUT = "not slow and not real"
"""What compiles kernels, or needs models, covers nothing more; and what is timed would be too slow under a tracer."""


def main(names: list[str]) -> int:
    parts = [PARTS[name] for name in names or PARTS]
    modules = [f"--cov={module}" for part in parts for module in part.modules]
    tests = [test for part in parts for test in part.tests]
    report = ["--cov-branch", "--cov-report=term-missing:skip-covered", "--cov-fail-under=100"]
    options = [*report, f"--cov-config={os.devnull}", "-m", _LEFT_OUT, "-k", "not opens_fast", "-n", "2"]
    return pytest.main([*tests, *modules, *options, "-q"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
