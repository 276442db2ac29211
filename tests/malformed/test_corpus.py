"""Every malformed file is opened, shown, tokenised, run and served by the command line in a child process: no signal,
no hang, no more than 300 MB, no traceback, and one clear line that names the file."""

from __future__ import annotations

from collections import Counter

import pytest

from localllm.gate.classes import CLASSES
from tests.malformed import corpus
from tests.malformed.case import Case
from tests.malformed.commands import DOORS, problem_of, run, seconds_of

CASES = list(corpus.cases())
CLASSES_OF_OTHERS = {50, 51}
"""A file that is cut or replaced while it is mapped: tests/model and tests/gguf do that."""


def sets() -> list:
    """Of each class two cases; all others are long."""
    counts: Counter[int] = Counter()
    out = []
    for case in CASES:
        is_few = not case.classes or any(counts[number] < 2 for number in case.classes)
        counts.update(case.classes)
        out.append(pytest.param(case, id=case.name, marks=[] if is_few else [pytest.mark.long]))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", sets())
def test_malformed_file(case: Case, tmp_path) -> None:
    path = case.write(tmp_path)
    problems = [problem_of(case, door, path, run(door, path, seconds=seconds_of(case))) for door in DOORS]
    assert not any(problems), "\n".join(filter(None, problems))


def test_the_corpus_is_whole() -> None:
    names = Counter(case.name for case in CASES)
    assert [name for name, n in names.items() if n > 1] == []
    assert len(CASES) >= 300
    assert set(CLASSES) - {number for case in CASES for number in case.classes} == CLASSES_OF_OTHERS


def test_files_are_the_same_each_time() -> None:
    for case in CASES[::7]:
        if callable(case.content):
            assert case.content() == case.content()
