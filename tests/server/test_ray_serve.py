"""Arguments of the deployment on Ray Serve. That replicas answer is checked by `python -m tests.clients.run ray`."""

from __future__ import annotations

import sys

import pytest

from localllm.errors import LocalllmError, UsageError
from localllm.server.ray_serve import Settings, build


def test_arguments_are_texts():
    given = {"model": "m.gguf", "replicas": "3", "threads": 2, "n_ctx": "512"}
    assert Settings.of(given) == Settings("m.gguf", replicas=3, threads=2, n_ctx=512)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({}, ["model"]),
        ({"model": "m", "replicas": "many"}, ["replicas", "many"]),
        ({"model": "m", "threads": 0}, ["threads", "0"]),
        ({"model": "m", "thread": 1}, ["thread", "threads"]),
    ],
)
def test_what_is_no_argument(given, parts):
    with pytest.raises(UsageError) as error:
        Settings.of(given)
    assert all(part in str(error.value) for part in parts)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LocalllmError, match=r"pip install 'localllm\[ray\]'"):
        build({"model": "m"})
