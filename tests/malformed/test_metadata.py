"""One hostile value for a key of each architecture; `python -m tests.malformed --metadata all` tries all of them."""

from __future__ import annotations

import os
import signal
import zlib
from itertools import groupby
from unittest import mock

import pytest

from tests.malformed import metadata
from tests.malformed.base import model, typed
from tests.malformed.metadata import File, Mutant, problem_of
from tests.recorded import models


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> dict[str, Mutant]:
    """Architecture -> a mutant, always the same."""
    made = metadata.mutants(tmp_path_factory.mktemp("chosen"))
    by_architecture = groupby(made, lambda mutant: models.cases()[mutant.model].architecture)
    found: dict[str, Mutant] = {}
    for architecture, group in by_architecture:
        rest = [found[architecture]] if architecture in found else []
        found[architecture] = min([*group, *rest], key=lambda mutant: zlib.crc32(str(mutant).encode()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted({case.architecture for case in models.cases().values()}))
def test_a_hostile_value(architecture, chosen, tmp_path):
    mutant = chosen[architecture]
    path = metadata.write(tmp_path, mutant)
    problem = problem_of(path, metadata.run(path))
    assert not problem, f"{mutant}: {problem}"


def test_a_file_is_put_together_as_it_was():
    content = model().bytes()
    file = File.of(content)
    assert file.with_value("general.name", typed(model().keys["general.name"])) == content
    assert "general.name" not in File.of(file.with_value("general.name", None)).pairs


def test_what_a_child_tells(tmp_path):
    """A model that is whole is used, and one that is not is refused in one line."""
    whole = models.write(tmp_path / "m.gguf", models.cases()["llama"])
    outcome = metadata.run(whole, seconds=20)
    assert (outcome.status, problem_of(whole, outcome)) == (0, "")
    bad = metadata.write(tmp_path, Mutant("llama", "llama.block_count", "2^63"))
    outcome = metadata.run(bad)
    assert (outcome.status, problem_of(bad, outcome)) == (1, "")
    assert "llama.block_count: is 9223372036854775808" in outcome.stderr


@pytest.mark.slow
def test_many_in_one_child_are_as_each_alone(tmp_path):
    """And where one ends it, none of them counts."""
    mutants = [Mutant("llama", "llama.block_count", value) for value in metadata.VALUES]
    together = metadata.run_each(tmp_path, mutants)
    for mutant, made in list(zip(mutants, together, strict=True))[::6]:
        assert made is not None, mutant
        assert made[0].status == metadata.run(metadata.write(tmp_path, mutant)).status
    with mock.patch.object(metadata, "use_each", ends_the_child):
        assert metadata.run_each(tmp_path, mutants[:2]) == [None, None]


def ends_the_child(folder: str, n: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
