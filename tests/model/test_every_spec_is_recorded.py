"""A clone alone holds every architecture: each has a recorded case, and whatever a spec says differs from a plain
spec's in some case of that architecture."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import fields
from itertools import product
from typing import Any

import pytest

from localllm.gguf.config import Config
from localllm.gguf.reader import open_gguf
from localllm.model.spec import ExpertsSpec, Spec, architectures, configuration, spec_for
from tests.recorded import models

PLAIN = Spec(about="", rope="none")
PARTS = ("experts", "classifier", "kda")
"""Fields of a spec that have fields of their own."""
NOT_COMPARED = {*PARTS, "rope", "about", "name", "refused_keys", "adapt"}
"""Beside the parts: what no spec can do without, names, keys of files that are refused, and what changes the fields
that are compared."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{architecture: [(spec, configuration), ...]} of all recorded cases."""
    folder = tmp_path_factory.mktemp("specs")
    found: dict[str, list[tuple[Spec, Config]]] = {}
    for case in models.cases().values():
        path = models.write(folder / "m.gguf", case)
        found.setdefault(case.architecture, []).append(configuration(open_gguf(path)))
        path.unlink()
    return found


def results(function, of, c: Config) -> list:
    """What a function of a spec gives for a file, for each layer where it depends on that. of: PLAIN's, the names of
    whose arguments tell what they are."""
    known: dict[str, Iterable[Any]] = {
        "c": [c],
        "keys": [c.keys],
        "n_layer": [c.n_layer],
        "i": range(c.n_layer),
        "has_ffn_norm": [False, True],
    }
    return [function(*arguments) for arguments in product(*(known[name] for name in inspect.signature(of).parameters))]


def differs(name: str, value: object, plain: object, c: Config) -> bool:
    """A field of a spec is another than a plain spec's, for a file."""
    if name == "unused":
        assert isinstance(value, tuple)
        return any(re.fullmatch(pattern, tensor) for pattern in value for tensor in c.keys.file.tensors)
    if callable(value):
        return value is not plain and results(value, plain, c) != results(plain, plain, c)
    return value != plain


def part_of(spec: Spec, part: str):
    return getattr(spec, part) if part else spec


def said(spec: Spec) -> set[tuple[str, str]]:
    """(part or "", field) where a spec is not a plain one."""
    pairs = [(part, f.name) for part in ("", *PARTS) for f in fields(part_of(spec, part)) if f.name not in NOT_COMPARED]
    return {(p, name) for p, name in pairs if getattr(part_of(spec, p), name) != getattr(part_of(PLAIN, p), name)}


def shown(spec: Spec, c: Config, part: str, name: str) -> bool:
    return differs(name, getattr(part_of(spec, part), name), getattr(part_of(PLAIN, part), name), c)


@pytest.mark.parametrize("architecture", architectures())
def test_recorded(architecture, files):
    assert architecture in files, "has no case in tests/recorded/cases"
    missing = [
        ".".join(filter(None, field))
        for field in sorted(said(spec_for(architecture)))
        if not any(shown(spec, c, *field) for spec, c in files[architecture])
    ]
    assert not missing, "no case shows what the spec says of these"


def test_every_case_has_logits():
    assert [name for name in models.cases() if not models.logits_path(name).exists()] == []
    known = {models.logits_path(n, p) for n, case in models.cases().items() for p in ("", *case.poolings)}
    assert set((models.HERE / "logits").glob("*.npy")) == known


@pytest.mark.parametrize(("part", "kind"), [("", Spec), ("experts", ExpertsSpec)])
def test_every_field_is_said_by_some_architecture(part, kind):
    """A field that all leave as it is has no use."""
    names = {f.name for f in fields(kind)} - NOT_COMPARED
    assert names == {name for of in map(spec_for, architectures()) for p, name in said(of) if p == part}
